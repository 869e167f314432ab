"""Graphs that ask for all memory, for other files, for code or for no end: each is refused before a session is made.

    python -m tests.attacks.hostile_graphs FOLDER FAULT

opens every bundle in a folder, in a process of its own, so that its memory is known.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import privsdk
from privsdk import codec, graphs
from tests.attacks.trial import REPOSITORY, Attempt, Fault, Outcome, Trial
from tests.make_bundle import LATENT_SIZE, PIXELS, decoder, make_bundle, replace_file

MOST_SECONDS, MOST_MEGABYTES = 5.0, 1000
GOOD = "00 as it was"


def tried(attempt: Attempt) -> Outcome:
    rng = np.random.default_rng(attempt.seed)
    folder, tiny = attempt.folder / "bundles", make_bundle(attempt.folder / "tiny")
    for number, (name, make) in enumerate([("as it was", as_it_was), *HOSTILE[: attempt.size]]):
        place = shutil.copytree(tiny, folder / f"{number:02d} {name}")
        replace_file(place, "decoder.onnx", make(rng))
    command = [sys.executable, "-m", "tests.attacks.hostile_graphs", str(folder), attempt.fault or "none"]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**attempt.environment()},
        capture_output=True,
        text=True,
        timeout=120 + MOST_SECONDS * attempt.size,
    )
    if done.returncode:
        return Outcome(False, f"it ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    found = json.loads(done.stdout)
    good = found["opened"].pop(GOOD)
    opened = {name: Opened(**each) for name, each in found["opened"].items()}
    wrong = [f"{name}: {each.what}" for name, each in opened.items() if not each.refused or each.sessions]
    slowest = max(each.seconds for each in opened.values())
    sessions = sum(each.sessions for each in opened.values())
    seen = f"{len(opened) - len(wrong)} of {len(opened)} refused, {sessions} sessions begun; slowest {slowest:.2f} s"
    seen += f", {found['megabytes']} MB"
    bounded = slowest < MOST_SECONDS and found["megabytes"] < MOST_MEGABYTES
    works = good["sessions"] == 2
    said = [*wrong[:2], *([] if works else [f"a good graph is refused: {good['what']}"]), seen]
    return Outcome(not wrong and bounded and works, "; ".join(said).replace("|", "/"))


@dataclass(frozen=True)
class Opened:
    """What came of opening one bundle: a BundleError that names the graph, and how many sessions were begun."""

    refused: bool
    sessions: int
    seconds: float
    what: str


def opened_each(folder: Path) -> dict[str, Any]:
    sessions = 0
    whole = codec.session

    def counted(graph: bytes, threads: int = 1) -> Any:
        nonlocal sessions
        sessions += 1
        if path.name != GOOD:
            raise RuntimeError("a session was made of it")
        return whole(graph, threads)

    codec.session = counted
    found = {}
    for path in sorted(folder.iterdir()):
        sessions, began = 0, time.perf_counter()
        refused, what = False, "it was opened"
        try:
            privsdk.Bundle.open(path)
        except privsdk.BundleError as error:
            refused, what = str(error).startswith("decoder.onnx"), str(error)[:200]
        except Exception as error:  # noqa: BLE001 - whatever else it is, it is no refusal
            what = f"{type(error).__name__} {error}"[:200]
        found[path.name] = vars(Opened(refused, sessions, time.perf_counter() - began, what))
    unit = 1024 if sys.platform != "darwin" else 1
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 10**6
    return {"opened": found, "megabytes": megabytes}


# ------------------------------------------------------------------------------------------ the graphs


Make = Callable[[np.random.Generator], bytes]
HUGE = 10**10


def good() -> onnx.ModelProto:
    return decoder(np.zeros((LATENT_SIZE, PIXELS), np.float32))


def as_it_was(rng: np.random.Generator) -> bytes:
    return good().SerializeToString()


def changed(change: Callable[[onnx.ModelProto], object]) -> Make:
    """The tiny bundle's decoder, changed."""

    def make(rng: np.random.Generator) -> bytes:
        model = good()
        change(model)
        return model.SerializeToString()

    return make


def node(operator: str, *inputs: str, made: str = "huge", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [made], **attributes)


