"""A privatizer as one ONNX graph, for hosts that have no Python: encode, filter, decode, and hold back.

Built from the filter's weights, so that neither torch nor the data it was fitted on is needed.  The graph draws nothing
itself: random numbers are inputs, and it is the host's part to make them functions of a secret key and of the sample,
as :mod:`privsdk.noise` does (``docs/hosts.md`` has complete hosts).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import spox
from numpy.typing import DTypeLike
from spox import Tensor

import privsdk
from privsdk.bundle import Bundle
from privsdk.errors import UsageError
from privsdk.filters import Filter
from privsdk.filters.flow import FlowFilter
from privsdk.filters.linear import LinearFilter
from privsdk.filters.nonlinear import NonlinearFilter
from privsdk.privatizer import CLOSEST, Privatizer
from privsdk.samples.faces import TEMPLATE
from privsdk.to_onnx import flow, minmax
from privsdk.to_onnx.arrays import Array, absolute, exp, finite, where
from privsdk.to_onnx.draws import NORMAL, UNIFORM, Draw

SCHEMA = 1


def to_onnx(privatizer: Privatizer) -> bytes:
    """``privatizer`` as an ONNX file: opset 18, operators of ONNX alone, nothing outside the file.

    Inputs:

    - ``samples``, uint8 [N, *shape], as the bundle's encoder takes them;
    - ``normal``, float32 [N, D], independent draws from N(0, 1);
    - ``uniform``, float32 [N, V], independent draws from [0, 1), where the filter needs any;
    - ``private``, int64 [N], where the filter is label-aware: the class y_1 + c_1 y_2 + c_1 c_2 y_3 ... of the private
      labels, c_i being how many classes each has.  A sample of another class is kept back.

    Outputs: ``released``, uint8 [N, *shape], and ``kept_back``, uint8 [N]: 1 where no release came out, or one that
    is the original or close to it, else 0; such a sample is zero.  A host may try other random numbers, as a release
    of privsdk does up to 8 times.

    Metadata, as text: ``privsdk.schema``, ``privsdk.version``, ``privsdk.licence`` (the terms of the bundle),
    ``privsdk.filter`` and ``privsdk.bundle`` (digests); as JSON: ``privsdk.sample`` (kind, shape, and the landmarks of
    a face or the columns of a table), ``privsdk.attributes`` (of the bundle), ``privsdk.private``, ``privsdk.utility``
    and ``privsdk.draws`` (what the columns of ``normal`` and of ``uniform`` are for).  So the file tells the wish: it
    is for the device, as the privatizer is, and goes out with no release.

    Raises UsageError for a filter that has no graph.
    """
    return _graph(privatizer).SerializeToString(deterministic=True)


def draws(filter: Filter) -> list[Draw]:
    """The random numbers that a filter's graph takes, in the order of its columns.  Raises UsageError as above."""
    match filter:
        case FlowFilter():
            return flow.draws(filter)
        case LinearFilter() | NonlinearFilter():
            return minmax.draws(filter)
    raise UsageError(
        f"a {filter.kind} filter has no graph, it is there to compare with: fit one by method='flow' or 'minmax'"
    )


def _graph(privatizer: Privatizer) -> onnx.ModelProto:
    bundle, filter = privatizer.bundle, privatizer.filter
    wanted = draws(filter)
    samples = _input(np.uint8, *bundle.sample_shape)
    inputs = {"samples": samples}
    drawn: dict[str, Array] = {}
    for distribution in (NORMAL, UNIFORM):
        own = [draw for draw in wanted if draw.distribution == distribution]
        if not own:
            continue
        ends = np.cumsum([0, *(draw.width for draw in own)]).tolist()
        inputs[distribution] = _input(np.float32, ends[-1])
        for draw, start, end in zip(own, ends, ends[1:], strict=False):
            drawn[draw.purpose] = inputs[distribution].columns(range(start, end))
    if filter.label_aware:
        inputs["private"] = _input(np.int64)

    encoded = _inlined(bundle.codec.encoder, samples=samples)
    mean, variance = encoded["mean"], exp(encoded["log_variance"])
    match filter:
        case FlowFilter():
            z = flow.perturbed(filter, mean, variance, drawn)
        case LinearFilter():
            z = minmax.linear(filter, mean, variance, drawn, inputs["private"])
        case NonlinearFilter():
            z = minmax.nonlinear(filter, mean, variance, drawn, inputs.get("private"))
    unusable = (~finite(z)).any()
    decoded = _inlined(bundle.codec.decoder, latents=where(unusable, 0, z))["samples"]
    as_it_was = ~(~z.equals(mean)).any() | _close(decoded, samples, bundle)
    kept_back = unusable | as_it_was
    released = where(kept_back.reshape(-1, *(1 for _ in bundle.sample_shape)), 0, decoded)
    outputs = {
        "released": released.reshape(-1, *bundle.sample_shape),
        "kept_back": kept_back.astype(np.uint8).reshape(-1),
    }

    model = spox.build(*({name: array.var for name, array in arrays.items()} for arrays in (inputs, outputs)))
    model.producer_name, model.producer_version = "privsdk", privsdk.__version__
    model.graph.name = "privatizer"
    onnx.helper.set_model_props(model, _metadata(privatizer, wanted))
    onnx.checker.check_model(model, full_check=True)
    return model


def _input(dtype: DTypeLike, *shape: int) -> Array:
    return Array(spox.argument(Tensor(dtype, ("rows", *shape))))


def _inlined(graph: bytes, **inputs: Array) -> dict[str, Array]:
    outputs = spox.inline(onnx.load_from_string(graph))(**{name: array.var for name, array in inputs.items()})
    return {name: Array(var) for name, var in outputs.items()}


def _close(released: Array, samples: Array, bundle: Bundle) -> Array:
    """Whether a release is the original, or so close to it that it counts as such: bool [N, 1]."""
    difference = absolute(released.astype(np.float32) - samples.astype(np.float32))
    difference = difference.reshape(-1, math.prod(bundle.sample_shape))
    return ~(difference > 0).any() if bundle.table is not None else ~(difference.mean() >= CLOSEST)


def _metadata(privatizer: Privatizer, wanted: Sequence[Draw]) -> dict[str, str]:
    bundle = privatizer.bundle
    sample: dict[str, Any] = {"kind": bundle.kind, "shape": bundle.sample_shape}
    if bundle.kind == "faces":
        sample["landmarks"] = TEMPLATE.tolist()
    if bundle.table is not None:
        sample["table"] = bundle.table.to_json()
    as_json = {
        "sample": sample,
        "attributes": bundle.attributes,
        "private": privatizer.private,
        "utility": privatizer.utility,
        "draws": {
            distribution: [[draw.purpose, draw.width] for draw in wanted if draw.distribution == distribution]
            for distribution in (NORMAL, UNIFORM)
        },
    }
    said = {name: json.dumps(value) for name, value in as_json.items()}
    said |= {"schema": str(SCHEMA), "version": privsdk.__version__, "licence": bundle.terms}
    said |= {"filter": privatizer.filter_digest, "bundle": bundle.digest}
    return {f"privsdk.{name}": value for name, value in sorted(said.items())}
