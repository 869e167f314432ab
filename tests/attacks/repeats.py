"""Repeated noise: many processes of one device draw for many photos; no two may share noise, and it must look random.

What is drawn is listened to where it is drawn, while photos are really released: by the default filter and by the
Gaussian mechanism, in processes that read the device key for themselves.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from privsdk import Privatizer, noise
from privsdk.store.key import device_key
from tests.attacks.faces import flow_privatizer, noise_privatizer, put_key
from tests.attacks.trial import Attempt, Fault, Outcome, Trial

PROCESSES, AT_ONCE = 100, 2
SHARED = 2
"""Photos of the next process that each draws for too."""
NEARLY_EQUAL = 4
"""One photo in so many differs from the one before it by one grey level in one place."""
LEAST_CHANCE = 1e-4
"""A sound generator fails all tests together as seldom as this."""
REPEATED_BY_CHANCE = 2
"""Of some million numbers of 53 bits; the expected number is below a hundredth."""
BLOCK = 500

Doubles = NDArray[np.float64]
Drawn = dict[str, NDArray[Any]]
"""For ``"FILTER, PURPOSE, what"`` what was drawn, a row a photo: seeds, uniforms or normals."""


def photos(rows: Sequence[int], seed: int) -> NDArray[np.uint8]:
    """Photos by their numbers: smooth pictures, of which some are nearly equal; uint8 [N, 64, 64, 3]."""
    found = []
    for row in rows:
        follows = row % NEARLY_EQUAL == 1
        coarse = np.random.default_rng([seed, row - follows]).integers(1, 255, (8, 8, 3), np.uint8)
        picture = coarse.repeat(8, axis=0).repeat(8, axis=1)
        picture[0, 0, 0] += follows
        found.append(picture)
    return np.stack(found)


def listened(rows: Sequence[int], seed: int) -> Drawn:
    """Release these photos by both filters, and give all that was drawn for them."""
    heard: dict[str, list[NDArray[Any]]] = defaultdict(list)
    real = {"uniforms": noise.uniforms, "normal": noise.normal}

    def listening(kind: str, filter: str) -> Callable[[noise.Seeds, int, str], NDArray[Any]]:
        def draw(seeds: noise.Seeds, size: int, purpose: str) -> NDArray[Any]:
            drawn: NDArray[Any] = real[kind](seeds, size, purpose)
            heard[f"{filter}, {purpose}, {kind}"].append(drawn)
            if kind == "uniforms":  # normals are made of them
                heard[f"{filter}, {purpose}, seeds"].append(seeds)
            return drawn

        return draw

    samples = photos(rows, seed)
    for name, privatizer in _privatizers().items():
        for kind in real:
            setattr(noise, kind, listening(kind, name))
        try:
            privatizer.privatize_each(samples, None, device_key())
        finally:
            for kind, function in real.items():
                setattr(noise, kind, function)
    return {name: np.concatenate(parts) for name, parts in heard.items()}


def _privatizers() -> dict[str, Privatizer]:
    return {"flow": flow_privatizer(), "Gaussian mechanism": noise_privatizer()}


def _drawing(rows: Sequence[int], seed: int, path: Path) -> None:
    np.savez(path, **listened(rows, seed))


def drawn_by_processes(attempt: Attempt) -> tuple[Drawn, int]:
    """What was drawn for all photos, in order; and for how many two processes drew different numbers."""
    shares = np.array_split(np.arange(attempt.size), min(PROCESSES, attempt.size // (SHARED + 1)))
    asked = [[*share, *shares[(number + 1) % len(shares)][:SHARED]] for number, share in enumerate(shares)]
    paths = [attempt.folder / f"{number}.npz" for number in range(len(shares))]
    context = multiprocessing.get_context("fork")
    for start in range(0, len(paths), AT_ONCE):
        processes = [
            context.Process(target=_drawing, args=([int(row) for row in asked[number]], attempt.seed, paths[number]))
            for number in range(start, min(start + AT_ONCE, len(paths)))
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    found = []
    for path in paths:
        with np.load(path) as arrays:
            found.append({name: arrays[name] for name in arrays.files})
    differing = 0
    for number, share in enumerate(shares):
        following = found[(number + 1) % len(shares)]
        for name, values in found[number].items():
            differing += int((values[len(share) :] != following[name][:SHARED]).reshape(SHARED, -1).any(axis=1).sum())
    whole = {
        name: np.concatenate([part[name][: len(share)] for part, share in zip(found, shares, strict=True)])
        for name in found[0]
    }
    return whole, differing


def repeated_seeds(drawn: Drawn) -> int:
    """How many pairs of a photo and a filter have a seed that another pair has."""
    of_filters = {name.split(", ")[0]: values for name, values in drawn.items() if name.endswith(", seeds")}
    seeds = np.concatenate(list(of_filters.values()))
    return len(seeds) - len(np.unique(seeds))


def repeated_numbers(drawn: Drawn) -> int:
    """How many of all uniforms, of every photo, filter and purpose, were drawn before: streams that overlap show."""
    numbers = np.concatenate([values.ravel() for name, values in drawn.items() if name.endswith(", uniforms")])
    return len(numbers) - len(np.unique(numbers))


def tests(drawn: Drawn) -> dict[str, Doubles]:
    """For each kind of test its p-values."""
    uniforms = [values for name, values in drawn.items() if name.endswith(", uniforms")]
    normals = [values.astype(np.float64) for name, values in drawn.items() if name.endswith(", normal")]
    side_by_side = np.concatenate(normals, axis=1)
    # How large numbers are, as normal numbers again: squares themselves have too heavy tails for the test.
    magnitudes = stats.norm.ppf(np.clip(stats.chi2.cdf(side_by_side**2, 1), 1e-12, 1 - 1e-12))
    each = [column for values in normals for column in (values.ravel(), *values.T)]
    counts = [np.bincount((values.ravel() * 256).astype(np.int64), minlength=256) for values in uniforms]
    return {
        "Kolmogorov-Smirnov": np.array(
            [stats.kstest(values, "norm").pvalue for values in each]
            + [stats.kstest(values.ravel(), "uniform").pvalue for values in uniforms]
        ),
        "Cramer-von Mises": np.array([stats.cramervonmises(values, "norm").pvalue for values in each]),
        "chi-square of the first byte": np.array([stats.chisquare(count).pvalue for count in counts]),
        "correlation of numbers and purposes": _uncorrelated(side_by_side.T),
        "correlation of magnitudes": _uncorrelated(magnitudes.T),
        "correlation of photos": _uncorrelated(side_by_side),
    }


def _uncorrelated(rows: Doubles) -> Doubles:
    """The smallest p-value among all pairs of rows, for that they are uncorrelated, times the number of pairs."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = (rows / length).astype(np.float32)
    largest = 0.0
    for start in range(0, len(unit), BLOCK):
        products = np.abs(unit[start : start + BLOCK] @ unit.T)
        products[np.arange(len(products)), start + np.arange(len(products))] = 0
        largest = max(largest, float(products.max()))
    freedom = rows.shape[1] - 1
    statistic = largest * np.sqrt(freedom / max(1 - largest**2, 1e-12))
    pairs = len(rows) * (len(rows) - 1) / 2
    return np.array([min(1.0, 2 * stats.t.sf(statistic, freedom) * pairs)])


