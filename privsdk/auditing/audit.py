"""The audit of a privatizer: attackers trained afresh on its releases, and what they still tell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from privsdk.auditing.report import Attacked, Kept, Report, Told
from privsdk.codec import Latents
from privsdk.errors import MissingExtraError, PrivatizerError, UsageError
from privsdk.filters import posterior
from privsdk.fitting.check import LEAST_COMBINATION
from privsdk.fitting.material import Part, gather
from privsdk.fitting.wish import Wish, resolve
from privsdk.privatizer import Privatizer
from privsdk.progress import Progress

if TYPE_CHECKING:
    from privsdk.auditing.attackers import Attacker
    from privsdk.auditing.metrics import Estimate
    from privsdk.auditing.protocols import Attack, Released

Floats = NDArray[np.float32]
Classes = NDArray[np.int64]

SEEDS = 2  # of draws and attackers
QUICK_TRAINING = 4000  # releases that attackers are trained on
LEAST_OF_A_CLASS = 20  # releases that attackers are scored on


def audit(
    privatizer: Privatizer,
    *,
    quick: bool = False,
    seed: int = 0,
    threads: int = 1,
    on_progress: Progress | None = None,
) -> Report:
    """What attackers trained afresh on a privatizer's releases still tell.

    Public latents are released.  Attackers learn from releases of the three quarters that the filter was fitted on and
    chosen by, as from a training partition, and, in five folds, among the quarter that no choice has seen; they are
    scored on this quarter, and the strongest counts.  With ``quick`` two families learn in the first way alone, with
    one seed instead of two.  ``threads`` attackers are trained at a time.

    :raises UsageError: a label is the user's own, which public latents do not show, or too few of them have it.
    :raises PrivatizerError: its record does not say with which seed it was fitted.
    :raises MissingExtraError: scikit-learn is not there.
    """
    if find_spec("sklearn") is None:
        raise MissingExtraError("an audit needs scikit-learn: pip install 'privsdk[audit]'")
    from threadpoolctl import threadpool_limits

    from privsdk.auditing import metrics
    from privsdk.auditing.attackers import ATTACKERS, LogisticRegression, StandardisedPerceptron
    from privsdk.auditing.protocols import BOTH, TRAINING_PARTITION, attack

    bundle, record = privatizer.bundle, privatizer.record
    if own := record.get("own_labels"):
        raise UsageError(
            f"{own[0]} is a label of your own, which public latents do not show: its fit said what attackers found"
        )
    wish = resolve(privatizer.private, privatizer.utility, bundle.attributes, bundle.groups)
    fitted_with = record.get("settings", {}).get("seed")
    if not isinstance(fitted_with, int):
        raise PrivatizerError("the record does not say with which seed it was fitted, and on what: fit it again")
    material = gather(bundle, wish, None, fitted_with)
    train = material.train[:QUICK_TRAINING] if quick else material.train
    parts = [train, material.validation, material.check]
    families: Sequence[type[Attacker]] = (LogisticRegression, StandardisedPerceptron) if quick else ATTACKERS
    protocols = (TRAINING_PARTITION,) if quick else BOTH
    seeds = tuple(range(seed, seed + (1 if quick else SEEDS)))
    sought = _sought(wish)
    attacks: dict[str, list[list[Attack]]] = {name: [] for name in sought}
    readings: dict[str, list[tuple[Estimate, Estimate]]] = {name: [] for name in wish.utility}
    weights = metrics.resampled(np.arange(len(material.check)))
    total = len(seeds) * (len(sought) + len(wish.utility))
    report: Progress = on_progress or (lambda stage, done, total: None)
    done = 0
    with threadpool_limits(1):  # the matrices are small: a second thread makes each take longer
        for one in seeds:
            released, unfiltered = _released(privatizer, parts, one), _drawn(parts, one)
            for name, column in sought.items():
                labels = _classes(parts, wish, column)
                _require_enough(labels[-1], name)
                attacks[name].append(attack(*_partitions(released, labels), families, one, threads, protocols))
                report("audit", done := done + 1, total)
            for column, name in enumerate(wish.utility, start=len(wish.private)):
                labels = [part.labels[:, column] for part in parts]
                before, after = (_read(*_partitions(z, labels), one, weights) for z in (unfiltered, released))
                readings[name].append((before, after))
                report("audit", done := done + 1, total)
    checked = {label: found["leakage"] + found["gap"] for label, found in record["check"]["private"].items()}
    utility = material.check.labels[:, len(wish.private) :]
    return Report(
        bundle.name,
        bundle.digest,
        privatizer.method,
        material.measured_on,
        len(material.check),
        seeds,
        {
            name: _told(found, weights, checked.get(name, max(checked.values())), utility)
            for name, found in attacks.items()
        },
        {name: _kept(found) for name, found in readings.items()},
    )


def _sought(wish: Wish) -> dict[str, int | None]:
    """What attackers seek, by its name: the column of each private label, and None for the combination of several."""
    columns: dict[str, int | None] = {name: column for column, name in enumerate(wish.private)}
    return columns | ({" and ".join(wish.private): None} if len(wish.private) > 1 else {})


def _classes(parts: Sequence[Part], wish: Wish, column: int | None) -> list[Classes]:
    """What is sought in each part, numbered from 0; combinations that few have count as the commonest one."""
    if column is not None:
        return [part.labels[:, column] for part in parts]
    counts = [len(label.classes) for label in wish.private_labels]
    combined = [posterior.classes(part.labels[:, : len(counts)], counts) for part in parts]
    shares = np.bincount(combined[0], minlength=int(np.prod(counts))) / len(combined[0])
    number = np.where(shares < LEAST_COMBINATION, shares.argmax(), np.arange(len(shares)))
    number = np.unique(number, return_inverse=True)[1]
    return [number[classes] for classes in combined]


def _require_enough(labels: Classes, name: str) -> None:
    if (least := int(np.bincount(labels).min())) < LEAST_OF_A_CLASS:
        raise UsageError(
            f"{least} public latents are on one side of {name}, and {LEAST_OF_A_CLASS} are needed to say anything of it"
        )


def _released(privatizer: Privatizer, parts: Sequence[Part], seed: int) -> list[Floats]:
    """Releases with random choices of their own, whatever the device key is."""
    rng = np.random.default_rng([seed, 7])
    hidden = len(privatizer.private)
    return [
        privatizer.perturb(
            Latents(part.mean, part.variance),
            part.labels[:, :hidden] if privatizer.label_aware else None,
            rng.integers(0, 2**63, len(part), dtype=np.uint64),
        )
        for part in parts
    ]


def _drawn(parts: Sequence[Part], seed: int) -> list[Floats]:
    """Posterior samples, as a server would see them without a filter."""
    rng = np.random.default_rng([seed, 8])
    return [part.draw(rng) for part in parts]


def _partitions(z: Sequence[Floats], labels: Sequence[Classes]) -> tuple[Released, Released, Released]:
    """Training, validation and test partition; every latent is somebody else's."""
    from privsdk.auditing.protocols import Released

    train, valid, test = (
        Released(latents, classes, np.arange(len(latents))) for latents, classes in zip(z, labels, strict=True)
    )
    return train, valid, test