def before(*nodes: onnx.NodeProto, **constants: Any) -> Make:
    """The decoder with operators in front that make ``huge``; what is largest in it moves the latents."""
    reading = [
        node("Reshape", "huge", "row", made="in_a_row"),
        node("ArgMax", "in_a_row", made="where", axis=1, keepdims=1, select_last_index=0),
        node("Cast", "where", made="number", to=TensorProto.FLOAT),
        node("Add", "latents", "number", made="moved"),
    ]

    def change(model: onnx.ModelProto) -> None:
        known = {"row": np.array([1, -1]), "zero": np.zeros((), np.float32), "one": np.array(1), "none": np.array(0)}
        for name, value in (known | constants).items():
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        model.graph.node[0].input[0] = "moved"
        for each in reversed([*nodes, *reading]):
            model.graph.node.insert(0, each)

    return changed(change)


def sizes(*of: int) -> np.ndarray:
    return np.array(of, np.int64)


def floats(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


WINDOW: dict[str, Any] = {"auto_pad": "NOTSET", "dilations": [1, 1], "group": 1, "kernel_shape": [1, 1]}
UPWARDS: dict[str, Any] = {
    "mode": "nearest",
    "coordinate_transformation_mode": "asymmetric",
    "nearest_mode": "floor",
    "cubic_coeff_a": -0.75,
    "antialias": 0,
    "exclude_outside": 0,
    "extrapolation_value": 0.0,
    "keep_aspect_ratio_policy": "stretch",
}
CONV, TRANSPOSED = {"x": floats(1, 1, 8, 8), "w": floats(1, 1, 1, 1)}, {"output_padding": [0, 0], "pads": [0] * 4}
POOL: dict[str, Any] = {"auto_pad": "NOTSET", "ceil_mode": 0, "count_include_pad": 1, "strides": [1, 1]}


def doubled(times: int) -> list[onnx.NodeProto]:
    """Each beside itself, again and again: 2**times numbers."""
    names = ["small", *(f"double{number}" for number in range(1, times)), "huge"]
    return [node("Concat", a, a, made=b, axis=0) for a, b in zip(names, names[1:], strict=False)]


def along_eight_axes() -> list[onnx.NodeProto]:
    names = ["a0", *(f"sum{number}" for number in range(1, 7)), "huge"]
    return [node("Add", names[i], f"a{i + 1}", made=names[i + 1]) for i in range(7)]


def sides(axis: int) -> list[int]:
    return [40 if each == axis else 1 for each in range(8)]


def many_constants(count: int, length: int) -> list[onnx.NodeProto]:
    """None of them is too large alone, and what is computed while a graph is loaded is kept."""
    made = [node("Expand", "zero", "length", made=f"constant{number}") for number in range(count)]
    ends = [node("SplitToSequence", f"constant{i}", "cut", made=f"cut{i}", axis=0, keepdims=1) for i in range(count)]
    firsts = [node("SequenceAt", f"cut{i}", "none", made=f"first{i}") for i in range(count)]
    return [*made, *ends, *firsts, node("Concat", *(f"first{i}" for i in range(count)), axis=0)]


def many_at_once(count: int) -> list[onnx.NodeProto]:
    made = [node("Mul", "each_sample", "wide", made=f"made{number}") for number in range(count)]
    largest = node("Max", *(f"made{number}" for number in range(count)), made="all")
    return [
        node("Reshape", "latents", "each", made="each_sample"),
        *made,
        largest,
        node("ArgMax", "all", axis=2, keepdims=1, select_last_index=0),
    ]


def branch(body: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph([body], "body", [], [helper.make_tensor_value_info("c", TensorProto.FLOAT, [1])])


def nested(depth: int) -> onnx.NodeProto:
    nothing = inner = node("Constant", made="c", value=numpy_helper.from_array(floats(1)))
    for _ in range(depth):
        inner = node("If", "yes", made="c", then_branch=branch(inner), else_branch=branch(nothing))
    inner.output[0] = "huge"
    return inner


def loop(operator: str) -> Make:
    counted = node("Constant", made="again", value=numpy_helper.from_array(np.array(True)))
    body = helper.make_graph(
        [counted],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("again", TensorProto.BOOL, [])],
    )
    more = {"num_scan_inputs": 1} if operator == "Scan" else {}
    return before(node(operator, "times", "yes", body=body, **more), times=np.array(2**62), yes=np.array(True))


def with_function(model: onnx.ModelProto, calls: str) -> None:
    """A function of its own that calls another, or itself."""
    body = [helper.make_node(calls, ["a"], ["b"], domain="own" if calls == "Twice" else "")]
    model.functions.append(helper.make_function("own", "Twice", ["a"], ["b"], body, list(model.opset_import)))
    model.opset_import.append(helper.make_opsetid("own", 1))
    first = node("Twice", "latents", made="twice")
    first.domain = "own"
    model.graph.node[0].input[0] = "twice"
    model.graph.node.insert(0, first)


def outside(location: str, offset: int = 0) -> Make:
    def change(model: onnx.ModelProto) -> None:
        tensor = next(each for each in model.graph.initializer if each.name == "weights")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", str(offset)), ("length", str(4 * LATENT_SIZE * PIXELS))):
            tensor.external_data.add(key=key, value=value)

    return changed(change)


def of_first(field: str, value: object) -> Make:
    return changed(lambda model: setattr(model.graph.node[0], field, value))


def weights(change: Callable[[onnx.TensorProto], object]) -> Make:
    return changed(lambda model: change(next(each for each in model.graph.initializer if each.name == "weights")))


def torn(rng: np.random.Generator) -> bytes:
    whole = as_it_was(rng)
    return whole[: int(rng.integers(1, len(whole) - 1))]


def two_in_one(rng: np.random.Generator) -> bytes:
    """Protobuf joins both; whoever takes the last one sees the good one alone."""
    evil = good()
    del evil.opset_import[:]
    evil.graph.node[0].op_type = "Loop"
    return evil.SerializeToString() + as_it_was(rng)


def deep(rng: np.random.Generator) -> bytes:
    """Graphs in attributes of operators in graphs, which nobody's protobuf would write so deep."""
    inner = b""
    for number in ([6, 5, 1] * 3000)[:-1]:  # an attribute's graph, an operator's attribute, a graph's operator
        inner = field(number, inner)
    model = good()
    graph = model.graph.SerializeToString() + field(1, inner)
    model.ClearField("graph")
    return model.SerializeToString() + field(7, graph)


def field(number: int, content: bytes) -> bytes:
    """Bytes as a field of a protobuf message: its number, their length in sevens of bits, and they."""
    length, size = bytearray(), len(content)
    while size > 127:
        length.append(size % 128 | 128)
        size //= 128
    return bytes([number << 3 | 2, *length, size]) + content


def without_end(model: onnx.ModelProto) -> None:
    """The second operator wants what the first makes, and the first what the second does."""
    model.graph.node[0].input[0] = "flat"


def twice(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(floats(1), "latents"))


HOSTILE: list[tuple[str, Make]] = [
    # More memory than there is, out of nothing.
    ("ConstantOfShape", before(node("ConstantOfShape", "to"), to=sizes(HUGE))),
    ("Expand", before(node("Expand", "zero", "to"), to=sizes(HUGE))),
    ("Expand along many axes", before(node("Expand", "zero", "to"), to=sizes(*[100] * 8))),
    ("Expand of sizes that overflow", before(node("Expand", "zero", "to"), to=sizes(2**32, 2**32))),
    (
        "Expand to what is computed",
        before(node("Concat", "a", "a", made="to", axis=0), node("Expand", "zero", "to"), a=sizes(10**5)),
    ),
    ("Tile", before(node("Tile", "x", "to"), x=floats(10), to=sizes(HUGE))),
    ("Range", before(node("Range", "none", "end", "one"), end=np.array(HUGE))),
    (
        "Range by little",
        before(node("Range", "begin", "end", "by"), begin=np.float32(0), end=np.float32(1), by=np.float32(1e-10)),
    ),
    ("Range without end", before(node("Range", "none", "one", "none"))),
    (
        "Resize",
        before(node("Resize", "x", "", "s", **UPWARDS), x=floats(1, 1, 8, 8), s=np.array([1, 1, 1e4, 1e4], np.float32)),
    ),
    (
        "Resize to sizes",
        before(node("Resize", "x", "", "", "s", **UPWARDS), x=floats(1, 1, 8, 8), s=sizes(1, 1, 10**5, 10**5)),
    ),
    (
        "Resize by no number",
        before(
            node("Resize", "x", "", "s", **UPWARDS),
            x=floats(1, 1, 8, 8),
            s=np.array([1, 1, np.nan, np.inf], np.float32),
        ),
    ),
    ("Pad", before(node("Pad", "x", "p"), x=floats(1, 1), p=sizes(0, 0, 10**5, 10**5))),
    ("broadcast", before(node("Add", "a", "b"), a=floats(10**5, 1), b=floats(1, 10**5))),
    ("broadcast along eight axes", before(*along_eight_axes(), **{f"a{i}": floats(*sides(i)) for i in range(8)})),
    (
        "Reshape, then broadcast",
        before(node("Reshape", "a", "column", made="b"), node("Mul", "a", "b"), a=floats(10**5), column=sizes(-1, 1)),
    ),
    ("MatMul of a column and a row", before(node("MatMul", "a", "b"), a=floats(10**5, 1), b=floats(1, 10**5))),
    (
        "Gemm of a column and a row",
        before(node("Gemm", "a", "a", alpha=1.0, beta=1.0, transA=0, transB=1), a=floats(10**5, 1)),
    ),
    (
        "ConvTranspose with wide strides",
        before(node("ConvTranspose", "x", "w", strides=[10**5, 10**5], **TRANSPOSED, **WINDOW), **CONV),
    ),
    (
        "ConvTranspose with far windows",
        before(
            node(
                "ConvTranspose",
                "x",
                "w",
                strides=[1, 1],
                **TRANSPOSED,
                **(WINDOW | {"kernel_shape": [2, 2], "dilations": [10**5, 10**5]}),
            ),
            x=floats(1, 1, 8, 8),
            w=floats(1, 1, 2, 2),
        ),
    ),
    ("Conv with wide borders", before(node("Conv", "x", "w", strides=[1, 1], pads=[10**5] * 4, **WINDOW), **CONV)),
    (
        "Conv with borders taken away",
        before(node("Conv", "x", "w", strides=[1, 1], pads=[-(2**62)] * 4, **WINDOW), **CONV),
    ),
    ("Conv without steps", before(node("Conv", "x", "w", strides=[0, 0], pads=[0] * 4, **WINDOW), **CONV)),
    (
        "AveragePool with wide borders",
        before(node("AveragePool", "x", kernel_shape=[1, 1], pads=[10**5] * 4, **POOL), x=floats(1, 1, 8, 8)),
    ),
    ("doubled 40 times", before(*doubled(40), small=floats(1))),
    ("many constants", before(*many_constants(100, 10**7), length=sizes(10**7), cut=sizes(1, 10**7 - 1))),
    ("many at once", before(*many_at_once(12), each=sizes(-1, LATENT_SIZE, 1), wide=floats(1, 1, 60_000))),
    (
        "too many parts",
        before(
            node("Expand", "zero", "to", made="x"),
            node("SplitToSequence", "x", "one", made="p", axis=0, keepdims=1),
            node("SequenceAt", "p", "none"),
            to=sizes(10**8),
        ),
    ),
    ("OneHot", before(node("OneHot", "x", "d", "v"), x=sizes(0), d=np.array(HUGE), v=np.array([0.0, 1.0], np.float32))),
    ("EyeLike", before(node("Expand", "zero", "to", made="x"), node("EyeLike", "x"), to=sizes(10**5, 10**5))),
    ("RandomNormal", before(node("RandomNormal", shape=[10**5, 10**5]))),
    # As much as the samples say.
    (
        "as many as samples",
        before(
            node("Shape", "latents", made="n", start=0, end=1),
            node("Concat", "n", "n", "n", "n", "n", made="to", axis=0),
            node("Expand", "zero", "to"),
        ),
    ),
    (
        "as large as a number in a latent",
        before(
            node("Cast", "latents", made="to", to=TensorProto.INT64),
            node("Expand", "zero", "to"),
        ),
    ),
    (
        "as long as what is not zero",
        before(
            node("NonZero", "latents", made="places"),
            node("Shape", "places", made="to", start=0, end=2),
            node("Expand", "zero", "to"),
        ),
    ),
    (
        "another shape for one sample alone",
        before(
            node("Squeeze", "latents", made="s"),
            node("Shape", "s", made="n", start=0, end=1),
            node("Concat", *["n"] * 8, made="to", axis=0),
            node("Expand", "zero", "to"),
        ),
    ),
    # Code that runs other code.
    ("Loop", loop("Loop")),
    ("Scan", loop("Scan")),
    ("If", before(nested(1), yes=np.array(True))),
    ("If in If in If", before(nested(30), yes=np.array(True))),
    ("a function", changed(lambda model: with_function(model, "Neg"))),
    ("a function that calls itself", changed(lambda model: with_function(model, "Twice"))),
    ("an operator of ONNX Runtime's own", of_first("domain", "com.microsoft")),
    (
        "an operator of machine learning",
        changed(
            lambda model: (
                setattr(model.graph.node[0], "domain", "ai.onnx.ml"),
                model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3)),
            )
        ),
    ),
    ("an operator that nobody knows", of_first("op_type", "../../bin/sh")),
    ("an operator of a set to come", changed(lambda model: setattr(model.opset_import[0], "version", 2**62))),
    ("steps of a training", changed(lambda model: model.training_info.add())),
    # Other files.
    ("weights in a file", outside("weights.bin")),
    ("weights in a file outside", outside("../../../../etc/passwd")),
    ("weights in the memory of this process", outside("/proc/self/mem", 2**40)),
    # What is no graph, or two.
    ("sparse weights", changed(lambda model: model.graph.sparse_initializer.add(dims=[2**40, 2**40]))),
    ("weights without numbers", weights(lambda tensor: tensor.ClearField("raw_data"))),
    ("weights of 2**62 rows", weights(lambda tensor: tensor.dims.__setitem__(0, 2**62))),
    ("weights of less than nothing", weights(lambda tensor: tensor.dims.__setitem__(0, -LATENT_SIZE))),
    ("weights of text", weights(lambda tensor: setattr(tensor, "data_type", TensorProto.STRING))),
    ("a name that is taken", changed(twice)),
    ("no beginning", changed(without_end)),
    ("200,000 operators", changed(lambda model: model.graph.node.extend([onnx.NodeProto()] * 200_000))),
    ("graphs in graphs in graphs", deep),
    ("torn", torn),
    ("two in one", two_in_one),
]


