"""What the user's own samples say of a fit: of the labels that only they know, and of every score's calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from privsdk.auditing.metrics import calibration_error
from privsdk.filters import Filter, posterior
from privsdk.fitting.check import Attacker, judge
from privsdk.fitting.material import FitBundle, FitOn, Material, OwnSamples, gather
from privsdk.fitting.own_labels import Extended, OwnLabel, folds, standard_error
from privsdk.fitting.wish import Wish
from privsdk.progress import Progress

if TYPE_CHECKING:
    from privsdk.bundle import Bundle

Floats = NDArray[np.float32]
Refit = Callable[[FitBundle, Material], Filter]

FILTERS = 3
ENOUGH_FOR_NETWORKS = 400  # samples, below which only a regularised regression can learn anything of them
SURE = 0.03
BIN, MOST_BINS = 30, 15
CALIBRATED, ENOUGH_TO_SAY = 0.1, 100
LEARNER = "regularised logistic"


def releases_of_unseen(
    bundle: Bundle,
    wish: Wish,
    labels: Sequence[OwnLabel],
    own: OwnSamples,
    seed: int,
    fit_on: FitOn,
    refit: Refit,
    report: Progress,
) -> Floats:
    """Own samples [N], each released by a filter that was fitted without it, and without it learned the own labels.

    A score fits the samples that it was learned from too well, and what replaces it hides more in them than in others.
    """
    classes = np.unique(np.nan_to_num(own.labels, nan=-1), axis=0, return_inverse=True)[1].reshape(-1)
    fold = folds(classes, FILTERS, seed)
    seeds = np.random.default_rng([seed, 8]).integers(0, 2**63, len(own), dtype=np.uint64)
    counts = [len(label.classes) for label in wish.private_labels]
    released = np.empty_like(own.mean)
    for number in range(FILTERS):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        learned = [_again(bundle, wish, label, own[inside], seed) for label in labels]
        extended = Extended.of(bundle, learned, seed)
        filter_ = refit(extended, gather(extended, wish, own[inside], seed, fit_on))
        part = own[outside].part(extended.scores.only(wish.attributes), wish, seed)
        combined = posterior.classes(part.labels[:, : len(counts)], counts)
        aware = combined if filter_.label_aware else None
        released[outside] = filter_.perturb(part.mean, part.variance, seeds[outside], aware)
        report("own samples", number + 1, FILTERS)
    return released


def findings(
    bundle: Bundle,
    wish: Wish,
    labels: Sequence[OwnLabel],
    own: OwnSamples,
    released: Floats,
    attackers: Mapping[str, Attacker],
    seed: int,
) -> dict[str, dict[str, Any]]:
    """By label what was found on own samples, in ``released`` [N, Z] and before."""
    found = {}
    for label in labels:
        rows = np.flatnonzero(~np.isnan(own.labels[:, wish.names.index(label.name)]))
        after = OwnLabel.learned(label.name, bundle.scores, bundle.public, released[rows], label.labels, seed)
        entry: dict[str, Any] = {
            "samples": len(rows),
            "positives": int(label.labels.sum()),
            "auroc_unfiltered": label.auroc,
            "auroc_unfiltered_standard_error": label.standard_error,
        }
        if label.name in wish.private:
            areas = {LEARNER: after.auroc}
            if len(rows) >= ENOUGH_FOR_NETWORKS:
                areas |= {name: judge(one, released[rows], label.labels).leakage for name, one in attackers.items()}
            strongest, area = max(areas.items(), key=lambda one: max(one[1], 1 - one[1]))
            entry |= {
                "unlearned": label.unlearned,
                "leakage": max(area, 1 - area),
                "standard_error": standard_error(0.5, label.labels),
                "strongest": strongest,
            }
        else:
            accuracy, before = (float(((one.said > 0) == label.labels).mean()) for one in (after, label))
            entry |= {
                "auroc": after.auroc,
                "accuracy": accuracy,
                "accuracy_unfiltered": before,
                "standard_error": float(np.sqrt(accuracy * (1 - accuracy) / len(rows))),
            }
        found[label.name] = entry
    return found


def widen_gaps(check: Mapping[str, Any], wish: Wish) -> None:
    """Raises gaps in the record's ``check``: that of an own label reaches to what own samples show and what they leave
    open.

    Public latents have labels that are drawn from the learned score, so that nothing of what it has not learned shows
    in them.  From few samples the strongest attacker finds some by chance, and they leave much open: no more can be
    claimed.
    """
    private = check["private"]
    for name, found in check["own_samples"].items():
        if name in wish.private:
            private[name]["gap"] = max(
                private[name]["gap"], max(found["leakage"], found["unlearned"]) - private[name]["leakage"]
            )
    widest = max(private[name]["gap"] for name in wish.private)
    for name in private.keys() - {*wish.private}:
        private[name]["gap"] = widest


def calibration(
    bundle: Bundle, wish: Wish, labels: Sequence[OwnLabel], own: OwnSamples | None
) -> dict[str, dict[str, Any]]:
    """By label how far its score's probabilities are from what is found, on average, and where that was measured.

    On own samples where there are enough, for own labels by cross-fitted scores; else as the bundle says, where it
    does.  Of a label of many classes it is that of the worst.
    """
    learned = {label.name: label for label in labels}
    stated = bundle.calibration_errors
    found: dict[str, dict[str, Any]] = {}
    for number, label in enumerate(wish.labels):
        given = np.empty(0) if own is None else own.labels[:, number]
        rows = np.flatnonzero(~np.isnan(given))
        if label.name in learned:
            one = learned[label.name]
            errors = [_calibration_error(one.labels, one.said)]
        elif own is not None and len(rows) >= BIN:
            scores = bundle.scores.only(label.attributes).scores(own.mean[rows])
            classes = np.arange(len(label.classes))[-len(label.attributes) :]
            errors = [_calibration_error(given[rows] == one, said) for one, said in zip(classes, scores.T, strict=True)]
        else:
            names = [bundle.attributes[attribute] for attribute in label.attributes]
            if all(name in stated for name in names):
                error = max(stated[name] for name in names)
                found[label.name] = {"error": error, "measured_on": "the bundle's held-out samples"}
            continue
        found[label.name] = {"error": max(errors), "measured_on": "own samples", "samples": len(rows)}
    return found


def warnings(check: Mapping[str, Any]) -> list[str]:
    """What the record's ``check`` should not be read without, in sentences."""
    said = []
    for name, found in check.get("own_samples", {}).items():
        share = found["positives"] / found["samples"]
        sure = np.sqrt((found["samples"] + 1) / (12 * share * (1 - share))) / found["samples"]
        if sure > SURE:
            needed = int(np.ceil(1 / (12 * share * (1 - share) * SURE**2) / 10) * 10)
            sentence = (
                f"{name} is known from {found['samples']} samples only, {found['positives']} of which have it: an "
                f"AUROC on them has a standard error of {sure:.3f}, and about {needed} are needed for one of {SURE}."
            )
            if name in check["private"]:
                sentence += (
                    " Somebody with more labelled samples can be expected to tell it with an AUROC of about "
                    f"{found['unlearned']:.2f} from what the filter has not learned of."
                )
            said.append(sentence)
        hidden = check["private"].get(name)
        if hidden is not None and found["leakage"] - 2 * found["standard_error"] > hidden["leakage"]:
            said.append(
                f"{name} leaks more on own samples that the filter had not seen ({found['leakage']:.2f}) than on "
                f"{check['measured_on']} ({hidden['leakage']:.2f}): its score does not say all that they show of it."
            )
    for name, found in check["calibration"].items():
        if found["error"] > CALIBRATED and found.get("samples", ENOUGH_TO_SAY) >= ENOUGH_TO_SAY:
            said.append(
                f"The probabilities that the score of {name} states are off by {found['error']:.2f} on average on "
                f"{found['measured_on']}: what {check['measured_on']} show of {name} may be off too."
            )
    return said


def _again(bundle: Bundle, wish: Wish, label: OwnLabel, own: OwnSamples, seed: int) -> OwnLabel:
    given = own.labels[:, wish.names.index(label.name)]
    rows = np.flatnonzero(~np.isnan(given))
    return OwnLabel.learned(label.name, bundle.scores, bundle.public, own.mean[rows], given[rows] == 1, seed)


def _calibration_error(labels: NDArray[np.bool_], said: NDArray[Any]) -> float:
    """In as many bins as have thirty samples each: fewer in a bin differ from what was said by chance alone."""
    return calibration_error(labels.astype(np.int64), said, int(np.clip(len(labels) // BIN, 1, MOST_BINS)))
