"""What the attacks on a label say together: the strongest, subgroups, information, and how sure one can be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm, rankdata
from sklearn.cluster import KMeans

from privsdk.auditing import information
from privsdk.auditing.attacking import Found, Which, classes, sought
from privsdk.auditing.cases import Case
from privsdk.auditing.ceilings import label_ceiling
from privsdk.auditing.intervals import CONFIDENCE, auroc_influence, halfwidths
from privsdk.auditing.protocols import Attack
from privsdk.auditing.report import Attacked, Information, Interval, Subgroup, Told

Floats = NDArray[np.float64]

FALSE_POSITIVES = (0.01, 0.001)
EXPECTED = 10  # false positives; of fewer no rate is known
SUREST = 0.02
CLUSTERS = 8
LEAST_IN_SUBGROUP = 20  # of each side
SUBGROUPS_SHOWN = 12
WITNESSES = 3  # attackers whose scores together are asked for information


def told(case: Case, label: str, found: Found, vectors: Mapping[str, NDArray]) -> Told:
    """What is told of a label by the attacks ``found`` on it.

    ``vectors`` are releases of the test samples in some forms, [N, ...]: the first tells the clusters.
    """
    kinds = list(found)
    test = case.test
    truth = classes(case, label, test)
    utility = np.stack([test.labels[name] for name in case.utility], axis=1)
    areas = {which: _areas(attacks) for which, attacks in found.items()}
    intervals = _intervals(areas, test.people)
    leakage = {which: _mean(one.leakage for one in found[which]) for which in kinds}
    ranked = sorted(kinds, key=lambda which: leakage[which], reverse=True)
    strongest = ranked[0]
    low = max(intervals[which][0] for which in kinds)
    high = max(intervals[which][1] for which in kinds)
    real = case.checked.get(label, max(case.checked.values(), default=0.0))
    accuracy, accuracy_interval = _accuracies(found, test.people)
    surest, surest_interval = _surest(found)
    return Told(
        classes=sought(case)[label],
        leakage=leakage[strongest],
        interval=(low, high),
        on_real_samples=float(min(max(leakage[strongest], real), 1.0)),
        ceiling=float(label_ceiling(truth, utility)),
        accuracy=max(accuracy.values()),
        accuracy_interval=accuracy_interval,
        either_way=max(max(one, 1 - one) for one in accuracy.values()),
        balanced_accuracy=max(_mean(one.balanced_accuracy for one in found[which]) for which in kinds),
        best_balanced_accuracy=max(_mean(one.best_balanced_accuracy for one in found[which]) for which in kinds),
        base_rate=float(np.bincount(truth).max() / len(truth)),
        true_positive_rates=_true_positive_rates(found[strongest]),
        confusion=_confusion(found[strongest], len(sought(case)[label])),
        surest=surest,
        surest_interval=surest_interval,
        subgroups=_subgroups(case, found, next(iter(vectors.values()))),
        information=_information(found, ranked, max(accuracy.values())),
        attacks=tuple(
            Attacked(
                which.attacker,
                which.form,
                which.protocol,
                found[which][0].samples,
                leakage[which],
                intervals[which],
                accuracy[which],
                _mean(one.balanced_accuracy for one in found[which]),
                _mean(one.best_balanced_accuracy for one in found[which]),
            )
            for which in ranked
        ),
    )


def _areas(attacks: Sequence[Attack]) -> list[tuple[float, Floats]]:
    """Of each class against the rest the AUROC and its influence, means over the seeds."""
    by_side = zip(*(one.influences() for one in attacks), strict=True)
    return [
        (_mean(area for area, _ in each), np.mean([influence for _, influence in each], axis=0)) for each in by_side
    ]


def _intervals(areas: Mapping[Which, Sequence[tuple[float, Floats]]], people: NDArray) -> dict[Which, Interval]:
    """Of each attacker's leakage; together they hold all of the true ones with 95%."""
    flat = [(which, area, influence) for which, sides in areas.items() for area, influence in sides]
    widths = halfwidths(np.stack([influence for _, _, influence in flat]), people)
    found: dict[Which, Interval] = {}
    for (which, area, _), width in zip(flat, widths, strict=True):
        off = abs(area - 0.5)
        low, high = found.get(which, (0.5, 0.5))
        found[which] = max(low, 0.5 + off - width), max(high, min(0.5 + off + width, 1.0))
    return {which: (float(low), float(high)) for which, (low, high) in found.items()}


