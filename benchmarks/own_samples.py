"""What own samples are worth: a label that the bundle does not know, by how many are labelled; unlabelled ones.

    PRIVSDK_DATA=... python -m benchmarks.own_samples [--labels ...] [--samples 10 30 ...] [--seeds 3] [--quick]

A bundle that knows a label is taken that knowledge of: its score, moments and joint scores are cut out, what the
encoder shows of the label stays.  Of so many people of the training partition, half of whom have the label, one photo
each is labelled; the rest of the fit is from public latents.  Attackers are trained and scored as in
benchmarks.frontier, on people who took no part.  "all that the bundle knows" is the same wish with the
whole bundle.

The last rows are about one camera: the images that were aligned again, which the test partition is of; the others were
aligned by CelebA's authors.  A fit from the bundle alone is beside some with unlabelled latents of this camera, and of
the other one, and some from this camera's latents alone; attackers see releases of this camera alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import privsdk
from benchmarks.cells import Cell, alone, figures_of, refused
from benchmarks.domains import Domain
from benchmarks.frontier.measure import read
from benchmarks.table import Line, table
from privsdk import bench
from privsdk.arrays import pack, unpack
from privsdk.auditing import metrics
from privsdk.auditing.attackers import ATTACKERS, Attacker, LogisticRegression, StandardisedPerceptron
from privsdk.auditing.protocols import Released, attack
from privsdk.filters.code import Moments
from privsdk.filters.joint_scores import JointScores
from privsdk.filters.scores import ScoreNetwork
from privsdk.fitting.asked import LEAST_OWN_ALONE
from privsdk.fitting.material import FitOn
from privsdk.store.folder import write_atomically

LABELS = ("Eyeglasses", "Wavy_Hair", "Male")
SAMPLES = (10, 30, 100, 300, 1000)
UTILITY = "Smiling"
QUICK = (LogisticRegression, StandardisedPerceptron)
LAST_OF_THE_OTHER = 10_000  # the number of a file, in CelebA as it lies here
UNLABELLED = (1000, 5000)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.own_samples", description=__doc__.splitlines()[0])
    parser.add_argument("--labels", nargs="*", default=list(LABELS), help="taken from the bundle, one at a time")
    parser.add_argument("--samples", nargs="*", type=int, default=list(SAMPLES), help="how many are labelled")
    parser.add_argument("--unlabelled", nargs="*", type=int, default=list(UNLABELLED), help="how many, of one camera")
    parser.add_argument("--seeds", type=int, default=3, help="of people, fit and attack")
    parser.add_argument("--quick", action="store_true", help="two attackers, not all")
    parser.add_argument("--faces", default="models/faces", metavar="FOLDER", help="the bundle, models/faces by default")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where finished parts are kept")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    asked = parser.parse_args(arguments)
    if not (data := os.environ.get("PRIVSDK_DATA")):
        parser.error("PRIVSDK_DATA is not set: it names the folder that holds celeba/")

    domain = Domain("faces", asked.faces, Path(data), asked.runs, asked.threads)
    attackers = QUICK if asked.quick else ATTACKERS
    rows: dict[str, list[Cell]] = {}
    for label in asked.labels:
        bundle = without(Path(asked.faces), label)
        for count in (*asked.samples, None):
            name = f"{label}, {'all that the bundle knows' if count is None else f'{count} samples'}"
            rows[name] = [own_label(domain, bundle, label, count, seed, attackers) for seed in range(asked.seeds)]
    joined: list[tuple[int, bool, FitOn]] = [(0, True, "public")]
    for count in asked.unlabelled:
        joined += [(count, True, "both"), (count, False, "both")]
        joined += [(count, True, "own")] if count >= LEAST_OWN_ALONE else []
    for count, same, fit_on in joined:
        camera = "the same" if same else "another"
        name = f"Male, {count} unlabelled of {camera} camera{' alone' if fit_on == 'own' else ''}"
        rows[name] = [one_camera(domain, count, same, fit_on, seed, attackers) for seed in range(asked.seeds)]
    lines = [
        Line(name, figure, [one[figure] for one in cells if figure in one.figures], note=refused(cells))
        for name, cells in rows.items()
        for figure in figures_of(cells) or ("leakage",)
    ]
    print(f"{asked.seeds} seeds, {len(attackers)} attackers, {bench.cpu_name()}\n")
    print(table(lines))
    if asked.json is not None:
        write_atomically(asked.json, json.dumps([line.to_json() for line in lines], indent=1).encode())


def without(folder: Path, label: str) -> privsdk.Bundle:
    """The bundle in ``folder`` as if nobody had ever labelled this."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    files = {name: (folder / name).read_bytes() for name in manifest["files"]}
    names = [entry["name"] for entry in manifest["attributes"]]
    left = [number for number, name in enumerate(names) if name != label]

    scores, moments, joint_scores = (
        kind.from_arrays(unpack(files[name])[0])
        for kind, name in (
            (ScoreNetwork, "scores.safetensors"),
            (Moments, "moments.safetensors"),
            (JointScores, "joint_scores.safetensors"),
        )
    )
    pairs = [number for number, pair in enumerate(combinations(range(len(names)), 2)) if {*pair} <= {*left}]
    parts: dict[str, ScoreNetwork | Moments | JointScores] = {
        "scores.safetensors": scores.only(left),
        "moments.safetensors": Moments(moments.knots[left], moments.mean[left], moments.spread[left]),
        "joint_scores.safetensors": JointScores(joint_scores.quantiles[left], joint_scores.shares[pairs]),
    }
    files |= {name: pack(part.arrays(), {}) for name, part in parts.items()}
    manifest["attributes"] = [manifest["attributes"][number] for number in left]
    manifest["files"] = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in files.items()
    }
    return privsdk.Bundle(json.dumps(manifest).encode(), files)


