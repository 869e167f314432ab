"""``python -m privsdk``."""

from privsdk.cli import main

main()
