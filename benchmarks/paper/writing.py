"""Results as files: one JSON for each experiment, and the README of the benchmarks, which is made of them alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.paper.experiment import Experiment
from benchmarks.paper.pictures import PUBLISHED
from benchmarks.paper.sheet import Sheet, Spread
from privsdk.store.folder import write_atomically

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parent.parent / "README.md"

HEAD = """\
# The paper's experiments, measured again

Every table and figure of Chen, Navidi, Ermon, Rajagopal, "Distributed generation of privacy preserving data with user
customization" (2019), as one command prints it:

    PRIVSDK_DATA=<folder> python -m benchmarks.paper [--only NAME ...] [--quick] [--seeds 3]

*Published method* is the paper's own: the linear filter (23), which sees the private label, trained by (2)-(5) against
one adversary on latents of a VAE that knows no label. *Default filter* is that of this package on the bundle that
ships. *Its classifier* is the paper's, two fully connected layers with an ELU between; *strongest* is for a private
label the most that any of nine attackers tells, for the others what the classifier tells that did best on the valid
partition. All are trained afresh on releases of the training partition and scored on those of the test partition.
A figure is the mean over the seeds of fit, noise and classifiers, ± their standard deviation; intervals are the central
95% of 1,000 resamplings of the test partition. This file is written by `--write`; [how the other benchmarks
measure](../docs/measuring.md).
"""


@dataclass(frozen=True)
class Result:
    """What an experiment showed, when it was run in full; ``pictures`` has the captions of its pictures."""

    sheets: tuple[Sheet, ...]
    seeds: int
    machine: str
    pictures: Mapping[str, str] = field(default_factory=dict)

    def markdown(self) -> str:
        return "\n\n".join(sheet.markdown() for sheet in self.sheets)

    @property
    def basis(self) -> str:
        """The seeds that its figures come from: pictures, and what is measured of them, are of the first alone."""
        entries = (entry for sheet in self.sheets for row in sheet.rows for entry in row)
        several = any(isinstance(entry, Spread) and len(entry.values) > 1 for entry in entries)
        return f"{self.seeds} seeds" if several else "One seed"

    def write(self, path: Path) -> None:
        stored = {
            "seeds": self.seeds,
            "machine": self.machine,
            "sheets": [sheet.to_json() for sheet in self.sheets],
            "pictures": dict(self.pictures),
        }
        path.parent.mkdir(exist_ok=True)
        write_atomically(path, json.dumps(stored, indent=1, ensure_ascii=False).encode() + b"\n")

    @classmethod
    def read(cls, path: Path) -> Result:
        stored: dict[str, Any] = json.loads(path.read_bytes())
        sheets = tuple(Sheet.from_json(sheet) for sheet in stored["sheets"])
        return cls(sheets, stored["seeds"], stored["machine"], stored.get("pictures", {}))


def readme(experiments: Mapping[str, Experiment], results: Path = RESULTS) -> str:
    """All results that are there, each with its text."""
    parts = [HEAD]
    for name, experiment in experiments.items():
        parts.append(f"## {experiment.title}\n\n`python -m benchmarks.paper --only {name}`\n")
        path = results / f"{name}.json"
        if not path.exists():
            parts.append("Not measured yet.\n")
            continue
        result = Result.read(path)
        parts.append(result.markdown() + "\n")
        for picture, caption in result.pictures.items():
            file = (PUBLISHED / f"{picture}.png").relative_to(README.parent)
            parts.append(f"![{picture}]({file.as_posix()})\n\n*{caption}*\n")
        parts.append(experiment.text.strip() + "\n")
        parts.append(f"{result.basis}, {result.machine}.\n")
    return "\n".join(parts)
