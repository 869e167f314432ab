"""Every attacker on every form of the releases, under both protocols, with several seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from privsdk.auditing.attackers import Attacker
from privsdk.auditing.cases import Case, Samples
from privsdk.auditing.forms import ENCODED, LIKELIHOODS, PIXELS
from privsdk.auditing.parallel import each
from privsdk.auditing.protocols import (
    FIVE_FOLDS,
    TRAINING_PARTITION,
    Attack,
    Released,
    cross_fitted,
    from_training_partition,
    tuned,
)
from privsdk.filters import posterior
from privsdk.fitting.check import LEAST_COMBINATION

Classes = NDArray[np.int64]
Attackers = Mapping[str, Sequence[type[Attacker]]]

# Images that attackers learn from and are tuned on, where there are more; latents are as many as there are.
TRAINING_PIXELS, VALIDATION_PIXELS = 2000, 500
# How long an attack takes, in a fit of a quick attacker on latents: for the time left.
OF_PIXELS, OF_FOLDS = 6, 3


class Kept(Protocol):
    """Where what is finished is kept, so that a killed audit goes on where it was."""

    def get(self, name: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]] | None: ...
    def put(self, name: str, arrays: Mapping[str, NDArray[Any]], notes: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class Which:
    """An attacker, on a form of the releases, under a protocol."""

    form: str
    attacker: str
    protocol: str


Parts = dict[str, list[tuple[Samples, NDArray[Any]] | None]]
"""For each form samples with their releases: those to learn from, to be tuned on, and to be scored on."""

Found = dict[Which, list[Attack]]
"""The attacks of each kind, one for each seed."""


def sought(case: Case) -> dict[str, tuple[str, ...]]:
    """What attackers seek, with the names of its classes: each private label, and the combination of several.

    Combinations that few have count as the commonest one.
    """
    if len(case.private) == 1:
        return dict(case.private)
    name = " and ".join(case.private)
    counts = [len(classes) for classes in case.private.values()]
    kept = np.unique(_numbers(case))
    named = tuple(
        ", ".join(list(case.private.values())[place][one] for place, one in enumerate(np.unravel_index(number, counts)))
        for number in kept
    )
    return {**case.private, name: named}


def classes(case: Case, label: str, samples: Samples) -> Classes:
    """The class of each sample of what is sought under this name: int64 [N]."""
    if label in case.private:
        return samples.labels[label]
    numbers = _numbers(case)
    return np.unique(numbers, return_inverse=True)[1].reshape(-1)[_combined(case, samples)]


def attacks(
    case: Case,
    attackers: Attackers,
    protocols: Sequence[str],
    seeds: Sequence[int],
    processes: int,
    kept: Kept,
    advance: Callable[[int], None],
) -> dict[str, Found]:
    """What every attacker found of every label that is sought.

    ``attackers`` are those of each form.  What ``kept`` has is not done again; ``advance`` is told of the work done,
    in units of :func:`work`.
    """
    labels = list(sought(case))
    found: dict[str, Found] = {label: {} for label in labels}
    for seed in seeds:
        wanted = [
            (label, which, one) for label in labels for which, one in _kinds(attackers, protocols, seed == seeds[0])
        ]
        done = {entry: _kept(kept, entry[0], entry[1], seed) for entry in wanted}
        missing = [entry for entry, attack in done.items() if attack is None]
        missing.sort(key=lambda entry: cost(entry[1]), reverse=True)  # no process waits for a long one at the end
        advance(sum(cost(which) for _, which, _ in done) - sum(cost(which) for _, which, _ in missing))
        parts = released(case, sorted({which.form for _, which, _ in missing}), seed)
        # Tuned once for both protocols.
        kinds = list(dict.fromkeys((label, which.form, one) for label, which, one in missing))
        trials = [(*_partitions(case, parts, form, label)[:2], one, seed) for label, form, one in kinds]
        settings = {kinds[number]: setting for number, setting in each(_tuned, trials, processes)}
        tasks = [
            (one, which, _partitions(case, parts, which.form, label), seed, settings[label, which.form, one])
            for label, which, one in missing
        ]
        for number, attack in each(_attack, tasks, processes):
            label, which, _ = missing[number]
            done[missing[number]] = attack
            _keep(kept, label, which, seed, attack)
            advance(cost(which))
        for (label, which, _), attack in done.items():
            if attack is not None:
                found[label].setdefault(which, []).append(attack)
    return found


def cost(which: Which) -> int:
    """About how long an attack takes, in units of a quick one."""
    return (OF_PIXELS if which.form == PIXELS else 1) * (OF_FOLDS if which.protocol == FIVE_FOLDS else 1)


def work(case: Case, attackers: Attackers, protocols: Sequence[str], seeds: Sequence[int]) -> int:
    """What :func:`attacks` will tell ``advance`` in all."""
    of_a_label = [cost(which) for seed in seeds for which, _ in _kinds(attackers, protocols, seed == seeds[0])]
    return len(sought(case)) * sum(of_a_label)


def _kinds(attackers: Attackers, protocols: Sequence[str], first: bool) -> list[tuple[Which, type[Attacker]]]:
    """The attacks of one seed, of the first one or another.

    Five folds of images take longer than all else: beside a training partition one seed must do.
    """
    return [
        (Which(form, one.name, protocol), one)
        for form, of_form in attackers.items()
        for one in of_form
        for protocol in protocols
        if first or (form, protocol) != (PIXELS, FIVE_FOLDS) or len(protocols) == 1
    ]


def released(case: Case, forms: Sequence[str], seed: int) -> Parts:
    """For each form the train (None where there is none), validation and test samples with their releases."""
    vectors = [form for form in forms if form not in (PIXELS, ENCODED)]
    images = [form for form in forms if form in (PIXELS, ENCODED)]
    found: Parts = {form: [] for form in forms}
    for place, samples in enumerate((case.train, case.validation, case.test)):
        for group, limit in ((vectors, None), (images, (TRAINING_PIXELS, VALIDATION_PIXELS, None)[place])):
            if samples is None or not group:
                for form in group:
                    found[form].append(None)
                continue
            part = samples[:limit]
            wanted = [form for form in group if place or form != LIKELIHOODS]
            for form, values in case.releasing.release(part, seed, wanted).items():
                found[form].append((part, values))
    if LIKELIHOODS in found:
        # The training samples are those whose releases are compared with, so others must teach what that means.
        validation, test = found[LIKELIHOODS]
        if validation is not None:
            part, values = validation
            half = len(part) // 2
            found[LIKELIHOODS] = [(part[:half], values[:half]), (part[half:], values[half:]), test]
    return found


def _partitions(case: Case, parts: Parts, form: str, label: str) -> tuple[Released | None, Released, Released]:
    def of(part: tuple[Samples, NDArray[Any]]) -> Released:
        return Released(part[1], classes(case, label, part[0]), part[0].people)

    train, valid, test = parts[form]
    if valid is None or test is None:
        raise LookupError(f"{form} has no releases")
    return (None if train is None else of(train)), of(valid), of(test)


def _tuned(train: Released | None, valid: Released, attacker: type[Attacker], seed: int) -> int:
    """Without a training part half of the people of ``valid`` are learned from."""
    if train is None:
        half = np.random.default_rng([seed, 9]).permutation(int(valid.identity.max()) + 1) % 2 == 0
        train, valid = valid[half[valid.identity]], valid[~half[valid.identity]]
    if min(len(np.unique(part.labels)) for part in (train, valid)) < 2:
        return 0
    return tuned(attacker, train, valid, seed)


def _attack(
    attacker: type[Attacker],
    which: Which,
    parts: tuple[Released | None, Released, Released],
    seed: int,
    setting: int,
) -> Attack:
    train, valid, test = parts
    if which.protocol == TRAINING_PARTITION and train is not None:
        return from_training_partition(attacker, train, valid, test, seed, 1, setting)
    return cross_fitted(attacker, test, seed, 1, setting)


def _combined(case: Case, samples: Samples) -> Classes:
    counts = [len(names) for names in case.private.values()]
    return posterior.classes(np.stack([samples.labels[name] for name in case.private], axis=1), counts)


def _numbers(case: Case) -> Classes:
    """For each combination of the private labels the one that it counts as."""
    combined = _combined(case, case.train if case.train is not None else case.test)
    counts = [len(names) for names in case.private.values()]
    shares = np.bincount(combined, minlength=int(np.prod(counts))) / len(combined)
    return np.where(shares < LEAST_COMBINATION, shares.argmax(), np.arange(len(shares)))


def _kept(kept: Kept, label: str, which: Which, seed: int) -> Attack | None:
    found = kept.get(f"{label} {which.form} {which.attacker} {which.protocol} {seed}")
    if found is None:
        return None
    arrays, notes = found
    return Attack(
        labels=arrays["labels"],
        scores=arrays["scores"],
        strata=arrays["strata"],
        thresholds=arrays["thresholds"],
        attacker=str(notes["attacker"]),
        protocol=str(notes["protocol"]),
        samples=int(notes["samples"]),
        seconds=float(notes["seconds"]),
    )


def _keep(kept: Kept, label: str, which: Which, seed: int, one: Attack) -> None:
    arrays = {"labels": one.labels, "scores": one.scores, "strata": one.strata, "thresholds": one.thresholds}
    notes = {"attacker": one.attacker, "protocol": one.protocol, "samples": one.samples, "seconds": one.seconds}
    kept.put(f"{label} {which.form} {which.attacker} {which.protocol} {seed}", arrays, notes)
