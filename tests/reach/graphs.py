"""A privatizer's graph and the Python way, given the same random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from privsdk import Privatizer, noise
from privsdk.to_onnx import draws

KEY = bytes(range(32))


def seeds_of(privatizer: Privatizer, samples: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """A seed of each sample, as a release draws them."""
    return noise.sample_seeds(KEY, samples, f"release by {privatizer.filter_digest}")


def inputs_of(
    privatizer: Privatizer, samples: NDArray[np.uint8], private: NDArray[np.int64] | None = None
) -> dict[str, NDArray]:
    """What the graph takes, drawn as a release draws it."""
    seeds = seeds_of(privatizer, samples)
    inputs: dict[str, NDArray] = {"samples": samples}
    for distribution, draw_from in (("normal", noise.normal), ("uniform", noise.uniforms)):
        drawn = [
            draw_from(seeds, draw.width, draw.purpose)
            for draw in draws(privatizer.filter)
            if draw.distribution == distribution
        ]
        if drawn:
            inputs[distribution] = np.concatenate(drawn, axis=1).astype(np.float32)
    return inputs if private is None else inputs | {"private": private}


def session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options)


@dataclass(frozen=True, eq=False)
class Compared:
    """By how much N releases differ, the largest of each in grey levels, int64 [N]; and how many were kept back."""

    apart: NDArray[np.int64]
    kept_back: int


def decoded(
    privatizer: Privatizer, samples: NDArray[np.uint8], private: NDArray[np.int64] | None = None
) -> NDArray[np.uint8]:
    """What comes of the samples in Python before any is kept back."""
    latents = privatizer.bundle.encode(samples)
    return privatizer.bundle.decode(privatizer.perturb(latents, private, draws=seeds_of(privatizer, samples)))


def compare(
    privatizer: Privatizer,
    graph: bytes,
    samples: NDArray[np.uint8],
    expected: NDArray[np.uint8],
    batch: int,
    private: NDArray[np.int64] | None = None,
) -> Compared:
    """The graph in batches of so many, beside what Python decoded; AssertionError where others are kept back."""
    inputs, runs = inputs_of(privatizer, samples, private), session(graph)
    parts = [
        runs.run(["released", "kept_back"], {name: array[start : start + batch] for name, array in inputs.items()})
        for start in range(0, len(samples), batch)
    ]
    released, kept_back = (np.concatenate(column) for column in zip(*parts, strict=True))
    kept_back = kept_back.astype(bool)
    assert not released[kept_back].any(), "what is kept back is not empty"
    assert (kept_back == as_it_was(privatizer, expected, samples)).all(), "another sample is kept back"
    apart = np.abs(released.astype(int) - expected).reshape(len(samples), -1).max(axis=1)
    return Compared(np.where(kept_back, 0, apart), int(kept_back.sum()))


def as_it_was(privatizer: Privatizer, released: NDArray[np.uint8], samples: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which releases count as the original: rows that are it, images within two grey levels of it on average."""
    difference = np.abs(released.astype(float) - samples).reshape(len(samples), -1)
    return difference.max(axis=1) == 0 if privatizer.bundle.table is not None else difference.mean(axis=1) < 2
