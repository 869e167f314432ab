"""The command line with a fault planted, or ``none``: ``python -m tests.attacks.planted TRIAL FAULT ARGUMENTS``."""

from __future__ import annotations

import sys

from privsdk.cli import main
from tests.attacks.trials import trial

if __name__ == "__main__":
    name, fault = sys.argv[1:3]
    del sys.argv[1:3]
    if fault != "none":
        trial(name).fault(fault).plant()
    main()
