"""What several releases tell together: of one sample, of nearly equal ones, of one person's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from privsdk import noise
from privsdk.auditing import metrics
from privsdk.auditing.attackers import (
    Attacker,
    LogisticRegression,
    QuadraticDiscriminant,
    SmallStandardisedPerceptron,
)
from privsdk.auditing.attacking import Found, classes, sought
from privsdk.auditing.cases import Case, Samples
from privsdk.auditing.forms import ENCODED, LATENTS, PIXELS
from privsdk.auditing.intervals import auroc_influence, halfwidths
from privsdk.auditing.protocols import Released, cross_fitted, sides
from privsdk.auditing.report import Several
from privsdk.codec import Latents
from privsdk.privatizer import Privatizer

Floats = NDArray[np.float32]
Measure = Callable[[Case, Samples, int, Sequence[int], int], dict[int, Floats]]

ATTACKERS: tuple[type[Attacker], ...] = (LogisticRegression, SmallStandardisedPerceptron, QuadraticDiscriminant)

COUNTS = (1, 10, 100, 1000)
IMAGE_COUNTS = (1, 10, 100)
SAMPLES = 300  # that attackers are scored on, and, of images, learn from
PICTURED = 150  # whose images are decoded a hundred times
TRAINING = 600  # latents that attackers learn from
MOST_TRAINING, MOST_TRAINING_IMAGES = 100, 10  # releases of each: the mean of more is nearly the same
DRAWS_APART = 10_000  # more than there are releases of a sample
BURST = 10
ALBUMS = (2, 5, 10, 20)

REDRAWN, KEYED = "one sample, choices redrawn", "one sample, choices keyed"


def averages(case: Case, seeds: Sequence[int], threads: int, advance: Callable[[], None]) -> list[Several]:
    """Attackers on the mean, and the spread, of 1 to 1,000 releases of one sample; of images of 1 to 100.

    Releases are drawn with the first of ``seeds``, attackers are trained with each.

    With the choices keyed to the sample all its releases are the same, which is checked, so that of 1,000 is that of
    one.  ``advance`` is called once for each power of ten.
    """
    train = (case.train if case.train is not None else case.validation)[:TRAINING]
    seed = seeds[0]
    test = _some(case.test, seed)
    found: list[Several] = []
    latents = _together(_latents_of, case, (train, test), (MOST_TRAINING, COUNTS[-1]), COUNTS, seed, threads)
    for count, features in latents:
        found += [
            _several(case, label, REDRAWN, LATENTS, count, features, train, test, seeds) for label in sought(case)
        ]
        advance()
    for one in [one for one in found if one.count == 1] if _is_keyed(case, test) else []:
        found += [Several(**{**vars(one), "kind": KEYED, "count": count}) for count in COUNTS]
    if ENCODED in case.releasing.forms:
        few, pictured = train[:SAMPLES], test[:PICTURED]
        most = (MOST_TRAINING_IMAGES, IMAGE_COUNTS[-1])
        images = _together(_images_of, case, (few, pictured), most, IMAGE_COUNTS, seed, threads)
        for count, features in images:
            found += [
                _several(case, label, REDRAWN, ENCODED, count, features, few, pictured, seeds) for label in sought(case)
            ]
            advance()
    return found


def bursts(case: Case, seeds: Sequence[int]) -> list[Several]:
    """Attackers on the mean and spread of releases of ten nearly equal samples, each keyed for itself.

    Pictures differ by at most one step in every pixel, latents by a hundredth of their spread.
    """
    privatizer = case.privatizer
    if privatizer is None:
        return []
    train = (case.train if case.train is not None else case.validation)[: 2 * SAMPLES]
    seed = seeds[0]
    test = _some(case.test, seed)
    key = np.random.default_rng([seed, 11]).bytes(noise.KEY_BYTES)
    parts = [_features(_burst(privatizer, samples, key, seed)) for samples in (train, test)]
    return [_several(case, label, "burst", LATENTS, BURST, parts, train, test, seeds) for label in sought(case)]


def albums(case: Case, found: dict[str, Found], released: NDArray[np.float32], seeds: Sequence[int]) -> list[Several]:
    """Attackers on several different samples of one person: their mean and spread, and each attacker's scores added up.

    ``released`` are the releases of the test samples as vectors, [N, Z].  Empty where nobody has two samples.
    """
    results = []
    test = case.test
    for label in found:
        labels = classes(case, label, test)
        for count in ALBUMS:
            groups = _groups(test.people, labels, count, seeds[0])
            truth, people = labels[groups[:, 0]], test.people[groups[:, 0]]
            if len(groups) == 0 or np.bincount(truth, minlength=2).min() < 20:
                continue
            features = np.concatenate([released[groups].mean(axis=1), released[groups].std(axis=1)], axis=1)
            kinds = [
                [cross_fitted(attacker, Released(features, truth, people), seed).influences() for seed in seeds]
                for attacker in ATTACKERS
            ]
            for attacks in found[label].values():
                added = []
                for one in attacks:
                    scores = one.scores.reshape(len(one.scores), -1).copy()
                    for stratum in np.unique(one.strata):  # folds have no common scale
                        rows = one.strata == stratum
                        scores[rows] = (scores[rows] - scores[rows].mean(0)) / (scores[rows].std(0) + 1e-9)
                    sum_ = scores[groups].sum(axis=1)
                    areas = _areas(truth, sum_[:, 0] if sum_.shape[1] == 1 else sum_)
                    added.append([(area, one.unsteadiness * influence) for area, influence in areas])
                kinds.append(added)
            leakage, interval = _strongest(kinds, people)
            results.append(
                Several(label, "album", LATENTS, count, len(groups), leakage, interval, _ceiling(case, truth, groups))
            )
    return results


def _latents_of(case: Case, samples: Samples, upto: int, counts: Sequence[int], seed: int) -> dict[int, Floats]:
    """For each count, up to this one, the mean and the spread of so many releases: float32 [N, 2 Z]; of one itself."""
    total, squares = np.zeros(1), np.zeros(1)
    found = {}
    for draw in range(upto):
        values = case.releasing.release(samples, seed + draw, [LATENTS])[LATENTS].astype(np.float64)
        total, squares = total + values, squares + values**2
        if draw + 1 in counts:
            mean = total / (draw + 1)
            spread = np.sqrt(np.maximum(squares / (draw + 1) - mean**2, 0))
            found[draw + 1] = np.concatenate([mean, spread] if draw else [mean], axis=1).astype(np.float32)
    return found


def _images_of(case: Case, samples: Samples, upto: int, counts: Sequence[int], seed: int) -> dict[int, Floats]:
    """For each count, up to this one, the latent of the mean of so many released images: float32 [N, Z]."""
    if case.bundle is None:
        raise LookupError("images are encoded again by a bundle")
    total = np.zeros((1,), np.float32)
    found = {}
    for draw in range(upto):
        total = total + case.releasing.release(samples, seed + draw, [PIXELS])[PIXELS].astype(np.float32)
        if draw + 1 in counts:
            found[draw + 1] = case.bundle.encode(np.round(total / (draw + 1)).astype(np.uint8)).mean
    return found


def _together(
    measure: Measure,
    case: Case,
    parts: Sequence[Samples],
    most: Sequence[int],
    counts: Sequence[int],
    seed: int,
    threads: int,
) -> list[tuple[int, list[Floats]]]:
    """What ``measure`` makes of each part, for each count; of a part with fewer releases that of its most."""
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        running = [
            # Each piece with draws of its own.
            [
                pool.submit(measure, case, samples[rows], upto, counts, DRAWS_APART * (seed + piece))
                for piece, rows in enumerate(np.array_split(np.arange(len(samples)), threads))
            ]
            for samples, upto in zip(parts, most, strict=True)
        ]
        found = [[piece.result() for piece in pieces] for pieces in running]
    return [
        (count, [np.concatenate([piece[min(count, max(piece))] for piece in pieces]) for pieces in found])
        for count in counts
    ]


def _burst(privatizer: Privatizer, samples: Samples, key: bytes, seed: int) -> NDArray[np.float32]:
    """Perturbed latents of ten samples like each, [10, N, Z]."""
    rng = np.random.default_rng([seed, 12])
    latents = samples.latents
    if latents is None:
        raise LookupError("a privatizer's samples have latents")
    bundle = privatizer.bundle
    private = (
        np.stack([samples.labels[name] for name in privatizer.private], axis=1) if privatizer.label_aware else None
    )
    pictures = samples.pixels
    if pictures is None and len(bundle.sample_shape) > 1:
        pictures = bundle.decode(latents.mean)
    found = []
    for _ in range(BURST):
        if pictures is None:
            moved = latents.mean + 0.01 * latents.mean.std(axis=0) * rng.standard_normal(latents.mean.shape)
            like = Latents(moved.astype(np.float32), latents.variance)
            seeds = noise.sample_seeds(key, like.mean, "sample")
        else:
            step = rng.integers(-1, 2, pictures.shape, np.int16)
            near = np.clip(pictures.astype(np.int16) + step, 0, 255).astype(np.uint8)
            like, seeds = bundle.encode(near), noise.sample_seeds(key, near, "sample")
        found.append(privatizer.perturb(like, private, seeds))
    return np.stack(found)


def _features(releases: NDArray[np.float32]) -> Floats:
    return np.concatenate([releases.mean(axis=0), releases.std(axis=0)], axis=1)


def _several(
    case: Case,
    label: str,
    kind: str,
    form: str,
    count: int,
    features: Sequence[Floats],
    train: Samples,
    test: Samples,
    seeds: Sequence[int],
) -> Several:
    """By attackers trained, with each seed, on the features of ``train`` and scored on those of ``test``."""
    labels, truth = classes(case, label, train), classes(case, label, test)
    of_train, of_test = features
    kinds = [
        [_areas(truth, attacker(seed).fit(of_train, labels).score(of_test)) for seed in seeds] for attacker in ATTACKERS
    ]
    leakage, interval = _strongest(kinds, test.people)
    return Several(label, kind, form, count, len(test), leakage, interval, None)


def _areas(labels: NDArray, scores: NDArray) -> list[tuple[float, NDArray[np.float64]]]:
    """Of each class against the rest the AUROC and its influence."""
    return [auroc_influence(*side) for side in sides(labels, scores)]


def _strongest(
    kinds: Sequence[Sequence[Sequence[tuple[float, NDArray[np.float64]]]]], people: NDArray
) -> tuple[float, tuple[float, float]]:
    """The largest leakage of several attackers, and its interval.

    Each attacker gives for each seed, and in it for each class, an AUROC and its influence.
    """
    areas, influences = [], []
    for seeds in kinds:
        for same in zip(*seeds, strict=True):
            areas.append(np.mean([area for area, _ in same]))
            influences.append(np.mean([influence for _, influence in same], axis=0))
    off, widths = np.abs(np.array(areas) - 0.5), halfwidths(np.stack(influences), people)
    low, high = max(0.5, float((0.5 + off - widths).max())), min(1.0, float((0.5 + off + widths).max()))
    return float(0.5 + off.max()), (low, high)


def _is_keyed(case: Case, samples: Samples) -> bool:
    """Whether a privatizer's releases of the same samples with the same key are the same."""
    privatizer = case.privatizer
    if privatizer is None or samples.latents is None:
        return False
    private = (
        np.stack([samples.labels[name] for name in privatizer.private], axis=1) if privatizer.label_aware else None
    )
    seeds = noise.sample_seeds(bytes(noise.KEY_BYTES), samples.latents.mean, "sample")
    first, again = (privatizer.perturb(samples.latents, private, seeds) for _ in range(2))
    return bool((first == again).all())


