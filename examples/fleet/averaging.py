"""Shared classifiers, improved on devices by federated averaging: over released latents only.

The server has a linear classifier of each label, learned from half of every device's releases, with true labels.  A
device goes on with those of the labels that it keeps, on the same half of its own releases and with its owner's labels,
and sends what comes of it.  The server averages each label's classifier over the devices that keep the label.  A
device's own version takes some more steps and never leaves it.  What is told right is counted on the other halves.

An update tells the server which labels a device keeps, and that is a part of its wish.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray

import privsdk
from examples.fleet.collection import RefusedError, decoded, write_arrays
from examples.fleet.device import ENVELOPE, Device, open_bundle
from examples.fleet.faults import DROPS_OUT, RUBBISH, DroppedOutError

Floats = NDArray[np.float64]

ROUNDS = 3
STEPS = 20  # of gradient descent that a device makes in a round, on all of its half at once
RATE = 0.3
MOST_MOVED = 4 * STEPS * RATE  # of a label's weights, in norm; a step is RATE at most where ||x|| is the usual sqrt(Z)
ARRAYS, WEIGHTS = "arrays", "weights"
UPDATES, AVERAGED = "updates.npz", "averaged.npy"


def inputs(bundle: privsdk.Bundle, releases: NDArray[np.uint8]) -> Floats:
    """Latents of releases, encoded again, on the scale of public ones, and a one: float64 [N, Z + 1]."""
    public = bundle.public.mean.astype(np.float64)
    spread = np.where(bundle.used, public.std(axis=0), 1.0)
    scaled = np.where(bundle.used, (bundle.encode(releases).mean - public.mean(axis=0)) / spread, 0.0)
    return np.concatenate([scaled, np.ones((len(scaled), 1))], axis=1)


def first_half(count: int) -> slice:
    """The releases that are learned from; the order of an album tells nothing."""
    return slice(count // 2)


def descended(weights: Floats, x: Floats, labels: NDArray[np.uint8], steps: int = STEPS) -> Floats:
    """Logistic regressions after some more steps: ``weights`` [K, Z + 1] of K labels [N, K], on ``x`` [N, Z + 1]."""
    for _ in range(steps):
        errors = 1 / (1 + np.exp(-x @ weights.T)) - labels
        weights = weights - RATE * errors.T @ x / len(x) / x.shape[1] ** 0.5
    return weights


def improved(device: Device, weights: Floats) -> Floats:
    """The classifiers [A, Z + 1] of all labels after a device's round: those that it does not keep are as they were."""
    bundle = open_bundle(device.wish.bundle)
    kept = [bundle.attributes.index(label) for label in device.wish.utility]
    releases, labels = device.released(), device.labels
    half = first_half(len(releases))
    changed = weights.copy()
    changed[kept] = descended(weights[kept], inputs(bundle, releases[half]), labels[half])
    return changed


def answer(device: Device, message: Message) -> RecordDict:
    """What a device sends in a round.  Raises DroppedOutError where a failure is simulated that lasts."""
    if device.fault in (DROPS_OUT, *RUBBISH):
        raise DroppedOutError(f"{device.name} is off")
    weights = message.content.array_records[ARRAYS][WEIGHTS].numpy()
    return RecordDict(
        {
            ARRAYS: ArrayRecord({WEIGHTS: Array(improved(device, weights))}),
            ENVELOPE: ConfigRecord({"device": device.name}),
        }
    )


class ByLabel(FedAvg):
    """Averages each label's classifier over the devices that changed it.

    Each device counts as much as another: it does not say how many photos it has.  ``updates`` are what was seen of
    each at first, float64 [Z + 1].
    """

    def __init__(self, weights: Floats, devices: int) -> None:
        super().__init__(fraction_evaluate=0.0, min_train_nodes=devices, min_available_nodes=devices)
        self.weights = weights
        self.updates: dict[str, Floats] = {}

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        changes = dict(filter(None, (self._change(reply) for reply in replies if not reply.has_error())))
        for name, change in changes.items():
            self.updates.setdefault(name, change.sum(axis=0))
        if changes:
            stacked = np.stack([changes[name] for name in sorted(changes)])  # a sum does not hang on who is first
            devices = stacked.any(axis=2).sum(axis=0)
            self.weights = self.weights + stacked.sum(axis=0) / np.maximum(devices, 1)[:, None]
        return ArrayRecord({WEIGHTS: Array(self.weights)}), None

    def _change(self, reply: Message) -> tuple[str, Floats] | None:
        """Who changed the weights by how much; None of what is no weights."""
        record = reply.content.array_records.get(ARRAYS, ArrayRecord())
        name = reply.content.config_records.get(ENVELOPE, ConfigRecord()).get("device")
        try:
            weights = decoded(record[WEIGHTS], np.float64, self.weights.shape[1:])
        except (KeyError, RefusedError):
            return None
        if not isinstance(name, str) or weights.shape != self.weights.shape:
            return None
        change = weights - self.weights
        with np.errstate(over="ignore"):
            moved = np.linalg.norm(change, axis=1)
        # What no device's steps can come to would be all that is left of the average.  NaN is not below anything.
        return (name, change) if (moved <= MOST_MOVED).all() else None


def server_app(weights: Floats, devices: int, output: Path) -> ServerApp:
    """Improves shared classifiers, float64 [A, Z + 1], on so many devices.

    Writes them, and each device's first update, into ``output``.
    """
    made = ServerApp()

    @made.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = ByLabel(weights, devices)
        strategy.start(grid, ArrayRecord({WEIGHTS: Array(weights)}), num_rounds=ROUNDS)
        np.save(output / AVERAGED, strategy.weights)
        write_arrays(output / UPDATES, strategy.updates)

    return made
