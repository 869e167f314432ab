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
from examples.fleet.server_app import POOL, Calling, server_app
from examples.fleet.simulation import OPEN, simulate
from export.datasets import mnist
from export.datasets.labelled import TEST, TRAIN, LabelledSamples
from privsdk.auditing.attackers import Attacker, HistGradientBoosting, LogisticRegression, StandardisedPerceptron
from privsdk.auditing.metrics import Estimate, accuracy, resampled

BUNDLE = "mnist"
WISHES = (Wish(BUNDLE, ("At least 5",), ("Even",)), Wish(BUNDLE, ("Even",), ("At least 5",)))
PARTS = {2: 10, 10: 20, 100: 200}  # of the training digits, one a user's: as in benchmarks/paper for 2 and 10
ON_THE_SERVER = 20_000
CLASSIFIERS: tuple[type[Attacker], ...] = (
    PapersClassifier,
    *(LogisticRegression, StandardisedPerceptron, HistGradientBoosting),
)

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Users:
    """For each user the rows of the data that are his, those that are learned from and those that are scored.

    ``public`` are the training rows of nobody.
    """

    learned: list[Rows]
    scored: list[Rows]
    public: Rows

    @classmethod
    def drawn(cls, data: LabelledSamples, count: int, seed: int) -> Users:
        generator = np.random.default_rng([seed, count])
        train, test = (generator.permutation(np.flatnonzero(data.partition == one)) for one in (TRAIN, TEST))
        parts = np.array_split(train, PARTS[count])
        return cls(parts[:count], np.array_split(test, count), np.concatenate(parts[count:]))


@dataclass(frozen=True, eq=False)
class Digits:
    """Latents float32 [N, Z] of digits on the server, the ``rows`` of the data that they are, and their users' wish.

    ``wish`` int64 [N] is a place in ``WISHES``, -1 of public digits.
    """

    z: NDArray[np.float32]
    rows: Rows
    wish: NDArray[np.int64]

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Digits:
        return Digits(self.z[chosen], self.rows[chosen], self.wish[chosen])


def measured(source: Path, runs: Path, count: int, seed: int, processes: int) -> list[str]:
    """Rows of the table."""
    data, bundle = mnist.load(source), open_bundle(BUNDLE)
    folder = runs / f"digits-{bundle.digest[:12]}-seed-{seed}-users-{count}"
    server = folder / "server"
    server.mkdir(parents=True, exist_ok=True)
    users = Users.drawn(data, count, seed)
    for number, rows in enumerate(zip(users.learned, users.scored, strict=True)):
        wish, his = WISHES[number % 2], np.concatenate(rows)
        key = hashlib.sha256(f"user {number}, seed {seed}".encode()).digest()
        labels = data.labels[his][:, [data.attributes.index(wish.utility[0])]]
        Device.made(folder / "devices" / named(number), data.samples[his], wish, key, labels)
    collecting = server_app(count, BUNDLE, server, Calling(OPEN * processes))
    simulate(folder / "devices", count, collecting, processes)
    learned, scored = on_the_server(data, users, server)
    lines = []
    for place, wish in enumerate(WISHES):
        own = scored[scored.wish == place]
        for label in (*wish.private, *wish.utility):
            hidden = label in wish.private
            # The server knows who sent what, and those of one wish may be alike.
            lessons = [learned, learned[learned.wish == place]] if hidden else [learned]
            classes = data.labels[:, data.attributes.index(label)].astype(np.int64)
            said = [accuracies(classes, lesson, own, seed) for lesson in lessons]
            base = float(np.bincount(classes[own.rows]).max() / len(own.rows))
            published = TABLE_4[f"user {place + 1}"][label][ACCURACY].value
            most = max((one for each in said for one in each), key=lambda one: one.value)
            what = f"{label}, {'hidden' if hidden else 'kept'}"
            lines.append(
                f"| {count} | {what} | {base:.3f} | {published:.3f} | {shown_as(said[0][0])} | {shown_as(most)} |"
            )
    return lines


def on_the_server(data: LabelledSamples, users: Users, server: Path) -> tuple[Digits, Digits]:
    """The digits that are learned from, and those that are scored."""
    bundle, count = open_bundle(BUNDLE), len(users.learned)
    with np.load(server / POOL) as arrays:
        z = [bundle.encode(arrays[named(number)]).mean for number in range(count)]
    wishes = [np.full(len(one), number % 2) for number, one in enumerate(z)]
    shown = users.public[: max(ON_THE_SERVER - sum(map(len, users.learned)), 0)]
    learned, scored = [], []
    for own, wish, first, rest in zip(z, wishes, users.learned, users.scored, strict=True):
        learned.append(Digits(own[: len(first)], first, wish[: len(first)]))
        scored.append(Digits(own[len(first) :], rest, wish[len(first) :]))
    learned.append(Digits(unfiltered(data, shown), shown, np.full(len(shown), -1)))
    return together(learned), together(scored)


def together(parts: Sequence[Digits]) -> Digits:
    return Digits(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("z", "rows", "wish")))


def accuracies(classes: NDArray[np.int64], learned: Digits, scored: Digits, seed: int) -> list[Estimate]:
    """How often each classifier is right, the paper's first."""
    found = []
    weights = resampled(np.arange(len(scored.rows)), seed=seed)
    for classifier in CLASSIFIERS:
        scores = classifier(seed).fit(learned.z, classes[learned.rows]).score(scored.z)
        truth = classes[scored.rows]
        found.append(Estimate(float(accuracy(truth, scores)), accuracy(truth, scores, weights)))
    return found


def unfiltered(data: LabelledSamples, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Latents of digits that nobody filtered: float32 [N, Z]."""
    bundle = open_bundle(BUNDLE)
    return bundle.encode(data.samples[rows]).mean if len(rows) else np.empty((0, bundle.latent_size), np.float32)


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
