"""The gap that a bundle states for an attribute: what real people leak beyond what a device can see itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from export.datasets.labelled import TRAIN, VALID, LabelledImages
from export.gaps import add_gaps, measure_gap, why_not_measurable
from export.latents import Posteriors
from privsdk.bundle import Bundle
from privsdk.errors import TrainingDataError

TRAINING, HELD_OUT = 3000, 1500


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """The shipped one: what it says of its public latents is true of them by construction."""
    return Bundle.open("faces")


def people(bundle: Bundle, label: str) -> LabelledImages:
    """Two partitions of people like the bundle's public latents; their pixels are not looked at."""
    count = TRAINING + HELD_OUT
    return LabelledImages(
        pixels=np.zeros((count, 1, 1, 3), np.uint8),
        labels=bundle.public.labels[:count, [bundle.attributes.index(label)]].astype(np.uint8),
        attributes=(label,),
        partition=np.where(np.arange(count) < TRAINING, TRAIN, VALID).astype(np.uint8),
        identity=np.arange(count, dtype=np.int32),
        names=tuple(str(i) for i in range(count)),
    )


def posteriors(bundle: Bundle) -> tuple[Posteriors, Posteriors]:
    public = bundle.public
    return (
        Posteriors(public.mean[:TRAINING], public.variance[:TRAINING]),
        Posteriors(public.mean[TRAINING : TRAINING + HELD_OUT], public.variance[TRAINING : TRAINING + HELD_OUT]),
    )


def test_a_leak_that_only_strangers_show_widens_the_gap(bundle: Bundle) -> None:
    images = people(bundle, "Male")
    seen, unseen = posteriors(bundle)
    plain = measure_gap(bundle, "Male", images, seen, unseen)
    # The scores do not look at this direction much, and nobody in the training partition has it.
    beside = np.random.default_rng(0).standard_normal(unseen.mean.shape[1]).astype(np.float32)
    marked = unseen.mean + 0.6 * beside * (2.0 * images.part(VALID).labels - 1).astype(np.float32)
    leaking = measure_gap(bundle, "Male", images, seen, Posteriors(marked.astype(np.float32), unseen.variance))
    assert plain < 0.1
    assert leaking > plain + 0.1


def test_an_attribute_that_hardly_anybody_has_is_not_measured(bundle: Bundle, bundle_folder: Path) -> None:
    images = people(bundle, "Male")
    labels = images.labels.copy()
    labels[TRAINING:] = 0
    labels[TRAINING : TRAINING + 3] = 1
    assert why_not_measurable(bundle, "Male", images) is None
    rare = replace(images, labels=labels)
    assert why_not_measurable(bundle, "Male", rare) == "the valid partition shows 3 people whose Male is 1, not 10"
    with pytest.raises(TrainingDataError, match="the gap of Male cannot be measured: .*; leave it out of --of"):
        add_gaps(rare, bundle_folder, ["male"])
