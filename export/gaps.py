"""The gap of each attribute: how much more leaks on held-out real samples than on public latents.

On public latents the scores are sufficient by construction (their labels are drawn from them) and the flow is
exact (they are drawn from it), so attackers find less there than on real people.  A device sees public latents
alone; what it measures there is only believed after this gap, measured centrally, is added.
"""

from __future__ import annotations

import os

import numpy as np

from export.datasets.labelled import TRAIN, VALID, LabelledImages
from export.latents import Posteriors
from privsdk.auditing import metrics
from privsdk.auditing.protocols import Released, attack
from privsdk.bundle import Bundle
from privsdk.fitting import fit
from privsdk.privatizer import Privatizer

LEAST_PEOPLE = 10


def partner(bundle: Bundle, attribute: str) -> str:
    """The utility label that an attribute's gap is measured with: the other attribute nearest to one in two."""
    others = [name for name in bundle.attributes if name != attribute]
    return min(others, key=lambda name: abs(bundle.base_rates[name] - 0.5))


def why_not_measurable(bundle: Bundle, attribute: str, images: LabelledImages) -> str | None:
    """Why the gap of an attribute cannot be measured: somebody must have it, and not have it; None where it can.

    Of public latents and of training images a few are enough; among those of the valid partition at least 10 people.
    """
    column = images.attributes.index(attribute)
    for value in (0, 1):
        there = images.identity[(images.partition == VALID) & (images.labels[:, column] == value)]
        people = len(np.unique(there))
        if people < LEAST_PEOPLE:
            return f"the valid partition shows {people} people whose {attribute} is {value}, not {LEAST_PEOPLE}"
        if not (images.labels[images.partition == TRAIN, column] == value).any():
            return f"the train partition shows nobody whose {attribute} is {value}"
        if not (bundle.public.labels[:, column] == value).any():
            return f"there is no public latent whose {attribute} is {value}"
    return None


def measure_gap(bundle: Bundle, attribute: str, images: LabelledImages, seen: Posteriors, unseen: Posteriors) -> float:
    """The most that an attribute may leak on the valid partition, less what a device's own check finds, at least 0.

    The filter is fitted as on a device.  Its check trains a few attackers on 3,000 public latents; here all families
    of `privsdk.auditing` are trained, on releases of the training partition (posteriors ``seen``) and, cross-fitted,
    among the people of the valid partition (posteriors ``unseen``): whatever the strongest tells more belongs to the
    gap, and so does its uncertainty, up to the upper end of its 95% interval over people.
    """
    privatizer = fit(bundle, private=attribute, utility=partner(bundle, attribute))
    column = images.attributes.index(attribute)

    def released_part(posteriors: Posteriors, partition: int, seed: int) -> Released:
        rows = images.partition == partition
        return Released(released(privatizer, posteriors, seed), images.labels[rows, column], images.identity[rows])

    train, valid = released_part(seen, TRAIN, seed=1), released_part(unseen, VALID, seed=2)
    # The second argument sets thresholds alone, and leakage has none.
    strongest, *_ = attack(train, valid, valid, seed=1, threads=os.cpu_count() or 1)
    _, most = strongest.estimate(metrics.resampled(valid.identity)).interval
    return max(0.0, most - privatizer.record["check"]["private"][attribute]["leakage"])


def released(privatizer: Privatizer, posteriors: Posteriors, seed: int) -> np.ndarray:
    """Releases of posteriors with independent draws: float32 [N, Z]."""
    seeds = np.random.default_rng(seed).integers(0, 2**63, len(posteriors.mean), dtype=np.uint64)
    return privatizer.filter.perturb(posteriors.mean, posteriors.variance, seeds)