def run(attempt: Attempt) -> Outcome:
    home = attempt.folder / "home"
    put_key(home, attempt.seed)
    os.environ["PRIVSDK_HOME"] = str(home)
    for privatizer in _privatizers().values():  # made once, before there are processes
        privatizer.privatize_each(photos([0], attempt.seed), None, device_key())
    drawn, differing = drawn_by_processes(attempt)
    seeds, numbers = repeated_seeds(drawn), repeated_numbers(drawn)
    found = {name: float(min(1.0, values.min() * len(values))) for name, values in tests(drawn).items()}
    least = min(1.0, min(found.values()) * len(found))
    held = not differing and not seeds and numbers <= REPEATED_BY_CHANCE and least >= LEAST_CHANCE
    count = sum(values.size for name, values in drawn.items() if name.endswith(", uniforms"))
    worst = min(found, key=lambda name: found[name])
    return Outcome(
        held,
        f"{seeds} repeated seeds of {2 * attempt.size:,} (filters: {', '.join(_privatizers())}), {numbers} repeated "
        f"numbers of {count:,}, {differing} times two processes drew differently for a photo; all tests together: "
        f"p = {least:.2g}, the worst is {worst}",
    )


def _seeds_of_16_bits() -> None:
    real = noise.sample_seeds
    noise.sample_seeds = lambda key, samples, purpose: real(key, samples, purpose) & np.uint64(0xFFFF)


def _one_stream_for_every_purpose() -> None:
    noise._number = lambda purpose: 0


def _seeds_from_the_time() -> None:
    def sample_seeds(key: bytes, samples: Sequence[Any], purpose: str) -> noise.Seeds:
        return np.arange(len(samples), dtype=np.uint64) + np.uint64(time.time())

    noise.sample_seeds = sample_seeds


TRIAL = Trial(
    name="repeats",
    tries=f"noise of photos from {PROCESSES} processes of one device, all pairs",
    must="no repeat, and it passes tests of normality and independence",
    size=10_000,
    part=400,
    enough=400,
    run=run,
    faults=(
        Fault("seeds-of-16-bits", _seeds_of_16_bits),
        Fault("one-stream-for-every-purpose", _one_stream_for_every_purpose),
        Fault("seeds-from-the-time", _seeds_from_the_time),
    ),
)
