"""The encoder in whole numbers: nearly the same latents, in a bundle that devices open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from export.int8 import write_int8
from privsdk import Bundle, BundleError
from tests.attacks.faces import BUNDLE

pytestmark = pytest.mark.filterwarnings("ignore")  # ONNX Runtime's quantizer has some of its own


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plain = Bundle.open(BUNDLE)
    target = tmp_path_factory.mktemp("int8") / "faces-int8"
    write_int8(BUNDLE, plain.decode(plain.public.mean[:64]), target)
    return target


def test_latents_are_nearly_the_same(folder: Path) -> None:
    plain, whole = Bundle.open(BUNDLE), Bundle.open(folder)
    whole.verify()
    assert (whole.attributes, whole.gaps, whole.name) == (plain.attributes, plain.gaps, "faces-int8")
    samples = plain.decode(plain.public.mean[1000:1200])
    apart = whole.encode(samples).mean - plain.encode(samples).mean
    assert 0 < np.sqrt(np.square(apart).mean()) < 0.05
    scores = [bundle.scores.scores(bundle.encode(samples).mean) for bundle in (plain, whole)]
    assert ((scores[0] > 0) == (scores[1] > 0)).mean() > 0.98


def test_it_computes_in_whole_numbers(folder: Path) -> None:
    model = onnx.load(folder / "encoder.onnx")
    integers = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert len(integers) >= 10
    assert {each.domain for each in model.opset_import} == {""}


def test_a_scale_that_does_not_fit_is_refused(folder: Path) -> None:
    bundle = Bundle.open(folder)
    model = onnx.load_from_string(bundle.codec.encoder)
    scales = next(
        one for one in model.graph.initializer if one.name.endswith("_scale") and one.dims and one.dims[0] > 1
    )
    scales.CopyFrom(onnx.numpy_helper.from_array(np.ones(7, np.float32), scales.name))
    with pytest.raises(BundleError, match="do not fit|cannot be followed"):
        type(bundle.codec)(model.SerializeToString(), bundle.codec.decoder, bundle.sample_shape, bundle.latent_size)
