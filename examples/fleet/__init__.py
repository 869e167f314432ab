"""A fleet of devices on Flower: each hides what its owner wishes, and a server sees releases alone.

    PRIVSDK_DATA=... python -m examples.fleet --devices 1000

Flower and Ray report their use unless told not to, and read what they are told when they are imported: so it stands
here, before either is.
"""

from __future__ import annotations

import os

SETTINGS = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",  # a device is one core
    "RAY_worker_niceness": "0",  # Ray lets everything else go before its workers, which do all the work here
}
os.environ.update(SETTINGS)
