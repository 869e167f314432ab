"""The gap of each attribute: how much more leaks on held-out real samples than on public latents.

On public latents the scores are sufficient by construction (their labels are drawn from them) and the flow is
exact (they are drawn from it), so attackers find less there than on real people.  A device sees public latents
alone; what it measures there is only believed after this gap, measured centrally, is added.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from export.datasets.labelled import TRAIN, VALID, LabelledImages, LabelledSamples
from export.latents import Posteriors, encode
from export.pack import check_replaceable, rewrite_gaps
from privsdk.auditing import metrics
from privsdk.auditing.protocols import Released, attack
from privsdk.bundle import Bundle
from privsdk.errors import NotReachedError, TrainingDataError
from privsdk.fitting import fit
from privsdk.names import match
from privsdk.privatizer import Privatizer

LEAST_PEOPLE = 10
MOST_TRAINING = 20_000  # releases of training people that attackers learn from

Labelled = LabelledImages | LabelledSamples


def add_gaps(data: Labelled, folder: Path, names: Sequence[str] = ()) -> None:
    """Measure the gaps of the attributes called ``names`` (all without it) and write them into the bundle there.

    An attribute whose gap is not measured gets the largest of those that are: in doubt a device believes less.  Without
    ``names`` those that cannot be measured are left out; one that is named raises TrainingDataError.
    """
    check_replaceable(folder)
    bundle = Bundle.open(folder.resolve(), threads=2)
    chosen = [match(name, data.attributes) for name in names] or list(data.attributes)
    reasons = {name: why_not_measurable(bundle, name, data) for name in chosen}
    left_out = {name: why for name, why in reasons.items() if why is not None}
    for name, why in left_out.items():
        if names:
            raise TrainingDataError(f"the gap of {name} cannot be measured: {why}; leave it out of --of")
        print(f"gap of {name} not measured: {why}", file=sys.stderr, flush=True)
    seen, unseen = (encode(bundle.codec, data.part(partition).samples) for partition in (TRAIN, VALID))
    gaps: dict[str, float] = {}
    for name in chosen:
        if name in left_out:
            continue
        try:
            gaps[name] = measure_gap(bundle, name, data, seen, unseen)
        except NotReachedError as error:  # of a bundle that was trained too little: no filter hides the attribute
            print(f"gap of {name} not measured: {error}", file=sys.stderr, flush=True)
            continue
        print(f"gap of {name}: {gaps[name]:.3f}", file=sys.stderr, flush=True)
    if gaps:
        rewrite_gaps(folder, bundle.manifest, gaps)


def partner(bundle: Bundle, attribute: str) -> str:
    """The utility label that an attribute's gap is measured with: the other attribute nearest to one in two."""
    others = [name for name in bundle.attributes if name != attribute]
    return min(others, key=lambda name: abs(bundle.base_rates[name] - 0.5))


def why_not_measurable(bundle: Bundle, attribute: str, data: Labelled) -> str | None:
    """Why the gap of an attribute cannot be measured: somebody must have it, and not have it; None where it can.

    Of public latents and of training samples a few are enough; among those of the valid partition at least 10 people.
    """
    column = data.attributes.index(attribute)
    for value in (0, 1):
        there = data.identity[(data.partition == VALID) & (data.labels[:, column] == value)]
        people = len(np.unique(there))
        if people < LEAST_PEOPLE:
            return f"the valid partition shows {people} people whose {attribute} is {value}, not {LEAST_PEOPLE}"
        if not (data.labels[data.partition == TRAIN, column] == value).any():
            return f"the train partition shows nobody whose {attribute} is {value}"
        if not (bundle.public.labels[:, column] == value).any():
            return f"there is no public latent whose {attribute} is {value}"
    return None


def measure_gap(bundle: Bundle, attribute: str, data: Labelled, seen: Posteriors, unseen: Posteriors) -> float:
    """The most that an attribute may leak on the valid partition, less what a device's own check finds, at least 0.

    The filter is fitted as on a device.  Its check trains a few attackers on 3,000 public latents; here all families
    of `privsdk.auditing` are trained, on releases of the training partition (posteriors ``seen``) and, cross-fitted,
    among the people of the valid partition (posteriors ``unseen``): whatever the strongest tells more belongs to the
    gap, and so does its uncertainty, up to the upper end of its 95% interval over people.
    """
    privatizer = fit(bundle, private=attribute, utility=partner(bundle, attribute))
    column = data.attributes.index(attribute)

    def released_part(posteriors: Posteriors, partition: int, seed: int) -> Released:
        rows = np.flatnonzero(data.partition == partition)
        part = np.sort(np.random.default_rng(0).permutation(len(rows))[:MOST_TRAINING])
        chosen = Posteriors(posteriors.mean[part], posteriors.variance[part])
        owners = data.labels[rows[part], column], data.identity[rows[part]]
        return Released(released(privatizer, chosen, seed), *owners)

    train, valid = released_part(seen, TRAIN, seed=1), released_part(unseen, VALID, seed=2)
    # The second argument sets thresholds alone, and leakage has none.
    strongest, *_ = attack(train, valid, valid, seed=1, threads=os.cpu_count() or 1)
    _, most = strongest.estimate(metrics.resampled(valid.identity)).interval
    return max(0.0, most - privatizer.record["check"]["private"][attribute]["leakage"])


def released(privatizer: Privatizer, posteriors: Posteriors, seed: int) -> np.ndarray:
    """Releases of posteriors with independent draws: float32 [N, Z]."""
    seeds = np.random.default_rng(seed).integers(0, 2**63, len(posteriors.mean), dtype=np.uint64)
    return privatizer.filter.perturb(posteriors.mean, posteriors.variance, seeds)