def _accuracies(found: Found, people: NDArray) -> tuple[dict[Which, float], Interval]:
    """Of each attacker, and the interval of the largest."""
    right = {which: np.mean([one.guesses == one.labels for one in attacks], axis=0) for which, attacks in found.items()}
    accuracy = {which: float(each.mean()) for which, each in right.items()}
    influences = np.stack(
        [found[which][0].unsteadiness * (each - each.mean()) / len(each) for which, each in right.items()]
    )
    widths = halfwidths(influences, people)
    values = np.array(list(accuracy.values()))
    return accuracy, (float(max(0.0, (values - widths).max())), float(min(1.0, (values + widths).max())))


def _true_positive_rates(attacks: Sequence[Attack]) -> dict[str, float | None]:
    """At each false-positive rate; of several classes that of the one told best.  Folds are ranked each by itself."""
    rates: dict[str, float | None] = {}
    for rate in FALSE_POSITIVES:
        found = []
        for one in attacks:
            areas = [auroc_influence(labels, scores, one.strata)[0] - 0.5 for labels, scores in one.sides]
            best = int(np.argmax(np.abs(areas)))
            labels, scores = one.sides[best]
            scores = scores if areas[best] > 0 else -scores
            place = np.empty(len(scores))
            for stratum in np.unique(one.strata):
                rows = one.strata == stratum
                place[rows] = rankdata(scores[rows]) / rows.sum()
            negative = place[labels == 0]
            if rate * len(negative) < EXPECTED:
                return {**rates, **{f"{other:g}": None for other in FALSE_POSITIVES if f"{other:g}" not in rates}}
            found.append((place[labels == 1] > np.quantile(negative, 1 - rate, method="higher")).mean())
        rates[f"{rate:g}"] = _mean(found)
    return rates


def _confusion(attacks: Sequence[Attack], count: int) -> tuple[tuple[int, ...], ...]:
    """Of the first seed: for each true class how often each is said."""
    one = attacks[0]
    table = np.bincount(one.labels * count + one.guesses, minlength=count * count).reshape(count, count)
    return tuple(tuple(int(number) for number in row) for row in table)


def _surest(found: Found) -> tuple[float, Interval]:
    """How often the attacker that does best is right in the releases of which it is surest, corrected for all."""
    counts = []
    for attacks in found.values():
        one = attacks[0]
        sure = np.abs(one.scores) if one.scores.ndim == 1 else np.ptp(np.sort(one.scores, axis=1)[:, -2:], axis=1)
        rows = np.argsort(-sure, kind="stable")[: max(1, round(SUREST * len(sure)))]
        counts.append((int((one.guesses == one.labels)[rows].sum()), len(rows)))
    right, of = max(counts, key=lambda count: count[0] / count[1])
    tail = (1 - CONFIDENCE) / 2 / len(counts)
    low = beta.ppf(tail, right, of - right + 1) if right else 0.0
    high = beta.ppf(1 - tail, right + 1, of - right) if right < of else 1.0
    return right / of, (float(low), float(high))


