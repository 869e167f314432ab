"""What each dial does to faces: leakage, utility, distortion and linkage along lambda, a and rho.

    PRIVSDK_DATA=... python -m benchmarks.dials [--plot docs/dials.png]

Male hidden, Smiling kept, fitted from the bundle alone; measured on CelebA's test partition by attackers trained afresh
under both protocols of docs/measuring.md.  One dial moves, the others stay at the default.  What is finished is kept in
``runs/``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import privsdk
from benchmarks.cells import Cell, alone
from benchmarks.domains import Domain
from benchmarks.frontier.measure import read
from privsdk.auditing.attackers import HistGradientBoosting, LogisticRegression, StandardisedPerceptron
from privsdk.auditing.ceilings import label_ceiling
from privsdk.auditing.protocols import attack
from privsdk.filters.flow import FlowFilter
from privsdk.fitting.curve import places

PRIVATE, UTILITY = "Male", "Smiling"
ATTACKERS = (LogisticRegression, StandardisedPerceptron, HistGradientBoosting)
DIALS = {
    "lambda": (0.0, 0.01, 0.02, 0.04, 0.1, 1.0),
    "a": (0.0, 0.25, 0.5, 0.75, 1.0),
    "rho": (0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
}
FIGURES = {
    "leakage": "leakage\n(AUROC, Male)",
    "lost": "accuracy lost\n(points, Smiling)",
    "distortion": "distortion (% of\nanother face's)",
    "linked": "own face nearest\nof 1,000 (%)",
}
SCALE = {"leakage": 1, "lost": 100, "distortion": 100, "linked": 100}
CROWD = 1000


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dials", description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="faces")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where finished parts are kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them there too, over what is there")
    asked = parser.parse_args(arguments)
    if not (data := os.environ.get("PRIVSDK_DATA")):
        parser.error("PRIVSDK_DATA is not set: it names the folder that holds celeba/")

    domain = Domain("faces", asked.bundle, Path(data), asked.runs, asked.threads)
    default = cache(lambda: fitted(domain, None))
    found = {dial: [measured(domain, dial, value, default) for value in values] for dial, values in DIALS.items()}
    print("| dial | leakage | Smiling lost | distortion | own face nearest of 1,000 | median rank |")
    print("|---|---|---|---|---|---|")
    for dial, values in DIALS.items():
        for value, cell in zip(values, found[dial], strict=True):
            shares = " | ".join(f"{100 * cell[name].value:.1f}%" for name in ("lost", "distortion", "linked"))
            print(f"| {dial} {value:g} | {cell['leakage'].value:.3f} | {shares} | {cell['rank'].value:g} |")
    test = domain.test
    ceiling = label_ceiling(domain.classes(PRIVATE)[test], domain.classes(UTILITY)[test])
    print(f"\nThe true label {UTILITY} alone tells {PRIVATE} with an AUROC of {ceiling:.3f}; {len(test)} faces.")
    if asked.plot is not None:
        draw(found, ceiling, asked.plot)


def measured(domain: Domain, dial: str, value: float, default: Callable[[], FlowFilter]) -> Cell:
    """Everything about the filter with this dial at this value, the others at the default."""

    def measure() -> Cell:
        moved_dial: dict[str, Any] = {dial: value}
        filter_ = fitted(domain, value) if dial == "lambda" else replace(default(), **moved_dial)
        mean = domain.latents.mean
        z = filter_.perturb(mean, domain.latents.variance, domain.seeds(0))
        strongest, *_ = attack(
            *domain.parts(z, domain.classes(PRIVATE)), ATTACKERS, 0, domain.threads, domain.protocols
        )
        before, after = (read(domain, latents, UTILITY, 0)[f"accuracy {UTILITY}"] for latents in (mean, z))
        moved, originals = (latents[domain.test][:, domain.bundle.used] for latents in (z, mean))
        apart = 2 * originals.var(axis=0).sum()
        place = places(moved[:CROWD], originals[:CROWD])
        figures = {
            "leakage": strongest.estimate(domain.weights),
            "lost": before - after,
            "distortion": alone(float(np.square(moved - originals).sum(axis=1).mean() / apart)),
            "linked": alone(float(np.mean(place == 1))),
            "rank": alone(float(np.median(place))),
        }
        return Cell(figures, {"strongest": strongest.summary()})

    return domain.cells.cell(f"dials {dial} {value:g}", measure)


def fitted(domain: Domain, fairness: float | None) -> FlowFilter:
    filter_ = privsdk.fit(domain.bundle, PRIVATE, UTILITY, fairness=fairness).filter
    if not isinstance(filter_, FlowFilter):
        raise TypeError(f"the fit gave a {filter_.kind} filter")
    return filter_


def draw(found: dict[str, list[Cell]], ceiling: float, path: Path) -> None:
    """One column a dial, one row a figure; the bars are 95% intervals where there is a bootstrap."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7.5), dpi=90, layout="constrained")
    axes = figure.subplots(len(FIGURES), len(DIALS), sharex="col", sharey="row")
    for column, (dial, values) in zip(axes.T, DIALS.items(), strict=True):
        at = range(len(values)) if dial == "lambda" else values
        for axis, name in zip(column, FIGURES, strict=True):
            estimates = [cell[name] for cell in found[dial]]
            height = SCALE[name] * np.array([one.value for one in estimates])
            axis.plot(at, height, ".-")
            if estimates[0].draws.size:
                low, high = SCALE[name] * np.array([np.quantile(one.draws, (0.025, 0.975)) for one in estimates]).T
                axis.fill_between(at, low, high, alpha=0.2)
        column[0].axhline(ceiling, color="grey", ls="--", lw=1, label="true Smiling alone")
        column[0].axhline(0.5, color="black", lw=1, label="chance")
        column[-1].set_xlabel(dial)
        column[-1].set_xticks(at, [f"{value:g}" for value in values])
    for axis, name in zip(axes[:, 0], FIGURES.values(), strict=True):
        axis.set_ylabel(name)
    axes[0, -1].legend(fontsize=7)
    figure.savefig(path)


if __name__ == "__main__":
    main()
