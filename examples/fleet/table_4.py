"""Table 4 of the paper on Flower: users of two opposite wishes, whose digits meet on one server.

    PRIVSDK_DATA=... python -m examples.fleet.table_4 [--users 2 10 100] [--seed 0]

Users of even number hide whether a digit is at least 5 and keep parity, the others the reverse.  Each holds a part of
MNIST's training digits and an equal share of its test digits, and releases all of them.  On the server lie releases of
training digits and, where these are fewer than 20,000, other digits as they are.  Classifiers learn from all of that,
or from the releases of those of one wish alone, with true labels, and are scored on the released test digits of the
users of one wish.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.paper.classifier import PapersClassifier
from benchmarks.paper.published import ACCURACY, TABLE_4
from examples.fleet.device import Device, Wish, named, open_bundle
from examples.fleet.server_app import POOL, server_app
from examples.fleet.simulation import simulate
from export.datasets import mnist
from export.datasets.labelled import TEST, TRAIN, LabelledSamples
from privsdk.auditing.attackers import Attacker, HistGradientBoosting, LogisticRegression, StandardisedPerceptron
from privsdk.auditing.metrics import Estimate, accuracy, resampled

BUNDLE = "mnist"
WISHES = (Wish(BUNDLE, ("At least 5",), ("Even",)), Wish(BUNDLE, ("Even",), ("At least 5",)))
PARTS = {2: 10, 10: 20, 100: 200}  # of the training digits, one a user's: as in benchmarks/paper for 2 and 10
ON_THE_SERVER = 20_000
STRONG: tuple[type[Attacker], ...] = (LogisticRegression, StandardisedPerceptron, HistGradientBoosting)


@dataclass(frozen=True, eq=False)
class Users:
    """For each user the rows of the data that are his: those that are learned from, and those that are scored."""

    learned: list[NDArray[np.int64]]
    scored: list[NDArray[np.int64]]
    public: NDArray[np.int64]

    @classmethod
    def drawn(cls, data: LabelledSamples, count: int, seed: int) -> Users:
        generator = np.random.default_rng([seed, count])
        train, test = (generator.permutation(np.flatnonzero(data.partition == one)) for one in (TRAIN, TEST))
        parts = np.array_split(train, PARTS[count])
        return cls(parts[:count], np.array_split(test, count), np.concatenate(parts[count:]))


def measured(source: Path, runs: Path, count: int, seed: int, processes: int) -> list[str]:
    """Rows of the table."""
    data, bundle = mnist.load(source), open_bundle(BUNDLE)
    folder = runs / f"digits-{bundle.digest[:12]}-seed-{seed}-users-{count}"
    server = folder / "server"
    server.mkdir(parents=True, exist_ok=True)
    users = Users.drawn(data, count, seed)
    for number, rows in enumerate(zip(users.learned, users.scored, strict=True)):
        wish, own = WISHES[number % 2], np.concatenate(rows)
        key = hashlib.sha256(f"user {number}, seed {seed}".encode()).digest()
        labels = data.labels[own][:, [data.attributes.index(wish.utility[0])]]
        Device.made(folder / "devices" / named(number), data.samples[own], wish, key, labels)
    simulate(folder / "devices", count, server_app(count, BUNDLE, server), processes)
    with np.load(server / POOL) as arrays:
        z = [bundle.encode(arrays[named(number)]).mean for number in range(count)]
    sizes = [len(rows) for rows in users.learned]
    shown = users.public[: max(ON_THE_SERVER - sum(sizes), 0)]
    held = np.concatenate([*users.learned, shown])
    released = np.concatenate([*(one[:size] for one, size in zip(z, sizes, strict=True)), unfiltered(data, shown)])
    wish_of = np.concatenate(
        [*(np.full(size, number % 2) for number, size in enumerate(sizes)), np.full(len(shown), -1)]
    )
    lines = []
    for side, wish in enumerate(WISHES):
        own = range(side, count, 2)
        scored, truth = (
            np.concatenate([z[one][sizes[one] :] for one in own]),
            np.concatenate([users.scored[one] for one in own]),
        )
        for label, hidden in ((wish.private[0], True), (wish.utility[0], False)):
            classes = data.labels[:, data.attributes.index(label)].astype(np.int64)
            learned = [np.ones(len(held), bool), wish_of == side] if hidden else [np.ones(len(held), bool)]
            found = {
                attacker: [attacker(seed).fit(released[rows], classes[held[rows]]).score(scored) for rows in learned]
                for attacker in (PapersClassifier, *STRONG)
            }
            said = [told(classes[truth], scores) for scores in (found[PapersClassifier][0], *sum(found.values(), []))]
            published = TABLE_4[f"user {side + 1}"][label][ACCURACY].value
            base = max(classes[truth].mean(), 1 - classes[truth].mean())
            most = max(said, key=lambda one: one.value)
            lines.append(
                f"| {count} | {label}, {'hidden' if hidden else 'kept'} | {base:.3f} | {published:.3f} "
                f"| {shown_as(said[0])} | {shown_as(most)} |"
            )
    return lines


def unfiltered(data: LabelledSamples, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Latents of digits that nobody filtered: float32 [N, Z]."""
    bundle = open_bundle(BUNDLE)
    return bundle.encode(data.samples[rows]).mean if len(rows) else np.empty((0, bundle.latent_size), np.float32)


def told(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> Estimate:
    weights = resampled(np.arange(len(labels)))
    return Estimate(float(accuracy(labels, scores)), accuracy(labels, scores, weights))


def shown_as(estimate: Estimate) -> str:
    low, high = estimate.interval
    return f"{estimate.value:.3f} ({low:.3f} to {high:.3f})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.fleet.table_4", description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seed", type=int, default=0, help="of whose digits are whose, of keys and of classifiers")
    parser.add_argument("--processes", type=int, default=2, help="users at a time")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where devices lie, with what they released")
    asked = parser.parse_args(arguments)
    if not (data := os.environ.get("PRIVSDK_DATA")):
        parser.error("PRIVSDK_DATA is not set: it names the folder that holds mnist/")
    print("| users | label | base rate | published | its classifier | strongest |\n" + "|---" * 6 + "|")
    for count in asked.users:
        print("\n".join(measured(Path(data) / "mnist", asked.runs, count, asked.seed, asked.processes)), flush=True)


if __name__ == "__main__":
    main()