def _groups(people: NDArray, labels: NDArray, count: int, seed: int) -> NDArray[np.int64]:
    """Disjoint albums of ``count`` samples of one person who all have the same label: int64 [G, count]."""
    rng = np.random.default_rng([seed, 13])
    found = []
    for person in np.unique(people):
        rows = np.flatnonzero(people == person)
        # Labels of faces are now and then wrong: the album is of those that most of the person's are.
        rows = rng.permutation(rows[labels[rows] == np.bincount(labels[rows]).argmax()])
        found += [rows[start : start + count] for start in range(0, len(rows) - count + 1, count)]
    return np.array(found, np.int64).reshape(-1, count)


def _ceiling(case: Case, truth: NDArray, groups: NDArray[np.int64]) -> float:
    """What the number of samples of each album with a true utility label tells, of the label that tells most."""
    told = [0.5]
    for name in case.utility:
        values = case.test.labels[name][groups]
        for one in np.unique(values):
            shares = (values == one).mean(axis=1)
            told += [float(metrics.leakage((truth == side).astype(np.int64), shares)) for side in np.unique(truth)]
    return max(told)


def _some(samples: Samples, seed: int) -> Samples:
    rows = np.random.default_rng([seed, 14]).permutation(len(samples))[:SAMPLES]
    return samples[np.sort(rows)]
