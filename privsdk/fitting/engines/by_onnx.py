"""Training without torch: steps that are graphs, made by ``export.steps`` of what torch trains, run by ONNX Runtime.

A step is forward, backward and optimizer in one.  Its inputs are a batch, and for each weight its value and what the
optimizer keeps of it; its outputs are the loss and all of that anew.  The graphs fit any sizes, so they are a part of
privsdk and not of a bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk import runtime
from privsdk.filters.couplings import Couplings
from privsdk.filters.scores import elu
from privsdk.fitting.check import Attacker, Classes, numpy_logistic, standardised
from privsdk.fitting.engines.engine import BATCH, SCORE_NOISE, Network, Size
from privsdk.progress import Progress

Floats = NDArray[np.float32]

WEIGHTS = ("weight_1", "bias_1", "weight_2", "bias_2", "weight_3", "bias_3")
"""Of three layers; those of L couplings [L, in, out] and [L, out], those of a network without the first axis."""
LAYERS = range(1, 4)


class Training:
    """Weights in training, and the step that trains them.

    ``step`` is the name of a graph; ``kept`` names what is kept beside the weights: "first" and "second" moments, and
    an "average", which begins as the weights are.
    """

    def __init__(self, step: str, weights: Mapping[str, Floats], kept: tuple[str, ...]) -> None:
        self._step = _step(step)
        self._state = dict(weights)
        for part in kept:
            for name, value in weights.items():
                self._state[f"{part}_{name}"] = value if part == "average" else np.zeros_like(value)
        self._outputs = ["loss", *(f"new_{name}" for name in self._state)]
        self._taken = 0

    def take(self, rate: float, **batch: Floats) -> float:
        """One step with this learning rate; the loss before it."""
        self._taken += 1
        numbers = {"rate": np.float32(rate), "count": np.float32(self._taken)}
        inputs = {name: np.asarray(value) for name, value in numbers.items()}
        loss, *state = self._step.run(self._outputs, {**inputs, **batch, **self._state})
        self._state = dict(zip(self._state, state, strict=True))
        return float(loss)

    def weights(self, part: str = "") -> dict[str, Floats]:
        """The weights, or what is kept of them under the name of a ``part``."""
        return {name: self._state[f"{part}_{name}" if part else name] for name in WEIGHTS}


class OnnxEngine:
    """As torch, with other random numbers; logistic regression by Newton's method."""

    name = "onnx"

    def couplings(self, residual: Floats, context: Floats, size: Size, seed: int, report: Progress) -> Couplings:
        """As :meth:`Engine.couplings`."""
        rng = np.random.default_rng([seed, 7])
        dimensions, layers = residual.shape[1], size.couplings
        moved = dimensions // 2
        widths = (dimensions - moved + context.shape[1], size.width, size.width, 2 * moved)
        weights: dict[str, Floats] = {}
        for layer, inputs, outputs in zip(LAYERS, widths, widths[1:], strict=False):
            spread = np.sqrt(2 / inputs) if layer < LAYERS.stop - 1 else 0.0
            weights[f"weight_{layer}"] = _drawn(rng, spread, (layers, inputs, outputs))
            weights[f"bias_{layer}"] = np.zeros((layers, outputs), np.float32)
        rotation = np.linalg.qr(rng.standard_normal((layers, dimensions, dimensions)))[0].astype(np.float32)
        training = Training(f"couplings_{layers}", weights, ("first", "second", "average"))
        schedule = size.schedule
        for step in range(schedule.steps):
            rows = rng.integers(0, len(residual), BATCH)
            shaken = context[rows] + SCORE_NOISE * rng.standard_normal((BATCH, context.shape[1]), np.float32)
            kept = np.asarray(schedule.kept(step + 1), np.float32)
            batch = {"x": residual[rows], "context": shaken.astype(np.float32), "rotation": rotation, "kept": kept}
            training.take(schedule.rate(step), **batch)
            report("flow", step + 1, schedule.steps)
        return Couplings.from_arrays({"rotation": rotation, **training.weights("average")})

    def attackers(self, seed: int) -> dict[str, Attacker]:
        """As :meth:`Engine.attackers`."""

        def network(z: Floats, labels: Classes, classes: int, judged: Floats) -> Floats:
            return _forward(_trained(z, labels, classes, seed), judged)

        def network_standardised(z: Floats, labels: Classes, classes: int, judged: Floats) -> Floats:
            z, judged = standardised(z, judged)
            return network(z, labels, classes, judged)

        return {"logistic": numpy_logistic, "mlp": network, "mlp standardised": network_standardised}

    def ready(self) -> AbstractContextManager[None]:
        """Nothing."""
        return nullcontext()


def _trained(z: Floats, labels: Classes, classes: int, seed: int) -> dict[str, Floats]:
    """The weights of a network for ``labels`` [N], in 0..``classes`` - 1, of ``z`` [N, D]."""
    rng, recipe = np.random.default_rng([seed, 8]), Network()
    widths = (z.shape[1], recipe.width, recipe.width, classes)
    weights: dict[str, Floats] = {}
    for layer, inputs, outputs in zip(LAYERS, widths, widths[1:], strict=False):
        weights[f"weight_{layer}"] = _drawn(rng, inputs**-0.5, (inputs, outputs))
        weights[f"bias_{layer}"] = np.zeros(outputs, np.float32)
    training = Training("classifier", weights, ("first", "second"))
    targets = np.eye(classes, dtype=np.float32)[labels]
    order = rng.permutation(len(z))
    held_out, fitted = order[: len(z) // 5], order[len(z) // 5 :]
    best, best_loss, best_epoch = weights, float("inf"), 0
    for epoch in range(recipe.epochs):
        for rows in np.array_split(rng.permutation(fitted), -(-len(fitted) // recipe.batch)):
            training.take(recipe.learning_rate, z=z[rows], targets=targets[rows])
        now = training.weights()
        loss = _cross_entropy(_forward(now, z[held_out]), targets[held_out])
        if loss < best_loss:
            best, best_loss, best_epoch = now, loss, epoch
        if epoch - best_epoch >= recipe.patience:
            break
    return best


def _forward(weights: Mapping[str, Floats], z: Floats) -> Floats:
    """The log-odds of each class, up to a constant of the row: float32 [N, C]."""
    hidden = elu(z @ weights["weight_1"] + weights["bias_1"])
    hidden = elu(hidden @ weights["weight_2"] + weights["bias_2"])
    said: Floats = hidden @ weights["weight_3"] + weights["bias_3"]
    return said


def _cross_entropy(said: Floats, targets: Floats) -> float:
    said = said - said.max(axis=1, keepdims=True)
    log_likely = said - np.log(np.exp(said).sum(axis=1, keepdims=True))
    return float(-(targets * log_likely).sum(axis=1).mean())


def _drawn(rng: np.random.Generator, spread: float, shape: tuple[int, ...]) -> Floats:
    return (spread * rng.standard_normal(shape)).astype(np.float32)


def graph(step: str) -> bytes:
    """The graph of a step, by its name."""
    return resources.files("privsdk.fitting.engines").joinpath("steps", f"{step}.onnx").read_bytes()


@cache
def _step(name: str) -> Any:
    """The session of a step; sessions are for any thread."""
    return runtime.session(graph(name))
