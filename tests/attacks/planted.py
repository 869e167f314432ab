"""The command line with a fault planted: ``python -m tests.attacks.planted FAULT ARGUMENTS``; ``none`` plants none."""

from __future__ import annotations

import sys

from privsdk.cli import main
from tests.attacks.trials import faults

if __name__ == "__main__":
    fault = sys.argv.pop(1)
    if fault != "none":
        faults()[fault].plant()
    main()
