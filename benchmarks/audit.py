"""The audit of the default filter on faces of people whom nothing has learned from.

    PRIVSDK_DATA=<folder> python -m benchmarks.audit --private male --utility smiling --html runs/audit.html

Attackers learn from releases of the training partition, are tuned on the valid one and scored on the test one, and in
five folds by identity within it; faces are read once into ``runs/``, as the frontier's.  The page holds pictures of
CelebA's people unless ``--no-originals`` leaves them out: it stays in an ignored folder.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import privsdk
from benchmarks.domains import Domain
from privsdk.auditing.audit import examined
from privsdk.auditing.cases import ByPrivatizer, Case, Samples, of_public_latents


def held_out(domain: Domain, privatizer: privsdk.Privatizer, most: int | None = None) -> Case:
    """CelebA by its partitions; of the test partition the people of at most so many faces."""
    labels = {name: domain.classes(name) for name in domain.data.attributes}
    identity = np.unique(domain.data.identity, return_inverse=True)[1].reshape(-1)

    def samples(rows: NDArray[np.int64]) -> Samples:
        own = {name: values[rows] for name, values in labels.items()}
        return Samples(own, identity[rows], domain.latents[rows], domain.data.samples[rows])

    train = samples(domain.train)
    return replace(
        of_public_latents(privatizer),
        measured_on="held-out faces (CelebA, test partition)",
        train=train,
        validation=samples(domain.valid),
        test=samples(domain.test[:most]),
        releasing=ByPrivatizer(privatizer, train),
        checked={},
        digest=f"{privatizer.bundle.digest[:16]} held out {privatizer.private} {privatizer.utility} {most}",
        notes=(
            "Attackers learned from releases of CelebA's training partition, which encoder, scores and flow learned "
            "from too, and in five folds by identity among the releases of the test partition, whose people nothing "
            "has seen; they were tuned on the valid partition.",
        ),
        limits=("CelebA's people are public figures, photographed by the press: others may be told otherwise.",),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Audit the default filter on held-out faces.")
    parser.add_argument("--data", type=Path, default=os.environ.get("PRIVSDK_DATA"), help="the folder with celeba/")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where what is finished is kept")
    parser.add_argument("--private", default="male")
    parser.add_argument("--utility", default="smiling")
    parser.add_argument("--fairness", type=float, default=None)
    parser.add_argument("--rho", type=float, default=1.0)
    parser.add_argument("--samples", type=int, default=None, help="at most so many faces of the test partition")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--html", type=Path, default=None)
    parser.add_argument("--no-originals", action="store_true")
    arguments = parser.parse_args()

    domain = Domain("faces", "faces", Path(arguments.data), arguments.runs, arguments.threads)
    privatizer = privsdk.fit(
        domain.bundle, arguments.private, arguments.utility, fairness=arguments.fairness, rho=arguments.rho
    )
    report = examined(
        held_out(domain, privatizer, arguments.samples),
        quick=arguments.quick,
        seed=arguments.seed,
        threads=arguments.threads,
        folder=arguments.runs / "audit",
        on_progress=privsdk.ProgressText(),
    )
    print(report.in_words())
    print(f"{report.seconds:.0f} s")
    if arguments.html is not None:
        privsdk.write_page(report.without_originals() if arguments.no_originals else report, arguments.html)


if __name__ == "__main__":
    main()
