"""The paper's filters, as `privsdk.filters.linear` and `nonlinear` have them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.linear import LinearFilter
from privsdk.filters.nonlinear import NonlinearFilter
from privsdk.to_onnx.arrays import Array, joined, sqrt
from privsdk.to_onnx.draws import NORMAL, Draw
from privsdk.to_onnx.scores import elu


def draws(filter: LinearFilter | NonlinearFilter) -> list[Draw]:
    """The random numbers that a release needs."""
    size, used = len(filter.used), int(filter.used.sum())
    noise = size if isinstance(filter, LinearFilter) else len(filter.skip) - size - filter.private_classes
    found = [Draw("posterior", NORMAL, size), Draw("filter noise", NORMAL, noise)]
    return [*found, Draw("unused", NORMAL, size - used)] if used < size else found


def linear(filter: LinearFilter, mean: Array, variance: Array, drawn: Mapping[str, Array], private: Array) -> Array:
    """z~ of posteriors [N, Z] of people of the classes ``private``, int64 [N]."""
    sample = _sample(filter.used, mean, variance, drawn)
    shift = _one_hot(private, len(filter.gamma_label)) @ filter.gamma_label
    return sample + drawn["filter noise"] @ filter.gamma_noise + shift


def nonlinear(
    filter: NonlinearFilter, mean: Array, variance: Array, drawn: Mapping[str, Array], private: Array | None
) -> Array:
    """z~ of posteriors [N, Z] of people of the classes ``private``, int64 [N]; None where the filter takes none."""
    sample = _sample(filter.used, mean, variance, drawn)
    inputs = [sample, drawn["filter noise"]]
    if private is not None:
        inputs.append(_one_hot(private, filter.private_classes))
    beside = hidden = joined(inputs)
    for weight, bias in zip(filter.weights[:-1], filter.biases[:-1], strict=True):
        hidden = elu(hidden @ weight + bias)
    return sample + hidden @ filter.weights[-1] + filter.biases[-1] + beside @ filter.skip


def _one_hot(private: Array, classes: int) -> Array:
    """[N, C]; NaN where there is no such class, so that nothing comes out: a wrong label would give a sample away."""
    own = private.reshape(-1, 1).equals(np.arange(classes)).astype(np.float32)
    return own / own.sum()


def _sample(used: NDArray[np.bool_], mean: Array, variance: Array, drawn: Mapping[str, Array]) -> Array:
    """A posterior sample of each row, [N, Z]; dimensions that are not used are fresh noise."""
    z = mean + sqrt(variance) * drawn["posterior"]
    if used.all():
        return z
    order = np.argsort(np.concatenate([np.flatnonzero(used), np.flatnonzero(~used)]))
    return joined([z.columns(np.flatnonzero(used).tolist()), drawn["unused"]]).columns(order.tolist())
