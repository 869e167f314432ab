"""Tries to break what privsdk promises: every trial of docs/threat-model.md, and what came of it.

    python -m tests.attacks [--only NAME ...] [--part] [--fault NAME] [--seed 0] [--write]

``--part`` runs the small size that CI runs; ``--fault`` plants one of a trial's faults, which must be caught;
``--write`` keeps the outcomes and puts the table into docs/threat-model.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.attacks.trial import REPOSITORY, Attempt, Outcome, Trial
from tests.attacks.trials import NAMES, trial

OUTCOMES = REPOSITORY / "tests" / "attacks" / "outcomes"
PAGE = REPOSITORY / "docs" / "threat-model.md"
BEGIN, END = "<!-- trials: python -m tests.attacks --write -->\n", "<!-- end of trials -->\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--part", action="store_true", help="the small size that CI runs")
    parser.add_argument("--fault", help="plant this fault of the one trial that --only names")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help=f"keep the outcomes and write {PAGE.name}")
    asked = parser.parse_args(arguments)
    if asked.write and (asked.part or asked.fault):
        parser.error("--write keeps whole trials: leave out --part and --fault")
    if asked.fault:
        if len(asked.only) > 1:
            parser.error("--fault needs --only with the one trial that has it")
        trial(asked.only[0]).fault(asked.fault).plant()
    lines = []
    for name in asked.only:
        tried = trial(name)
        size = tried.enough if asked.fault else tried.part if asked.part else tried.size
        outcome, seconds = run(tried, size, asked.seed, asked.fault)
        lines.append(row(tried, size, asked.seed, outcome, seconds))
        print(lines[-1], flush=True)
        if asked.write:
            OUTCOMES.mkdir(exist_ok=True)
            (OUTCOMES / f"{name}.json").write_text(json.dumps({"row": lines[-1]}, indent=1) + "\n")
    if asked.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(before + BEGIN + table() + END + rest.partition(END)[2])
    return 0 if all(line.endswith("| held |") for line in lines) else 1


def run(tried: Trial, size: int, seed: int, fault: str | None = None) -> tuple[Outcome, float]:
    """What came of a trial in a folder of its own, with a data folder in it, and how many seconds it took."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="privsdk-trial-") as folder:
        os.environ["PRIVSDK_HOME"] = str(Path(folder) / "home")
        outcome = tried.run(Attempt(Path(folder), size, seed, fault, tried.name))
    return outcome, time.perf_counter() - began


def row(tried: Trial, size: int, seed: int, outcome: Outcome, seconds: float) -> str:
    verdict = "held" if outcome.held else "BROKEN"
    cells = (tried.name, tried.tries, f"{size:,}", tried.must, outcome.seen, f"{seed}", f"{seconds:.0f} s", verdict)
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """The kept outcomes as a table; trials that were never run whole are said to be so."""
    head = "| trial | what is tried | size | must be | was | seed | time | verdict |\n" + "|---" * 8 + "|\n"
    rows = []
    for name in NAMES:
        kept, tried = OUTCOMES / f"{name}.json", trial(name)
        if kept.is_file():
            rows.append(json.loads(kept.read_text())["row"])
        else:
            rows.append(f"| {name} | {tried.tries} | {tried.size:,} | {tried.must} | | | | not run yet |")
    return head + "".join(f"{line}\n" for line in rows)


if __name__ == "__main__":
    sys.exit(main())
