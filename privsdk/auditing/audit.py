"""The audit: attackers trained afresh on releases, and what they still tell."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from privsdk.auditing.report import (
    Attribute,
    Fidelity,
    Frontier,
    Kept,
    Linked,
    Map,
    Pictures,
    Report,
    Several,
    Told,
    WrongLabel,
)
from privsdk.errors import MissingExtraError, UsageError
from privsdk.progress import Progress
from privsdk.store.torch_home import keep_torch_at_home
from privsdk.store.unfinished import Unfinished

if TYPE_CHECKING:
    from privsdk.auditing.cases import Case, Samples
    from privsdk.bundle import Bundle
    from privsdk.codec import Latents
    from privsdk.privatizer import Privatizer

SEEDS = 2  # of draws and attackers
FIRST_SEED = 100_000  # far from those of any fit: no attacker here is one that a filter was chosen by
LEAST_OF_A_CLASS = 20  # releases that attackers are scored on
LEAST_TO_LEARN = 10  # and that they learn from or are tuned on
QUICK_TRAINING = 2500
READABLE = 3.5  # standard errors from chance, where a label can be read
SHOWN = 8
MAPPED = 1500
CROWD = 1000  # originals among which somebody is sought
LIKE, QUICK_LIKE = 300, 32  # samples whose look is measured

# How long the parts take, in a fit of a quick attacker on latents: for the time left.
OF_AN_AVERAGE, OF_BURSTS, OF_ATTRIBUTES, OF_LINKS, OF_A_MAP = 25, 25, 20, 20, 20


def audit(
    privatizer: Privatizer | None = None,
    *,
    data: NDArray[np.uint8] | Latents | None = None,
    labels: Mapping[str, Any] | None = None,
    people: Sequence[Any] | NDArray[Any] | None = None,
    released: NDArray[Any] | None = None,
    originals: NDArray[Any] | None = None,
    private: str | Sequence[str] | None = None,
    utility: str | Sequence[str] | None = None,
    bundle: Bundle | None = None,
    quick: bool = False,
    seed: int = 0,
    threads: int = 1,
    folder: Path | None = None,
    on_progress: Progress | None = None,
) -> Report:
    """What attackers trained afresh still tell from releases.

    Of a ``privatizer``: on public latents, or on samples of one's own, ``data`` (uint8 [N, *sample_shape], or latents)
    with ``labels``.  Or of what any tool ``released``: images, uint8 [N, H, W, 3] or [N, H, W], or rows of numbers
    [N, K], with ``labels``, the names of the ``private`` and the ``utility`` label, and, to say what was lost,
    ``originals`` in the same form and order; images of the size of a ``bundle``'s are also encoded again with it.
    ``labels`` has N classes (0, 1, ...; NaN: not known) for each label, and may have others; ``people`` says whose each
    sample is.

    Attackers learn from releases of a training partition, where there is one, and in five folds by person among the
    releases they are scored on; what they are scored on no choice has seen.  With ``quick`` a few families do, with one
    seed instead of two.  ``threads`` attackers are trained at a time.  What is finished is kept in ``folder``, the
    user's data folder without it, until all is: whoever was interrupted calls it again.

    :raises UsageError: samples and labels do not fit, a label has one class only, or too few samples are of one.
    :raises PrivatizerError: the privatizer's record does not say with which seed it was fitted.
    :raises MissingExtraError: a library of the ``audit`` extra is not there.
    """
    for module in ("sklearn", "skimage", "torch"):
        if find_spec(module) is None:
            raise MissingExtraError(f"an audit needs {module}: pip install 'privsdk[audit]'")
    from privsdk.auditing import cases

    if (privatizer is None) == (released is None):
        raise UsageError("audit a privatizer, or what another tool released: give one of the two")
    if (data is not None or released is not None) and labels is None:
        raise UsageError("samples are audited with their labels: give labels=")
    if privatizer is not None and data is None:
        case = cases.of_public_latents(privatizer)
    elif privatizer is not None and data is not None:
        case = cases.of_samples(privatizer, data, labels or {}, people)
    else:
        found = np.asarray(released)
        case = cases.of_released(found, labels or {}, private or (), utility or (), originals, people, bundle)
    from threadpoolctl import threadpool_limits

    keep_torch_at_home()
    with threadpool_limits(1):  # the matrices are small: a second thread makes each take longer
        return examined(case, quick=quick, seed=seed, threads=threads, folder=folder, on_progress=on_progress)


def examined(
    case: Case,
    *,
    quick: bool = False,
    seed: int = 0,
    threads: int = 1,
    folder: Path | None = None,
    on_progress: Progress | None = None,
) -> Report:
    """The audit of a case; the arguments are those of :func:`audit`."""
    from privsdk.auditing import attackers as families
    from privsdk.auditing import several
    from privsdk.auditing.attacking import attacks, sought, work
    from privsdk.auditing.attributes import attributes
    from privsdk.auditing.protocols import FIVE_FOLDS, TRAINING_PARTITION
    from privsdk.auditing.told import told

    began = time.perf_counter()
    _require_enough(case)
    seeds = tuple(FIRST_SEED + SEEDS * seed + one for one in range(1 if quick else SEEDS))
    if case.privatizer is not None and case.privatizer.record.get("settings", {}).get("seed") in seeds:
        raise UsageError(f"the filter was fitted with a seed that this audit uses, {seeds}: choose another seed")
    if quick:
        threads = 1  # to start processes takes longer than they save
    if quick and case.train is not None:
        case = replace(case, train=case.train[:QUICK_TRAINING], validation=case.validation[: QUICK_TRAINING // 4])
    train = case.train
    forms = case.releasing.forms[: 1 if quick else None]
    by_form = {form: (families.QUICK if quick else families.BY_FORM)[form] for form in forms}
    protocols = (TRAINING_PARTITION, FIVE_FOLDS) if train is not None else (FIVE_FOLDS,)
    if quick:
        protocols = protocols[:1]
    kept = Unfinished(f"{case.digest} {'quick' if quick else 'full'}", folder)
    counts = len(several.COUNTS) + (len(several.IMAGE_COUNTS) if len(forms) > 2 else 0)
    averaged = case.privatizer is not None and not quick
    total = work(case, by_form, protocols, seeds) + OF_ATTRIBUTES
    total += 0 if quick else OF_LINKS + OF_A_MAP + (counts * OF_AN_AVERAGE + OF_BURSTS if averaged else 0)
    steps = _Steps(on_progress, total)

    found = attacks(case, by_form, protocols, seeds, threads, kept, steps.advance)
    vectors = [form for form in forms if form != "pixels"] or list(forms)
    after = {
        place: case.releasing.release(samples, seeds[0], vectors[:1])[vectors[0]]
        for place, samples in (("train", train), ("test", case.test))
        if samples is not None
    }
    before = {
        place: case.releasing.unfiltered(samples, seeds[0])
        for place, samples in (("train", train), ("test", case.test))
        if samples is not None
    }
    flat = {place: _flat(values) for place, values in after.items()}
    there = {place: _flat(values) for place, values in before.items() if values is not None}
    original = list(there.values()) if len(there) == len(flat) else None
    inferable = attributes(train, case.test, original, list(flat.values()), seeds[0], threads)
    steps.advance(OF_ATTRIBUTES)

    together: list[Several] = []
    if averaged:
        together += several.averages(case, seeds, threads, lambda: steps.advance(OF_AN_AVERAGE))
        together += several.bursts(case, seeds)
        steps.advance(OF_BURSTS)
    if not quick:
        together += several.albums(case, found, flat["test"], seeds)
    results = {label: told(case, label, kinds, {vectors[0]: after["test"]}) for label, kinds in found.items()}
    utility = {name: _kept(case, name, flat, there, train, seeds) for name in case.utility}
    fidelity = _fidelity(case, seeds[0], QUICK_LIKE if quick else LIKE)
    map_: Map | None = None
    linked: tuple[Linked, ...] = ()
    limits = case.limits
    if not quick:
        linked, not_measured = _linked(case, seeds[0], threads)
        limits += not_measured
        steps.advance(OF_LINKS)
        map_ = _map(case, there.get("test"), flat["test"], seeds[0])
        steps.advance(OF_A_MAP)
    if quick:
        limits += ("A quick audit tries few attackers and none on several releases: only a full one can reassure.",)
    kept.clear()
    return Report(
        subject=case.subject,
        bundle=None if case.bundle is None else case.bundle.name,
        digest=None if case.bundle is None else case.bundle.digest,
        method=None if case.privatizer is None else case.privatizer.method,
        measured_on=case.measured_on,
        samples=len(case.test),
        people=len(np.unique(case.test.people)),
        seeds=seeds,
        quick=quick,
        seconds=time.perf_counter() - began,
        doubt=_doubt(case, inferable),
        private={label: results[label] for label in sought(case)},
        utility=utility,
        attributes=inferable,
        several=tuple(together),
        wrong_labels=() if quick else _wrong_labels(case, seeds),
        linked=linked,
        fidelity=fidelity,
        frontier=_frontier(case, results, utility),
        notes=case.notes,
        limits=limits,
        pictures=_pictures(case, seeds[0]),
        map=map_,
    )


class _Steps:
    """Work done of all there is, told to an ``on_progress``."""

    def __init__(self, on_progress: Progress | None, total: int) -> None:
        self._report: Progress = on_progress or (lambda stage, done, total: None)
        self._done, self._total = 0, total

    def advance(self, work: int) -> None:
        self._done += work
        self._report("audit", self._done, self._total)


def _require_enough(case: Case) -> None:
    """Raises UsageError where attackers could not be trained, or nothing could be said of what they find."""
    from privsdk.auditing.attacking import classes, sought

    parts = [(case.test, LEAST_OF_A_CLASS), (case.validation, LEAST_TO_LEARN)]
    parts += [] if case.train is None else [(case.train, LEAST_TO_LEARN)]
    for label, names in (*sought(case).items(), *case.utility.items()):
        for samples, least in parts:
            values = samples.labels[label] if label in case.utility else classes(case, label, samples)
            counts = np.bincount(values, minlength=len(names))
            if counts.min() < least:
                raise UsageError(
                    f"{counts.min()} of {len(samples)} samples are {names[int(counts.argmin())]!r}, and {least} are "
                    f"needed to say anything of {label}: give more of them"
                )


def _doubt(case: Case, inferable: Sequence[Attribute]) -> str | None:
    """Why the labels may be those of other samples: then nothing of them can be read even where it was kept."""
    found = {one.name: max(one.before or 0.0, one.after) for one in inferable}
    labels = {name: found[name] for name in (*case.utility, *case.private) if name in found}
    if not labels:
        return None
    name, most = max(labels.items(), key=lambda one: one[1])
    ones, zeros = (float((case.test.labels[name] == one).sum()) for one in (1, 0))
    # The standard error of an AUROC where nothing is told (Mann and Whitney 1947), and room for having tried a few.
    limit = 0.5 + READABLE * float(np.sqrt((ones + zeros + 1) / (12 * ones * zeros)))
    if most > limit:
        return None
    return (
        f"no label can be read from these samples, not even one that was to be kept ({name}: AUROC {most:.3f}): the "
        "labels may be those of other samples, or nothing is left to read"
    )


def _kept(
    case: Case,
    name: str,
    after: Mapping[str, NDArray[Any]],
    before: Mapping[str, NDArray[Any]],
    train: Samples | None,
    seeds: Sequence[int],
) -> Kept:
    """A utility label's accuracy by a classifier trained afresh, with and without the filter.

    Of two the one that does better on a fifth of the training part, which it has not learned from, reads the test part.
    """
    from privsdk.auditing.attackers import LogisticRegression, StandardisedPerceptron
    from privsdk.auditing.intervals import halfwidths
    from privsdk.auditing.protocols import Released, cross_fitted

    truth, people = case.test.labels[name], case.test.people

    def right(vectors: Mapping[str, NDArray[Any]], seed: int) -> NDArray[np.bool_]:
        readers = (LogisticRegression, StandardisedPerceptron)
        if train is None:
            found = [cross_fitted(one, Released(vectors["test"], truth, people), seed) for one in readers]
            return max(found, key=lambda one: one.accuracy).guesses == truth
        # The first fifth of the training part chooses the reader, the rest teaches it.
        cut = len(train) // 5
        labels = train.labels[name]
        trained = [one(seed).fit(vectors["train"][cut:], labels[cut:]) for one in readers]
        best = max(trained, key=lambda one: _says(one.score(vectors["train"][:cut]), labels[:cut]).mean())
        return _says(best.score(vectors["test"]), truth)

    readings = [right(after, seed) for seed in seeds]
    accuracy = float(np.mean(readings))
    base_rate = float(np.bincount(truth).max() / len(truth))
    if len(before) < len(after):
        return Kept(accuracy, base_rate, None, None, None)
    unfiltered = [right(before, seed) for seed in seeds]
    lost = np.mean(unfiltered, axis=0) - np.mean(readings, axis=0)
    width = float(halfwidths((lost - lost.mean())[None] / len(lost), people)[0])
    middle = float(lost.mean())
    return Kept(accuracy, base_rate, float(np.mean(unfiltered)), middle, (middle - width, middle + width))


def _says(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    return (scores.argmax(axis=1) if scores.ndim > 1 else scores > 0) == labels


def _wrong_labels(case: Case, seeds: Sequence[int]) -> tuple[WrongLabel, ...]:
    """Of a label-aware filter: attackers on releases that were made with a wrong private label.

    They learn from rightly labelled releases, or from wrongly labelled ones; the stronger counts.
    """
    from privsdk.auditing.attackers import HistGradientBoosting, LogisticRegression, StandardisedPerceptron
    from privsdk.auditing.cases import ByPrivatizer
    from privsdk.auditing.metrics import leakage

    releasing = case.releasing
    if not isinstance(releasing, ByPrivatizer) or not releasing.privatizer.label_aware or case.train is None:
        return ()
    found = []
    for place, (name, classes) in enumerate(case.private.items()):

        def released(samples: Samples, seed: int, off: int, place: int = place, count: int = len(classes)) -> Any:
            told = np.stack([samples.labels[each] for each in case.private], axis=1)
            told[:, place] = (told[:, place] + off) % count
            return releasing.perturbed(samples, seed, told)

        told, accuracy = [], []
        for seed in seeds:
            wrong, truth = released(case.test, seed, 1), case.test.labels[name]
            for off in (0, 1):
                x, y = released(case.train, seed, off), case.train.labels[name]
                for attacker in (LogisticRegression, StandardisedPerceptron, HistGradientBoosting):
                    scores = attacker(seed).fit(x, y).score(wrong)
                    if scores.ndim == 1:
                        told.append(float(leakage(truth, scores)))
                    right = float(_says(scores, truth).mean())
                    accuracy.append(max(right, 1 - right) if scores.ndim == 1 else right)
        found.append(WrongLabel(name, max(told, default=max(accuracy)), max(accuracy)))
    return tuple(found)


def _images(case: Case, samples: Samples, seed: int) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8]] | None:
    """Originals (None where they are not there) and releases as pictures; None where they are none."""
    from privsdk.auditing.forms import PIXELS

    if PIXELS not in case.releasing.forms:
        return None
    after = case.releasing.release(samples, seed, [PIXELS])[PIXELS]
    before = samples.pixels
    if before is None and case.bundle is not None and samples.latents is not None:
        before = case.bundle.decode(samples.latents.mean)
    return before, after


def _pictures(case: Case, seed: int) -> Pictures | None:
    """A few of each class of the first private label."""
    labels = case.test.labels[next(iter(case.private))]
    rows = [np.flatnonzero(labels == one)[: SHOWN // 2] for one in np.unique(labels)[:2]]
    images = _images(case, case.test[np.concatenate(rows)], seed)
    if images is None:
        return None
    before, after = (None if one is None else _coloured(one) for one in images)
    return None if after is None else Pictures(before, after)


def _coloured(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    three = images[..., None] if images.ndim == 3 else images
    return np.repeat(three, 3, axis=3) if three.shape[-1] == 1 else three


def _fidelity(case: Case, seed: int, count: int) -> Fidelity | None:
    from privsdk.auditing.fidelity import SMALLEST, fidelity

    before, after = _images(case, case.test[:count], seed) or (None, None)
    if before is None or after is None or min(after.shape[1:3]) < SMALLEST:
        return None
    return fidelity(before, after, faces=_is_of_faces(case))


def _is_of_faces(case: Case) -> bool:
    return case.bundle is not None and case.bundle.kind == "faces"


def _linked(case: Case, seed: int, processes: int) -> tuple[tuple[Linked, ...], tuple[str, ...]]:
    """How well somebody is recognised, and what of that was not measured."""
    from privsdk.auditing import linkage
    from privsdk.auditing.forms import LATENTS

    test = case.test[:CROWD]
    images = _images(case, test, seed)
    found: tuple[Linked, ...] = ()
    if case.bundle is not None and test.latents is not None:
        if images is None:
            released = case.releasing.release(test, seed, [LATENTS])[LATENTS]
        else:
            released = case.bundle.encode(images[1]).mean
        found += linkage.by_latent(released, test.latents.mean, test.people)
    if images is None or images[0] is None or not _is_of_faces(case):
        return found, ()
    try:
        # On public latents the originals are decoded ones already.
        reconstructing = case.bundle if test.pixels is not None else None
        return found + linkage.by_face(images[1], images[0], test.people, reconstructing, processes), ()
    except MissingExtraError as error:
        return found, (f"How well a face recognition network knows people again was not measured: {error}.",)


def _map(case: Case, before: NDArray[Any] | None, after: NDArray[Any], seed: int) -> Map | None:
    """UMAP of latents before and after, fitted to both; None where it is not installed."""
    if find_spec("umap") is None:
        return None
    from privsdk.auditing.mapping import mapped

    label, names = next(iter(case.private.items()))
    rows = slice(0, MAPPED)
    places = mapped(([] if before is None else [before[rows]]) + [after[rows]], seed)
    return Map(label, names, case.test.labels[label][rows], None if before is None else places[0], places[-1])


def _frontier(case: Case, results: Mapping[str, Told], utility: Mapping[str, Kept]) -> Frontier | None:
    """For the first private and the first utility label, where that has two classes."""
    from privsdk.auditing.ceilings import frontier

    private, kept = next(iter(case.private)), next(iter(case.utility))
    if len(case.utility[kept]) > 2:
        return None
    told = results[private].leakage
    return frontier(private, kept, case.test.labels[private], case.test.labels[kept], told, utility[kept].accuracy)


def _flat(values: NDArray[Any]) -> NDArray[Any]:
    """Vectors; of pictures a sketch of 16 x 16 is enough for a plane."""
    if values.ndim == 2:
        return values
    step = max(1, values.shape[1] // 16)
    return values[:, ::step, ::step].reshape(len(values), -1).astype(np.float32)
