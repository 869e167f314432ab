"""Training without torch: a step by ONNX Runtime is a step by torch, and so is what is fitted with many of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

import privsdk
from export import steps
from privsdk import Bundle, MissingExtraError, UsageError, runtime
from privsdk.fitting import engines
from privsdk.fitting.check import judge
from privsdk.fitting.engines import by_onnx
from privsdk.fitting.engines.by_onnx import WEIGHTS, OnnxEngine, Training
from privsdk.fitting.engines.by_torch import TorchEngine
from privsdk.fitting.engines.engine import FOR_CLASSES, PLAIN, Network, Size
from privsdk.fitting.flows import CouplingFlow, FlowTraining

Floats = NDArray[np.float32]


class Apart(NamedTuple):
    """The largest differences after some steps of both: of a mean gradient, of a weight, and of a loss, as a share."""

    gradient: float
    weight: float
    loss: float


def couplings(size: Size, dimensions: int, context: int, width: int, steps: int) -> Apart:
    rng = np.random.default_rng([dimensions, context])
    flow = CouplingFlow(dimensions, size.couplings, width, context, seed=1)
    with torch.no_grad():
        flow.weight_3.normal_(0, 0.05)  # at first all of it is zero, and most gradients with it
    weights = {name: value.detach().numpy().copy() for name, value in flow.named_parameters()}
    by_torch = FlowTraining(flow, size.schedule)
    trained = Training(f"couplings_{size.couplings}", weights, ("first", "second", "average"))
    losses = []
    for step in range(steps):
        x, about = (rng.standard_normal((64, columns), np.float32) for columns in (dimensions, context))
        kept = np.asarray(size.schedule.kept(step + 1), np.float32)
        batch = {"x": x, "context": about, "rotation": flow.rotation.numpy(), "kept": kept}
        loss = by_torch.take(torch.from_numpy(x), torch.from_numpy(about))
        losses.append(abs(trained.take(size.schedule.rate(step), **batch) - loss) / (1 + abs(loss)))
    gradients = {name: by_torch.state()["optimizer"]["state"][number] for number, name in enumerate(weights)}
    averaged = {name: value.numpy() for name, value in by_torch.averaged.named_parameters()}
    return Apart(
        apart({name: state["exp_avg"].numpy() for name, state in gradients.items()}, trained.weights("first")),
        apart(averaged, trained.weights("average")),
        max(losses),
    )


def classifier(dimensions: int, classes: int, width: int, rows: int, steps: int) -> Apart:
    rng = np.random.default_rng([dimensions, classes])
    shapes = [(dimensions, width), (width,), (width, width), (width,), (width, classes), (classes,)]
    weights = {name: 0.3 * rng.standard_normal(shape, np.float32) for name, shape in zip(WEIGHTS, shapes, strict=True)}
    tensors = {name: torch.from_numpy(value.copy()).requires_grad_() for name, value in weights.items()}
    optimizer = torch.optim.AdamW(tensors.values(), lr=Network().learning_rate, weight_decay=Network().weight_decay)
    trained = Training("classifier", weights, ("first", "second"))
    losses = []
    for _ in range(steps):
        z, labels = rng.standard_normal((rows, dimensions), np.float32), rng.integers(0, classes, rows)
        hidden = nn.functional.elu(torch.from_numpy(z) @ tensors["weight_1"] + tensors["bias_1"])
        hidden = nn.functional.elu(hidden @ tensors["weight_2"] + tensors["bias_2"])
        said = hidden @ tensors["weight_3"] + tensors["bias_3"]
        loss = nn.functional.cross_entropy(said, torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        targets = np.eye(classes, dtype=np.float32)[labels]
        losses.append(abs(trained.take(Network().learning_rate, z=z, targets=targets) - float(loss.detach())))
    return Apart(
        apart(
            {name: optimizer.state[one]["exp_avg"].numpy() for name, one in tensors.items()}, trained.weights("first")
        ),
        apart({name: value.detach().numpy() for name, value in tensors.items()}, trained.weights()),
        max(losses),
    )


def apart(one: Mapping[str, Floats], other: Mapping[str, Floats]) -> float:
    return max(float(np.abs(one[name] - other[name]).max()) for name in WEIGHTS)


@pytest.mark.parametrize(("dimensions", "context", "width"), [(50, 2, 32), (14, 3, 32), (9, 11, 64), (31, 1, 8)])
@pytest.mark.parametrize("size", [PLAIN, FOR_CLASSES])
def test_a_step_of_couplings_is_that_of_torch_whatever_the_sizes(
    size: Size, dimensions: int, context: int, width: int
) -> None:
    assert couplings(size, dimensions, context, width, 1).gradient < 1e-6
    many = couplings(size, dimensions, context, width, 25)
    # Of a gradient that is nearly nothing AdamW makes as much as of a large one, and so of its last bit.
    assert many.weight < 1e-3
    assert many.loss < 1e-4


@pytest.mark.parametrize(("dimensions", "classes", "rows"), [(50, 2, 256), (14, 3, 77), (10, 10, 256), (3, 2, 1)])
def test_a_step_of_an_attacker_is_that_of_torch_whatever_the_sizes(dimensions: int, classes: int, rows: int) -> None:
    assert classifier(dimensions, classes, 64, rows, 1).gradient < 1e-6
    many = classifier(dimensions, classes, 64, rows, 25)
    assert many.weight < 1e-3
    assert many.loss < 1e-4


@pytest.mark.parametrize("name", ["classifier", f"couplings_{PLAIN.couplings}"])
def test_one_changed_number_in_a_step_shows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = by_onnx.graph(name)
    changed = onnx.load_from_string(whole)
    share = next(tensor for tensor in constants(changed) if np.allclose(numpy_helper.to_array(tensor), 0.1))
    share.CopyFrom(numpy_helper.from_array(np.asarray(0.11, np.float32), share.name))
    monkeypatch.setattr(by_onnx, "_step", lambda _: runtime.session(changed.SerializeToString()))
    found = classifier(50, 2, 64, 256, 1) if name == "classifier" else couplings(PLAIN, 50, 2, 32, 1)
    assert found.gradient > 1e-5


@pytest.mark.slow
def test_the_steps_that_ship_are_those_that_export_makes(tmp_path: Path) -> None:
    for path in steps.write(tmp_path):
        assert path.read_bytes() == by_onnx.graph(path.stem), path.stem


def constants(model: onnx.ModelProto) -> list[Any]:
    """All numbers that stand in a graph."""
    of_nodes = [
        attribute.t
        for node in model.graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.HasField("t")
    ]
    return [tensor for tensor in (*of_nodes, *model.graph.initializer) if tensor.data_type == onnx.TensorProto.FLOAT]


def test_attackers_find_what_torchs_find() -> None:
    bundle = Bundle.open("faces")
    public = bundle.public
    labels = public.labels[:4000, bundle.attributes.index("Male")].astype(np.int64)
    by_torch, by_ort = TorchEngine().attackers(0), OnnxEngine().attackers(0)
    assert by_torch.keys() == by_ort.keys()
    for name in by_torch:
        expected, found = (judge(one[name], public.mean[:4000], labels).leakage for one in (by_torch, by_ort))
        assert abs(found - expected) < 0.02, name


def test_the_same_seed_fits_the_same_filter() -> None:
    bundle = Bundle.open("adult")
    one, again, other = (privsdk.fit(bundle, "sex", "income", engine="onnx", seed=seed) for seed in (0, 0, 1))
    assert one.filter_digest == again.filter_digest != other.filter_digest
    assert one.method == "flow"
    assert one.record["settings"]["engine"] == "onnx"


def test_what_no_engine_can_do_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open("adult")
    with pytest.raises(UsageError, match="no engine 'another'"):
        privsdk.fit(bundle, "sex", "income", engine="another")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="trained by torch alone"):
        privsdk.fit(bundle, "sex", "income", method="minmax", budget=3.0, engine="onnx")
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert engines.resolved("auto", "flow") == "onnx"
    with pytest.raises(MissingExtraError, match="engine='torch' needs torch"):
        privsdk.fit(bundle, "sex", "income", engine="torch")