# ----------------------------------------------------------------------------------------- what could go wrong


def plant_any_operator() -> None:
    class Anything(dict[str, Any]):
        def __contains__(self, name: object) -> bool:
            return True

        def __missing__(self, name: str) -> Any:
            return lambda *inputs, **attributes: graphs.Value(inputs[0].shape if inputs else ())

    graphs.OPERATORS = Anything(graphs.OPERATORS)


def plant_any_field() -> None:
    """What is not known is passed over, as protobuf itself does; a tensor without numbers has them elsewhere."""

    def read(kind: str, data: bytes) -> Any:
        return graphs._kinds()[kind].FromString(data)

    checked = graphs._constant
    graphs._read = read
    graphs._constant = lambda tensor: checked(tensor) if tensor.content else graphs.Value(tuple(tensor.shape))


def plant_no_sum() -> None:
    graphs.MOST_MEMORY = sys.maxsize


def plant_no_check() -> None:
    graphs.check = lambda *of: 0


FAULTS = (
    Fault("every operator is taken for one that changes no shape", plant_any_operator),
    Fault("weights may lie in other files, and what is not known is passed over", plant_any_field),
    Fault("nobody adds up what a graph holds", plant_no_sum),
    Fault("graphs go to ONNX Runtime unseen", plant_no_check),
)

TRIAL = Trial(
    name="hostile-graphs",
    tries="huge allocation, unknown operators, external data, loops, custom domains, functions, torn and deep protobuf",
    must="all refused before running",
    size=len(HOSTILE),
    part=len(HOSTILE),
    enough=len(HOSTILE),
    run=tried,
    faults=FAULTS,
)


if __name__ == "__main__":
    for fault in FAULTS:
        if fault.name == sys.argv[2]:
            fault.plant()
    sys.stdout.write(json.dumps(opened_each(Path(sys.argv[1]))))
