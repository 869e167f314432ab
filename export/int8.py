"""An encoder that computes in whole numbers: statically quantized, calibrated on real images.

Activations are uint8 and weights int8, a scale for each output channel.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from export.pack import check_replaceable, replace_encoder
from privsdk import Bundle

BATCH = 32
CALIBRATION = 1024
"""Samples, evenly from all: the range of an activation hardly grows with more."""


class Samples(CalibrationDataReader):  # type: ignore[misc]
    """Batches of samples, uint8 [N, *shape], as ONNX Runtime asks for them."""

    def __init__(self, samples: NDArray[np.uint8]) -> None:
        self._batches: Iterator[NDArray[np.uint8]] = (
            samples[start : start + BATCH] for start in range(0, len(samples), BATCH)
        )

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next batch by the name of the input; None behind the last."""
        batch = next(self._batches, None)
        return None if batch is None else {"samples": batch}


def quantized(encoder: bytes, samples: NDArray[np.uint8]) -> bytes:
    """The encoder in whole numbers, calibrated on ``samples``, uint8 [N, *shape]."""
    chosen = samples[np.linspace(0, len(samples) - 1, min(CALIBRATION, len(samples))).astype(np.int64)]
    with TemporaryDirectory() as folder:
        plain, whole = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        # Weights have to stand in the graph as float32, and every shape be told: here they are float16 behind a cast.
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(plain)
        onnxruntime.InferenceSession(encoder, options, providers=["CPUExecutionProvider"])
        onnx.save(onnx.shape_inference.infer_shapes(onnx.load(plain)), plain)
        kinds = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True}
        quantize_static(plain, whole, Samples(chosen), quant_format=QuantFormat.QDQ, **kinds)
        model = onnx.load(whole)
    # What is not for whoever runs it: names of tools, and shapes of the inside.
    del model.graph.value_info[:], model.metadata_props[:]
    for node in model.graph.node:
        node.ClearField("name")
        kept_attributes = [each for each in node.attribute if each.name != "training_mode"]  # it is off anyway
        del node.attribute[:]
        node.attribute.extend(kept_attributes)
    for tensor in model.graph.initializer:  # their numbers as bytes, as a device reads them
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    kept = [each for each in model.opset_import if each.domain == ""]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def write_int8(bundle: Path, samples: NDArray[np.uint8], target: Path) -> None:
    """A copy of ``bundle`` with its encoder in whole numbers, calibrated on ``samples``.

    It has a digest of its own: privatizers of the one do not fit the other.  Raises UsageError where there is something
    in place of ``target`` that is no bundle.
    """
    check_replaceable(target)
    opened = Bundle.open(bundle)
    replace_encoder(bundle, opened.manifest, quantized(opened.codec.encoder, samples), target)
