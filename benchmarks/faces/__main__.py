"""What the faces bundle does to faces, and the default filter to their images, on CelebA's test partition.

    PRIVSDK_DATA=... python -m benchmarks.faces [--bundle faces] [--seeds 3] [--rows ...]

Filters are fitted from the bundle alone, as on a device; attackers are trained afresh under both protocols
of ``privsdk.auditing.protocols`` and the strongest attack counts.  What is finished is kept in ``runs/``, so a
run that was killed goes on where it was.  docs/measuring.md says how each figure is defined.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.domains import Domain
from benchmarks.faces.measurements import Faces
from benchmarks.faces.rows import ROWS
from benchmarks.table import table
from privsdk import bench
from privsdk.store.folder import write_atomically


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faces", description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="faces", help="a shipped bundle, or the folder of one")
    parser.add_argument("--seeds", type=int, default=3, help="of fit and attack")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), help="all by default")
    parser.add_argument("--plain", type=Path, help="a bundle whose decoder knew squared error and KL alone")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where finished parts are kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    asked = parser.parse_args(arguments)
    if not (data := os.environ.get("PRIVSDK_DATA")):
        parser.error("PRIVSDK_DATA is not set: it names the folder that holds celeba/ in its official layout")

    domain = Domain("faces", asked.bundle, Path(data), asked.runs, asked.threads)
    faces = Faces(domain, asked.seeds, asked.plain)
    lines = [line for row in asked.rows for line in ROWS[row](faces)]
    print(f"bundle {faces.bundle.name} {faces.bundle.digest[:12]}, {asked.seeds} seeds, {bench.cpu_name()}\n")
    print(table(lines))
    if asked.json is not None:
        write_atomically(asked.json, json.dumps([line.to_json() for line in lines], indent=1).encode())


if __name__ == "__main__":
    main()
