"""What is found out of a graph before it runs: what it holds at most, and everything for which it is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from make_bundle import LATENT_SIZE, PIXELS, SHAPE, decoder
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from privsdk import Bundle, BundleError, bundles, graphs
from privsdk.codec import BATCH

LATENTS: graphs.Signature = {"latents": ("float32", (LATENT_SIZE,))}
SAMPLES: graphs.Signature = {"samples": ("uint8", SHAPE)}
WEIGHTS = np.zeros((LATENT_SIZE, PIXELS), np.float32)


def graph_of(
    nodes: list[onnx.NodeProto], constants: dict[str, Any], given: tuple[int, ...], made: tuple[int, ...]
) -> bytes:
    """A graph of float32 ``x`` [N, *given] to float32 ``y`` [N, *made]."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *given])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *made])],
        initializer=[numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def check(graph: bytes, given: tuple[int, ...], made: tuple[int, ...]) -> int:
    return graphs.check("it.onnx", graph, {"x": ("float32", given)}, {"y": ("float32", made)})


def node(operator: str, *inputs: str, made: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [made], **attributes)


CONV = {"auto_pad": "NOTSET", "dilations": [1, 1], "group": 1, "kernel_shape": [3, 3], "strides": [2, 2]}
RESIZE = {
    "mode": "linear",
    "coordinate_transformation_mode": "half_pixel",
    "nearest_mode": "floor",
    "cubic_coeff_a": -0.75,
    "antialias": 0,
    "exclude_outside": 0,
    "extrapolation_value": 0.0,
    "keep_aspect_ratio_policy": "stretch",
}
KERNEL = np.zeros((5, 3, 3, 3), np.float32)
CASES: dict[str, tuple[list[onnx.NodeProto], dict[str, Any], tuple[int, ...], tuple[int, ...]]] = {
    "Relu": ([node("Relu", "x")], {}, (3,), (3,)),
    "Add": ([node("Add", "x", "b")], {"b": np.zeros((4, 1), np.float32)}, (1, 3), (4, 3)),
    "Conv": ([node("Conv", "x", "w", pads=[1, 0, 1, 2], **CONV)], {"w": KERNEL}, (3, 8, 9), (5, 4, 5)),
    "Conv in groups": (
        [node("Conv", "x", "w", pads=[0, 0, 0, 0], **(CONV | {"group": 3}))],
        {"w": KERNEL[:3, :1]},
        (3, 8, 9),
        (3, 3, 4),
    ),
    "ConvTranspose": (
        [node("ConvTranspose", "x", "w", pads=[1, 1, 1, 1], output_padding=[1, 0], **CONV)],
        {"w": KERNEL[:3]},
        (3, 4, 4),
        (3, 8, 7),
    ),
    "AveragePool": (
        [
            node(
                "AveragePool",
                "x",
                auto_pad="NOTSET",
                ceil_mode=0,
                count_include_pad=1,
                kernel_shape=[2, 2],
                pads=[0, 0, 0, 0],
                strides=[2, 2],
            )
        ],
        {},
        (3, 8, 9),
        (3, 4, 4),
    ),
    "Resize": (
        [node("Resize", "x", "", "scales", **RESIZE)],
        {"scales": np.array([1, 1, 2, 1.5], np.float32)},
        (2, 3, 5),
        (2, 6, 7),
    ),
    "Gemm": (
        [node("Gemm", "x", "w", "b", alpha=1.0, beta=1.0, transA=0, transB=1)],
        {"w": np.zeros((4, 3), np.float32), "b": np.zeros(4, np.float32)},
        (3,),
        (4,),
    ),
    "Concat": ([node("Concat", "x", "x", axis=-1)], {}, (2, 3), (2, 6)),
    "Flatten": ([node("Flatten", "x", axis=1)], {}, (2, 3), (6,)),
    "Transpose": ([node("Transpose", "x", perm=[0, 2, 1])], {}, (2, 3), (3, 2)),
    "Reshape": ([node("Reshape", "x", "to")], {"to": np.array([-1, 3, 0, 1])}, (3, 2), (3, 2, 1)),
    "Expand": (
        [node("Expand", "b", "to", made="e"), node("Add", "x", "e")],
        {"b": np.zeros(3, np.float32), "to": np.array([2, 1])},
        (2, 3),
        (2, 3),
    ),
    "what is computed of a shape": (
        [
            node("Shape", "x", made="s", start=0, end=1),
            node("Squeeze", "s", made="n"),
            node("Reshape", "n", "one", made="again", allowzero=0),
            node("Concat", "again", "six", made="to", axis=0),
            node("Reshape", "x", "to", allowzero=1),
        ],
        {"one": np.array([-1]), "six": np.array([6])},
        (2, 3),
        (6,),
    ),
    "parts": (
        [
            node("SplitToSequence", "x", "sizes", made="parts", axis=1),
            node("SequenceAt", "parts", "place", made="part"),
            node("ArgMax", "part", made="largest", axis=1, keepdims=1, select_last_index=0),
            node("Range", "zero", "four", "one", made="all"),
            node("Equal", "largest", "all", made="is"),
            node("Cast", "is", to=TensorProto.FLOAT),
        ],
        {"sizes": np.array([2, 4]), "place": np.array(1), "zero": np.array(0), "one": np.array(1), "four": np.array(4)},
        (6,),
        (4,),
    ),
    "halves": (
        [node("SplitToSequence", "x", "three", made="parts", axis=1), node("SequenceAt", "parts", "place")],
        {"three": np.array(3), "place": np.array(1)},
        (5,),
        (2,),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_shapes_are_those_that_onnx_runtime_gives(case: str) -> None:
    nodes, constants, given, made = CASES[case]
    graph = graph_of(nodes, constants, given, made)
    assert check(graph, given, made) >= 8 * BATCH * int(np.prod(made))
    found = onnxruntime.InferenceSession(graph).run(None, {"x": np.zeros((BATCH, *given), np.float32)})
    assert found[0].shape == (BATCH, *made)
    with pytest.raises(BundleError, match="something else than it declares"):
        check(graph_of(nodes, constants, given, (*made, 1)), given, (*made, 1))


@pytest.mark.parametrize("name", bundles())
def test_what_ships_passes_with_room(name: str, repository: Path) -> None:
    folder, bundle = repository / "models" / name, Bundle.open(name)
    samples: graphs.Signature = {"samples": ("uint8", bundle.sample_shape)}
    latent = ("float32", (bundle.latent_size,))
    encoder = (folder / "encoder.onnx").read_bytes()
    for held in (
        graphs.check("encoder.onnx", encoder, samples, {"mean": latent, "log_variance": latent}),
        graphs.check("decoder.onnx", (folder / "decoder.onnx").read_bytes(), {"latents": latent}, samples),
    ):
        assert 1e6 < held < graphs.MOST_MEMORY / 16


def test_it_counts_what_is_held_at_once() -> None:
    """Of a long chain two tensors at a time; of what is used at the end all; of constants all that there are."""
    size, most = 1000, 10
    chain = [node("Relu", f"x{i}" if i else "x", made=f"x{i + 1}" if i < most - 1 else "y") for i in range(most)]
    assert check(graph_of(chain, {}, (size,), (size,)), (size,), (size,)) == 2 * 8 * BATCH * size
    kept = [node("Relu", "x", made=f"x{i}") for i in range(most)] + [node("Max", *(f"x{i}" for i in range(most)))]
    assert check(graph_of(kept, {}, (size,), (size,)), (size,), (size,)) == (most + 1) * 8 * BATCH * size
    constants = [node("Expand", "zero", "many", made=f"c{i}") for i in range(most)]
    rest = [node("Gemm", "x", "c0", alpha=1.0, beta=1.0, transA=0, transB=0)]
    known = {"zero": np.zeros((1, 1), np.float32), "many": np.array([size, size])}
    held = check(graph_of(constants + rest, known, (size,), (size,)), (size,), (size,))
    assert held == 8 * (most * size**2 + 2 * BATCH * size + 3)


def test_the_limit_is_where_it_is_said_to_be() -> None:
    most = graphs.MOST_MEMORY // (2 * 8 * BATCH)
    check(graph_of([node("Relu", "x")], {}, (most,), (most,)), (most,), (most,))
    with pytest.raises(BundleError, match=r"it\.onnx .* takes more than 2147483648 bytes"):
        check(graph_of([node("Relu", "x")], {}, (most + 1,), (most + 1,)), (most + 1,), (most + 1,))


@pytest.mark.parametrize("group", [float("nan"), 1.5, 1.0, -1, b"1"])
def test_an_attribute_of_another_type_makes_no_size(group: object) -> None:
    nodes, constants, given, made = CASES["ConvTranspose"]
    odd = onnx.NodeProto.FromString(nodes[0].SerializeToString())
    next(each for each in odd.attribute if each.name == "group").CopyFrom(helper.make_attribute("group", group))
    with pytest.raises(BundleError, match=r"ConvTranspose cannot be followed"):
        check(graph_of([odd], constants, given, made), given, made)


SIZES = {"zero": np.zeros((), np.float32), "one": np.array([1]), "all": np.array([-1]), "six": np.array([6])}
OF_THE_SAMPLES = [node("Shape", "x", made="n", start=0, end=1)]


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([node("Expand", "zero", "n")], "as many as there are samples"),
        ([node("Transpose", "x", perm=[1, 0]), node("Shape", "y", made="z", start=1, end=2)], "no tensor of the shape"),
        ([node("Flatten", "x", axis=0)], "one row of all samples"),
        ([node("Concat", "x", "x", axis=0)], "parts do not fit"),
        ([node("Concat", "x", "rows", axis=0)], "parts do not fit"),
        ([node("Reshape", "x", "six")], "does not become"),
        ([node("Reshape", "x", "all"), node("Identity", "y", made="z")], "does not become"),
        ([node("Squeeze", "x")], "one sample alone"),
        ([node("SplitToSequence", "many", "n", made="p", axis=0)], "parts of nothing"),
        ([node("Squeeze", "n", made="m"), node("Range", "none", "m", "m", made="r")], "counts otherwise"),
        ([node("Range", "zero", "none", "zero", made="r")], "counts otherwise"),
        ([node("Resize", "rows", "", "n", **RESIZE)], "more samples or channels"),
        ([node("Cast", "n", made="c", to=TensorProto.UINT8), node("Expand", "zero", "c")], "not known beforehand"),
        ([node("Expand", "zero", "fraction")], "not known beforehand"),
        ([node("Reshape", "x", "measured")], "not known beforehand"),
        ([node("MatMul", "six", "x")], "unpack"),
        ([node("Gemm", "x", "x", alpha=1.0, beta=1.0, transA=1, transB=0)], "no tensor of the shape|are not"),
    ],
)
def test_no_size_depends_on_how_many_samples_there_are(nodes: list[onnx.NodeProto], said: str) -> None:
    """What 64 samples take would else not be the most."""
    constants = SIZES | {
        "rows": np.zeros((5, 6), np.float32),
        "many": np.zeros(65, np.float32),
        "none": np.array(0),
        "fraction": np.array([1.5], np.float32),
    }
    measured = [node("Cast", "x", made="measured", to=TensorProto.INT64)]
    with pytest.raises(BundleError, match=said):
        check(graph_of([*OF_THE_SAMPLES, *measured, *nodes], constants, (6,), (6,)), (6,), (6,))


def with_function(model: onnx.ModelProto) -> None:
    model.functions.append(
        helper.make_function("own", "Twice", ["a"], ["b"], [node("Add", "a", "a", made="b")], model.opset_import)
    )


def with_branch(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([node("Relu", "latents", made="r")], "branch", [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("then_branch", branch))


def outside(model: onnx.ModelProto) -> None:
    tensor = next(each for each in model.graph.initializer if each.name == "weights")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def sparse(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add(dims=[10**6, 10**6])


def attribute_twice(model: onnx.ModelProto) -> None:
    model.graph.node[-1].attribute.append(helper.make_attribute("to", TensorProto.FLOAT))


def unknown_attribute(model: onnx.ModelProto) -> None:
    model.graph.node[-1].attribute.append(helper.make_attribute("saturate", 1))


def with_reference(model: onnx.ModelProto) -> None:
    model.graph.node[-1].attribute[0].ref_attr_name = "to"


def without_kind(model: onnx.ModelProto) -> None:
    model.graph.node[-1].attribute[0].type = AttributeProto.GRAPH


CHANGES: list[tuple[Callable[[onnx.ModelProto], object], str]] = [
    (with_function, "Model holds what is not read"),
    (with_branch, "Attribute holds what is not read"),
    (outside, "Tensor holds what is not read"),
    (sparse, "Graph holds what is not read"),
    (lambda model: model.training_info.add(), "Model holds what is not read"),
    (lambda model: model.graph.value_info.add(name="centred"), "Graph holds what is not read"),
    (lambda model: setattr(model.graph.node[0], "domain", "com.microsoft"), "Node holds what is not read"),
    (lambda model: model.opset_import.add(domain="com.microsoft", version=1), "values to unpack"),
    (lambda model: setattr(model.opset_import[0], "domain", "ai.onnx.ml"), "operators of another set"),
    (lambda model: setattr(model.opset_import[0], "version", 10**9), "operators of another set"),
    (lambda model: setattr(model, "ir_version", 2), "another version of ONNX"),
    (lambda model: setattr(model.graph.node[0], "op_type", "Einsum"), "operator 'Einsum' is not known"),
    (attribute_twice, "two called 'to'"),
    (unknown_attribute, "unexpected keyword argument"),
    (with_reference, "Attribute holds what is not read"),
    (without_kind, "KeyError"),
    (lambda model: model.graph.node[0].input.append("latents"), "takes 2 positional arguments"),
    (lambda model: model.graph.node[0].output.append("more"), "values to unpack"),
    (lambda model: model.graph.node[1].output.__setitem__(0, "centred"), "two called 'centred'"),
    (lambda model: model.graph.node[0].output.__setitem__(0, "x" * 1000), "nobody can be called so"),
    (lambda model: model.graph.node[0].input.__setitem__(0, "samples"), "KeyError"),
    (lambda model: model.graph.node[0].input.__setitem__(0, ""), "AttributeError"),
    (lambda model: model.graph.initializer.append(model.graph.initializer[0]), "two called"),
    (lambda model: model.graph.initializer[0].dims.insert(0, 2**62), "not the numbers that its shape needs"),
    (lambda model: model.graph.initializer[0].dims.insert(0, -8), "no tensor of the shape"),
    (lambda model: model.graph.initializer[0].dims.extend([1] * 10), "no tensor of the shape"),
    (lambda model: setattr(model.graph.initializer[0], "data_type", TensorProto.STRING), "not the numbers"),
    (lambda model: model.graph.input.add(name="more"), "values to unpack"),
    (lambda model: model.graph.output.append(model.graph.output[0]), "two called 'samples'"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_what_no_exported_graph_has_is_refused(change: Callable[[onnx.ModelProto], object], said: str) -> None:
    model = decoder(WEIGHTS)
    graphs.check("decoder.onnx", model.SerializeToString(), LATENTS, SAMPLES)
    change(model)
    with pytest.raises(BundleError, match=rf"decoder\.onnx .*{said}"):
        graphs.check("decoder.onnx", model.SerializeToString(), LATENTS, SAMPLES)


def test_a_graph_that_others_would_read_as_two_in_one_is_refused() -> None:
    """Protobuf joins what is there twice; whoever takes the last sees another graph."""
    evil, good = decoder(WEIGHTS), decoder(WEIGHTS)
    del evil.opset_import[:]
    with pytest.raises(BundleError, match="too many values"):
        graphs.check("d.onnx", evil.SerializeToString() + good.SerializeToString(), LATENTS, SAMPLES)


def test_more_parts_than_a_graph_has_are_counted_before_they_are_read() -> None:
    many = decoder(WEIGHTS)
    many.graph.node.extend([onnx.NodeProto()] * 200_000)
    with pytest.raises(BundleError, match="more than 4096"):
        graphs.check("d.onnx", many.SerializeToString(), LATENTS, SAMPLES)
    with pytest.raises(BundleError, match="more than 67108864 bytes"):
        graphs.check("d.onnx", bytes(graphs.MOST_BYTES + 1), LATENTS, SAMPLES)


def test_every_flipped_bit_is_refused_or_changes_no_more_than_a_name_or_a_number() -> None:
    """No damage makes the check itself fail."""
    graph = decoder(np.zeros((LATENT_SIZE, PIXELS), np.float32)).SerializeToString()
    weights = graph.index(bytes(1000))
    rng = np.random.default_rng(0)
    for position in [*range(weights), *range(len(graph) - 400, len(graph))]:
        damaged = bytearray(graph)
        damaged[position] ^= 1 << int(rng.integers(8))
        try:
            assert graphs.check("d.onnx", bytes(damaged), LATENTS, SAMPLES) < graphs.MOST_MEMORY
        except BundleError:
            continue
