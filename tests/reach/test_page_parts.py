"""Parts of the fit in the page against those in Python, on the same numbers, in Node.

What the page is as a whole is tested in a browser (tests/browser/test_page.py).
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from privsdk import Bundle, noise
from privsdk.filters.code import ConditionalAffine
from privsdk.filters.joint_scores import BINS, LARGEST_WEIGHT, ROUNDS, JointScores, _bins
from privsdk.filters.scores import clipped
from privsdk.fitting.check import auroc
from privsdk.fitting.fair_score import fair_score

PEOPLE = 1500
ATTRIBUTES = (20, 31, 39)  # Male, Smiling, Young
HIDDEN = 1
KEY = bytes(range(32))
SAMPLE = np.arange(6, dtype=np.uint8).reshape(2, 3)


@pytest.fixture(scope="module")
def parts() -> tuple[dict[str, Any], dict[str, Any]]:
    """What was given, and what the page makes of it."""
    if shutil.which("node") is None:
        pytest.skip("needs Node")
    bundle = Bundle.open("faces")
    rng = np.random.default_rng(0)
    mean = bundle.public.mean[:PEOPLE].astype(np.float32)
    scores = clipped(bundle.scores.only(ATTRIBUTES).scores(mean))
    one = ATTRIBUTES[0]
    given = {
        "x": bundle.flow.forward(mean),
        "scores": scores,
        "fresh": rng.standard_normal(PEOPLE).astype(np.float32),
        "knots": bundle.moments.knots[one],
        "mean": bundle.moments.mean[one],
        "spread": bundle.moments.spread[one],
        "people": scores,
        "hidden": HIDDEN,
        "strength": 0.4,
        "blur": rng.uniform(-1, 1, (PEOPLE, len(ATTRIBUTES) - HIDDEN)).astype(np.float32),
        "quantiles": bundle.joint_scores.quantiles,
        "shares": bundle.joint_scores.shares.ravel(),
        "cells": _bins(scores, bundle.joint_scores.quantiles[list(ATTRIBUTES)]),
        "attributes": ATTRIBUTES,
        "said": np.round(rng.standard_normal(200), 1),
        "labels": rng.integers(0, 2, 200),
        "sample": SAMPLE.ravel(),
    }
    program = Path(__file__).with_name("page_parts.mjs")
    text = json.dumps(given, default=lambda array: array.tolist())
    done = subprocess.run(["node", str(program)], input=text, capture_output=True, text=True, check=True)
    return given, json.loads(done.stdout)


def test_the_affine_map(parts: tuple[dict, dict]) -> None:
    given, found = parts
    map_ = ConditionalAffine.learned(given["x"], [1], given["scores"])
    code = map_.forward(given["x"], given["scores"], given["fresh"])
    assert np.abs(code - found["forward"]).max() < 1e-3
    assert np.abs(map_.inverse(code, given["scores"]) - found["inverse"]).max() < 1e-3


def test_another_score_gives_another_map(parts: tuple[dict, dict]) -> None:
    given, found = parts
    scores = given["scores"].copy()
    scores[:10, 1] += 1
    other = ConditionalAffine.learned(given["x"], [1], scores)
    assert np.abs(other.forward(given["x"], scores, given["fresh"])[10:] - found["forward"][10:]).max() > 1e-3


def test_strangers_are_given_the_moments_of_people(parts: tuple[dict, dict]) -> None:
    given, found = parts
    moments = Bundle.open("faces").moments
    matched = moments.matched(given["x"], given["scores"], ATTRIBUTES[:1], [0])
    assert np.abs(matched - found["matched"]).max() < 1e-3


def test_the_fair_score(parts: tuple[dict, dict]) -> None:
    """The second is made given the first, by thresholds that the last bit of a score moves; Python's move as far."""
    given, found = parts
    score = fair_score(given["people"], [(0,)], given["strength"], given["blur"])
    fair = score.fair(given["people"], given["blur"])
    first, second = np.quantile(np.abs(fair - found["fair"]), 0.99, axis=0)
    assert first < 1e-3
    assert second < 0.15
    assert ((fair > 0) == (np.array(found["fair"]) > 0)).mean() > 0.998
    other = fair_score(given["people"], [(0,)], 0.5, given["blur"]).fair(given["people"], given["blur"])
    assert np.quantile(np.abs(other - found["fair"]), 0.99, axis=0)[0] > 1e-2


def test_how_scores_go_together(parts: tuple[dict, dict]) -> None:
    given, found = parts
    joint: JointScores = Bundle.open("faces").joint_scores
    cells = given["cells"]
    weights = np.full(PEOPLE, 1 / PEOPLE)
    for _ in range(ROUNDS):
        for one, other in ((0, 1), (0, 2), (1, 2)):
            cell = cells[:, one] * BINS + cells[:, other]
            counted = np.bincount(cell, weights, BINS**2)
            wanted = joint._pair(ATTRIBUTES[one], ATTRIBUTES[other]).ravel() / BINS**2
            weights *= (wanted[cell] + 1e-9) / np.maximum(counted[cell], 1e-12)
    weights = np.minimum(weights, LARGEST_WEIGHT * weights.mean())
    assert np.allclose(weights, found["weights"], rtol=1e-6)


def test_what_is_told(parts: tuple[dict, dict]) -> None:
    given, found = parts
    assert found["auroc"] == pytest.approx(auroc(given["said"], given["labels"]), abs=1e-12)


def test_random_numbers_of_a_release(parts: tuple[dict, dict]) -> None:
    _, found = parts
    origin = noise.sample_digests(KEY, SAMPLE[None])
    seeds = noise.sample_seeds(KEY, origin, "a purpose")
    assert found["seed"] == str(seeds[0])
    assert np.array_equal(noise.uniforms(seeds, 7, "one")[0], found["uniforms"])
    assert np.abs(noise.normal(seeds, 5, "other")[0] - found["normals"]).max() < 1e-6