def own_label(
    domain: Domain,
    bundle: privsdk.Bundle,
    label: str,
    count: int | None,
    seed: int,
    attackers: Sequence[type[Attacker]],
) -> Cell:
    """A label learned from ``count`` people, hidden; None is for all that the whole bundle knows of it."""

    def measure() -> Cell:
        try:
            if count is None:
                privatizer = privsdk.fit(domain.bundle, label, UTILITY, seed=seed)
            else:
                rows = half_of_either(domain, label, count, seed)
                own = {f"own {label}": domain.classes(label)[rows]}
                privatizer = privsdk.fit(
                    bundle, f"own {label}", UTILITY, data=domain.latents[rows], labels=own, seed=seed
                )
        except (privsdk.UnworkablePairError, privsdk.NotReachedError) as error:
            return Cell({}, {"refused": str(error)})
        return found(domain, privatizer, label, everybody(domain), seed, attackers)

    return domain.cells.cell(f"own {label} {count} {len(attackers)} {seed}", measure)


def one_camera(
    domain: Domain, count: int, same: bool, fit_on: FitOn, seed: int, attackers: Sequence[type[Attacker]]
) -> Cell:
    """Male hidden in the photos of one camera; ``count`` latents of the same or another took part in the fit."""

    def measure() -> Cell:
        seen = np.array([int(Path(name).stem) > LAST_OF_THE_OTHER for name in domain.images.names])
        photos = domain.train[seen[domain.train] == same]
        rows = np.random.default_rng([seed, 9]).choice(photos, count, replace=False)
        own = domain.latents[rows] if count else None
        try:
            privatizer = privsdk.fit(domain.bundle, "Male", UTILITY, data=own, fit_on=fit_on, seed=seed)
        except (privsdk.UnworkablePairError, privsdk.NotReachedError) as error:
            return Cell({}, {"refused": str(error)})
        return found(domain, privatizer, "Male", seen, seed, attackers)

    return domain.cells.cell(f"camera {count} {same} {fit_on} {len(attackers)} {seed}", measure)


def found(
    domain: Domain,
    privatizer: privsdk.Privatizer,
    label: str,
    seen: NDArray[np.bool_],
    seed: int,
    attackers: Sequence[type[Attacker]],
) -> Cell:
    """What attackers find in the releases of those samples that they see, bool [N], and what the fit said itself."""
    z = privatizer.filter.perturb(domain.latents.mean, domain.latents.variance, domain.seeds(seed))
    parts: list[Released] = [
        part[seen[rows]]
        for part, rows in zip(
            domain.parts(z, domain.classes(label)), (domain.train, domain.valid, domain.test), strict=True
        )
    ]
    attacks = attack(*parts, attackers, seed, domain.threads, domain.protocols)
    check = privatizer.record["check"]
    (hidden,) = (check["private"][name] for name in privatizer.private)
    figures = {
        "leakage": attacks[0].estimate(metrics.resampled(parts[2].identity)),
        "leakage by the fit's check": alone(hidden["leakage"]),
    }
    for own in check.get("own_samples", {}).values():
        figures["AUROC of the learned score, by the fit"] = alone(own["auroc_unfiltered"])
        figures["leakage on own samples, by the fit's check"] = alone(own["leakage"])
        figures["leakage of what was not learned, as the fit expects"] = alone(own["unlearned"])
    before = read(domain, domain.latents.mean, UTILITY, seed)[f"accuracy {UTILITY}"]
    figures[f"lost {UTILITY}"] = before - read(domain, z, UTILITY, seed)[f"accuracy {UTILITY}"]
    notes: dict[str, Any] = {"attacks": [one.summary() for one in attacks], "check": check}
    return Cell(figures, notes)


def half_of_either(domain: Domain, label: str, count: int, seed: int) -> NDArray[np.int64]:
    """``count`` photos of the training partition, of as many people, half of whom have the label."""
    rng = np.random.default_rng([seed, 9])
    people = domain.train[np.unique(domain.data.identity[domain.train], return_index=True)[1]]  # one photo of each
    has = domain.classes(label)[people] == 1
    with_, rest = (
        rng.choice(people[side], part, replace=False) for side, part in ((has, count // 2), (~has, -(-count // 2)))
    )
    return np.concatenate([with_, rest])


def everybody(domain: Domain) -> NDArray[np.bool_]:
    return np.ones(len(domain.data.partition), bool)


if __name__ == "__main__":
    main()