def _read(train: Released, valid: Released, test: Released, seed: int, weights: NDArray[np.float64]) -> Estimate:
    """A utility label's accuracy by a classifier trained afresh, the one that does best on the validation partition."""
    from privsdk.auditing.attackers import LogisticRegression, StandardisedPerceptron
    from privsdk.auditing.metrics import Estimate

    def right(scores: NDArray[np.float64], labels: Classes) -> NDArray[np.bool_]:
        return (scores.argmax(axis=1) if scores.ndim > 1 else scores > 0) == labels

    trained = [reader(seed).fit(train.z, train.labels) for reader in (LogisticRegression, StandardisedPerceptron)]
    best = max(trained, key=lambda one: right(one.score(valid.z), valid.labels).mean())
    found = right(best.score(test.z), test.labels)
    return Estimate(float(found.mean()), weights @ found / weights.sum(-1))


def _told(found: Sequence[Sequence[Attack]], weights: NDArray[np.float64], checked: float, utility: Classes) -> Told:
    """The strongest attacker by its mean over the seeds.

    ``found`` are the attacks of each seed; ``checked`` is what the fit found, with the gap that is measured from there.
    """
    from privsdk.auditing.ceilings import label_ceiling
    from privsdk.auditing.metrics import Estimate

    by_name: dict[tuple[str, str], list[Attack]] = {}
    for one in (one for attacks in found for one in attacks):
        by_name.setdefault((one.attacker, one.protocol), []).append(one)
    ranked = sorted(by_name.values(), key=lambda same: _mean(one.leakage for one in same), reverse=True)
    strongest = Estimate.mean([one.estimate(weights) for one in ranked[0]])
    labels = ranked[0][0].labels
    return Told(
        strongest.value,
        strongest.interval,
        min(max(strongest.value, checked), 1.0),
        float(label_ceiling(labels, utility)),
        max(_mean(one.accuracy for one in same) for same in ranked),
        max(_mean(one.balanced_accuracy for one in same) for same in ranked),
        float(np.bincount(labels).max() / len(labels)),
        tuple(
            Attacked(
                same[0].attacker,
                same[0].protocol,
                _mean(one.leakage for one in same),
                _mean(one.accuracy for one in same),
                _mean(one.balanced_accuracy for one in same),
            )
            for same in ranked
        ),
    )


def _kept(found: Sequence[tuple[Estimate, Estimate]]) -> Kept:
    """Of the accuracies before and after, a pair for each seed."""
    from privsdk.auditing.metrics import Estimate

    before, after = (Estimate.mean(list(side)) for side in zip(*found, strict=True))
    lost = before - after
    return Kept(after.value, before.value, lost.value, lost.interval)


def _mean(figures: Iterable[float]) -> float:
    return float(np.mean(list(figures)))
