"""Encoder and decoder to ONNX graphs that take and give stored samples, with the weights as float16.

The encoder takes ``samples``, uint8 [N, *shape], and gives ``mean`` and ``log_variance``, float32 [N, Z]; the decoder
takes ``latents``, float32 [N, Z], and gives ``samples``, uint8 [N, *shape].  Scaling, rounding and clamping are inside
the graphs, so a host cannot get them wrong.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from privsdk.errors import BundleError
from privsdk.runtime import session

OPSET = 18


class Autoencoder(Protocol):
    """What becomes two graphs: a VAE that knows its samples, uint8 [N, *sample_shape].

    ``to_input`` turns them into what the encoder takes, ``to_samples`` what the decoder gives into them.
    """

    sample_shape: tuple[int, ...]
    encoder: Any
    decoder: Any
    heads: Any

    def to_input(self, samples: Tensor) -> Tensor: ...
    def to_samples(self, decoded: Tensor) -> Tensor: ...


Network = TypeVar("Network", bound=nn.Module)


class EncoderGraph(nn.Module):
    """Stored samples to posterior mean and log-variance."""

    def __init__(self, vae: Autoencoder) -> None:
        super().__init__()
        self.encoder = vae.encoder
        self.to_input = vae.to_input

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        return self.encoder(self.to_input(samples))


class DecoderGraph(nn.Module):
    """Latents to stored samples."""

    def __init__(self, vae: Autoencoder) -> None:
        super().__init__()
        self.decoder = vae.decoder
        self.to_samples = vae.to_samples

    def forward(self, latents: Tensor) -> Tensor:
        return self.to_samples(self.decoder(latents))


def as_exported(vae: Network) -> Network:
    """A copy in evaluation mode whose weights are rounded to float16 as the graphs carry them.

    Variances of batch norms stay as they are: the smallest would vanish in float16.
    """
    rounded = copy.deepcopy(vae).cpu().eval().to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        for parameter in rounded.parameters():
            parameter.copy_(parameter.half().float())
        for name, buffer in rounded.named_buffers():
            if buffer.is_floating_point() and "running_var" not in name:
                buffer.copy_(buffer.half().float())
    return rounded


def encoder_graph(vae: Autoencoder) -> bytes:
    """The encoder of :func:`as_exported` as an ONNX file."""
    example = torch.zeros(2, *vae.sample_shape, dtype=torch.uint8)
    return graph(EncoderGraph(vae), example, "samples", ["mean", "log_variance"])


def decoder_graph(vae: Autoencoder) -> bytes:
    """The decoder of :func:`as_exported` as an ONNX file."""
    example = torch.zeros(2, vae.heads.in_features)
    return graph(DecoderGraph(vae), example, "latents", ["samples"])


def differences(vae: Autoencoder, graphs: dict[str, bytes], samples: np.ndarray) -> dict[str, float]:
    """The largest difference between graphs and torch for uint8 [N, *shape], at batch 1, 7 and 256.

    Of means and log-variances, and of decoded pixels in grey levels; raises BundleError beyond 1e-4 and 1.
    """
    encoder, decoder = session(graphs["encoder.onnx"], threads=2), session(graphs["decoder.onnx"], threads=2)
    in_latents, in_pixels = 0.0, 0
    for batch in (1, 7, 256):
        for begin in range(0, len(samples), batch):
            rows = samples[begin : begin + batch]
            got_mean, got_log_variance = encoder.run(["mean", "log_variance"], {"samples": rows})
            with torch.no_grad():
                mean, log_variance = EncoderGraph(vae)(torch.from_numpy(rows))
                decoded = DecoderGraph(vae)(mean).numpy()
            in_latents = max(
                in_latents,
                float(np.abs(got_mean - mean.numpy()).max()),
                float(np.abs(got_log_variance - log_variance.numpy()).max()),
            )
            (got_decoded,) = decoder.run(["samples"], {"latents": mean.numpy()})
            in_pixels = max(in_pixels, int(np.abs(got_decoded.astype(int) - decoded).max()))
    if in_latents > 1e-4 or in_pixels > 1:
        raise BundleError(
            f"the graphs differ from torch by {in_latents:.2g} in a latent and {in_pixels} grey levels in a pixel; "
            "1e-4 and 1 are allowed: compare the versions of torch, onnx and onnxruntime with the pinned ones"
        )
    return {
        "largest latent difference from torch": in_latents,
        "largest pixel difference from torch": in_pixels,
    }


def graph(module: nn.Module, example: Tensor, input_name: str, output_names: list[str]) -> bytes:
    """Any module with one input as an ONNX file with a dynamic first dimension and float16 weights."""
    if hasattr(torch.ops.aten, input_name):
        # An input named like an aten operator gives a graph that ONNX Runtime rejects.
        raise ValueError(f"{input_name!r} is the name of an aten operator; name the input otherwise")
    model = exported(module.eval(), (example,), [input_name], output_names, ({0: torch.export.Dim("batch")},))
    store_as_float16(model)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def exported(
    module: nn.Module,
    examples: tuple[Tensor, ...],
    input_names: Sequence[str],
    output_names: Sequence[str],
    dynamic_shapes: tuple[dict[int, Any], ...],
) -> onnx.ModelProto:
    """A module as torch exports it, without what tells of the machine; raises BundleError where torch gives nothing."""
    program = torch.onnx.export(
        module,
        examples,
        input_names=input_names,
        output_names=output_names,
        dynamic_shapes=dynamic_shapes,
        opset_version=OPSET,
        dynamo=True,
        # With optimize=True the exporter drops an added epsilon of 1e-8 or less, and 0/0 follows.
        optimize=False,
        verbose=False,
    )
    if program is None:
        raise BundleError("torch exported no graph; use the versions of torch and onnxscript in constraints.txt")
    model = program.model_proto
    strip(model)
    return model


def store_as_float16(model: onnx.ModelProto) -> None:
    """Store each float32 weight that float16 holds exactly as float16, cast back when the graph is loaded."""
    casts = []
    for initializer in model.graph.initializer:
        if initializer.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(initializer)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if values.size < 64 or not np.array_equal(half.astype(np.float32), values):
            continue
        name = initializer.name
        initializer.CopyFrom(numpy_helper.from_array(half, f"{name}_float16"))
        casts.append(helper.make_node("Cast", [f"{name}_float16"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def strip(model: onnx.ModelProto) -> None:
    """Take out what the exporter notes about the machine it ran on (paths, stack traces, metadata)."""
    model.doc_string = ""
    model.graph.doc_string = ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in [*model.graph.input, *model.graph.output]:
        del value.metadata_props[:]
    for function in model.functions:
        function.doc_string = ""
