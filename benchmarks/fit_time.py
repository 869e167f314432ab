"""How long a fit takes, and how that grows with the number of labels.

    python -m benchmarks.fit_time [--bundle faces] [--runs 3]

From call to return, torch imported already, the built-in check included; medians over the runs.  On one core:
`OMP_NUM_THREADS=1 taskset -c 0 python -m benchmarks.fit_time`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch  # noqa: F401 - no part of what is timed

import privsdk
from privsdk import bench
from privsdk.store.folder import write_atomically

WISHES: Sequence[tuple[Sequence[str], Sequence[str]]] = (
    (("Male",), ("Smiling",)),
    (("Male", "Young"), ("Smiling",)),
    (("Male", "Young"), ("Smiling", "Eyeglasses")),
    (("Male", "Young", "Attractive"), ("Smiling", "Eyeglasses", "Bangs")),
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit_time", description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="faces", help="a shipped bundle, or the folder of one")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    asked = parser.parse_args(arguments)
    bundle = privsdk.Bundle.open(asked.bundle)
    bundle.public  # noqa: B018 - decodes what the first fit would
    found = []
    for private, utility in WISHES:
        taken = []
        for run in range(asked.runs):
            began = time.perf_counter()
            privsdk.fit(bundle, private, utility, seed=run)
            taken.append(time.perf_counter() - began)
        found.append({"private": private, "utility": utility, "seconds": taken})
        wish = f"{', '.join(private)} hidden, {', '.join(utility)} kept"
        print(f"{wish}: {np.median(taken):.1f} s ({min(taken):.1f} to {max(taken):.1f})", flush=True)
    print(bench.cpu_name())
    if asked.json is not None:
        write_atomically(asked.json, json.dumps(found, indent=1).encode())


if __name__ == "__main__":
    main()