def _subgroups(case: Case, found: Found, vectors: NDArray) -> tuple[Subgroup, ...]:
    """Leakage among those who have each other attribute, or have it not, and in clusters of the releases.

    The interval is corrected for all attackers and all subgroups (Bonferroni).  Of the worst first: those of which most
    is known to leak.
    """
    test = case.test
    members: dict[str, NDArray[np.bool_]] = {}
    for name, values in test.labels.items():
        if name not in case.private:
            for one in (0, 1):
                members[f"{name}" if one else f"not {name}"] = values == one
    flat = vectors.reshape(len(vectors), -1).astype(np.float32)
    clusters = KMeans(CLUSTERS, n_init=2, random_state=0).fit_predict((flat - flat.mean(0)) / (flat.std(0) + 1e-6))
    members |= {f"cluster {one + 1} of the releases": clusters == one for one in range(CLUSTERS)}
    entries = []
    for name, rows in members.items():
        for attacks in found.values():
            each = [_within(one, rows) for one in attacks]
            if all(one is not None for one in each):
                area = _mean(one[0] for one in each if one is not None)
                influence = np.mean([one[1] for one in each if one is not None], axis=0)
                by_person = np.bincount(test.people[rows] - test.people.min(), influence)
                entries.append((name, int(rows.sum()), area, float(np.sqrt(np.square(by_person).sum()))))
    if not entries:
        return ()
    quantile = float(norm.ppf(1 - (1 - CONFIDENCE) / 2 / len(entries)))
    worst: dict[str, Subgroup] = {}
    for name, count, area, error in entries:
        off = abs(area - 0.5)
        # Where all are told, the error is not known: as large as one more sample could make it.
        width = quantile * max(error, 1 / count)
        group = Subgroup(name, count, 0.5 + off, (max(0.5, 0.5 + off - width), min(1.0, 0.5 + off + width)))
        if name not in worst or group.interval[0] > worst[name].interval[0]:
            worst[name] = group
    order = sorted(worst.values(), key=lambda group: (group.interval[0], group.leakage), reverse=True)
    return tuple(order[:SUBGROUPS_SHOWN])


def _within(attack: Attack, rows: NDArray[np.bool_]) -> tuple[float, Floats] | None:
    """The AUROC of the class told best among these, and its influence; None where a class has too few."""
    areas = []
    for labels, scores in attack.sides:
        own = labels[rows]
        if min(int((own == 1).sum()), int((own == 0).sum())) < LEAST_IN_SUBGROUP:
            continue
        area, influence = auroc_influence(own, scores[rows], attack.strata[rows])
        areas.append((area, attack.unsteadiness * influence))
    return max(areas, key=lambda one: abs(one[0] - 0.5), default=None)


def _information(found: Found, ranked: Sequence[Which], accuracy: float) -> Information:
    """From the scores of the strongest attackers: what they tell, the release tells at least."""
    strongest = found[ranked[0]][0]
    entropy = information.entropy(strongest.labels)
    count = len(np.unique(strongest.labels))
    bound = _mean(information.from_cross_entropy(one.labels, one.scores, one.strata) for one in found[ranked[0]])
    witnesses = [which for which in ranked if which.protocol == ranked[0].protocol][:WITNESSES]
    scores = np.concatenate([_normal_scores(found[which][0]) for which in witnesses], axis=1)
    ksg = information.ksg(scores, strongest.labels)
    local = information.local(scores, strongest.labels)
    most = min(max(bound, ksg, local), entropy)
    return Information(
        entropy,
        bound,
        ksg,
        local,
        information.least_error(most, entropy, count),
        information.at_least(1 - accuracy, entropy, count),
    )


def _normal_scores(attack: Attack) -> Floats:
    """Scores [N, 1], or of several classes [N, C], each fold brought to the shape of a normal distribution."""
    scores = attack.scores.reshape(len(attack.scores), -1)
    normal = np.empty_like(scores)
    for stratum in np.unique(attack.strata):
        rows = attack.strata == stratum
        normal[rows] = norm.ppf((rankdata(scores[rows], axis=0) - 0.5) / rows.sum())
    return normal


def _mean(figures: Iterable[float]) -> float:
    return float(np.mean(list(figures)))
