"""What an ONNX graph would do, found out before anything runs it: operators that are known, memory that is bounded.

Of ONNX's messages only the fields that an exported encoder or decoder has are known here.  Whatever else a graph holds
(subgraphs, functions, weights in other files, sparse ones, steps of a training) is left over, and refused.  Then every
operator is followed with shapes alone, and what is held at once is added up.  Each size is a constant or the number of
samples, so that what 64 samples take is the most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import BundleError
from privsdk.runtime import MOST_MEMORY

Shape = tuple[int, ...]
Signature = Mapping[str, tuple[str, Shape]]
"""Inputs or outputs by name: the type of their numbers, and the shape that each sample has."""

BATCH = 64
"""Samples that a graph is run with at most."""
ROWS = -1
"""In a shape, the number of samples; never but as its first size."""

VERSIONS, OPERATOR_SETS = range(8, 11), (17, 18)
MOST_BYTES = 64 << 20
"""Of a graph's file; the largest that ships has 3 million."""
MOST_PARTS = 4096
"""Operators, or weights, of a graph; the paper's own encoder has 894 and 383."""
MOST_INPUTS = 512
"""Of one operator: as many columns as a table may have."""
MOST_SIZES = 8
MOST_KNOWN = 1024
"""Numbers that are followed, of a tensor that holds sizes and the like."""
MOST_CHARACTERS = 256
BYTES_EACH = 8
"""What each number counts: the widest type takes as much, float32 half of it."""

TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 9: "bool", 10: "float16"}

# Of each message its fields, by number: protobuf's type, with a star where there may be several, and what it is called
# here.  Messages within messages are bytes, so that they are counted before any of them is read; of one that is there
# twice others might make one, so that all of these have a star.
MESSAGES: dict[str, dict[int, str]] = {
    "Model": {
        1: "int64 version",
        2: "string producer",
        3: "string producer_version",
        6: "string about",
        7: "bytes* graph",
        8: "bytes* operator_sets",
    },
    "OperatorSet": {1: "string domain", 2: "int64 version"},
    "Graph": {
        1: "bytes* nodes",
        2: "string name",
        5: "bytes* weights",
        10: "string about",
        11: "bytes* inputs",
        12: "bytes* outputs",
    },
    "Node": {
        1: "string* inputs",
        2: "string* outputs",
        3: "string name",
        4: "string operator",
        5: "bytes* attributes",
        6: "string about",
    },
    "Attribute": {
        1: "string name",
        2: "float number",
        3: "int64 integer",
        4: "bytes text",
        5: "bytes* tensor",
        7: "float* numbers",
        8: "int64* integers",
        20: "int32 kind",
    },
    "Tensor": {1: "int64* shape", 2: "int32 type", 8: "string name", 9: "bytes content"},
    "Declared": {1: "string name", 2: "bytes* type"},
    "Type": {1: "bytes* tensor"},
    "TensorType": {1: "int32 type", 2: "bytes* shape"},
    "Shape": {1: "bytes* sizes"},
    "Size": {1: "int64 size", 2: "string name"},
}
HOLDS = {1: "number", 2: "integer", 3: "text", 4: "tensor", 6: "numbers", 7: "integers"}
"""For each kind of attribute the field that holds it."""


@dataclass(frozen=True)
class Value:
    """A tensor within a graph: its shape, and its numbers where they follow from constants and shapes alone."""

    shape: Shape
    numbers: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        sizes = self.shape[1:] if self.shape[:1] == (ROWS,) else self.shape
        # An attribute of another type than it should be would make a size that is no whole number.
        if len(self.shape) > MOST_SIZES or any(not isinstance(size, int) or size < 1 for size in sizes):
            raise ValueError(f"there is no tensor of the shape {list(self.shape[: MOST_SIZES + 1])}")

    @property
    def count(self) -> int:
        return math.prod(BATCH if size == ROWS else size for size in self.shape)

    @property
    def integers(self) -> list[int]:
        """Its numbers, where they are known and whole: sizes, or a place."""
        if self.numbers is None or self.numbers.dtype.kind not in "iu":
            raise ValueError("a size or a place is not known beforehand")
        return [int(number) for number in self.numbers.reshape(-1)]


Given = Value | tuple[Value, ...]
"""What an operator makes: a tensor, or a sequence of them."""


def check(name: str, graph: bytes, inputs: Signature, outputs: Signature) -> int:
    """The bytes that the graph in the file ``name`` holds at once, at most, while it computes with 64 samples.

    That is in the order in which its operators stand; in another, ``runtime`` stops it at the same limit.  Raises
    BundleError where it has other inputs or outputs, cannot be followed, or takes more than ``runtime.MOST_MEMORY``.
    """
    try:
        if len(graph) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES} bytes")
        parsed = _read("Graph", _graph_of(graph))
        declared = {side: _declared(each) for side, each in (("input", parsed.inputs), ("output", parsed.outputs))}
    except ValueError as error:
        raise BundleError(f"{name} is no graph that can be run here ({error}): get the bundle again") from error
    for side, expected in (("input", inputs), ("output", outputs)):
        found = {each: (type_, shape[1:]) for each, (type_, shape) in declared[side].items()}
        fixed = [each for each, (_, shape) in declared[side].items() if shape[:1] != (ROWS,)]
        if found != expected:
            raise BundleError(f"{name} has the {side}s {found}, not {dict(expected)}: export it again")
        if fixed:
            raise BundleError(f"{name} fixes the batch size of {fixed[0]}: export it with a dynamic one")
    try:
        return _followed(parsed, inputs, outputs)
    except ValueError as error:
        raise BundleError(f"{name} is no graph that can be run here ({error}): get the bundle again") from error


def _graph_of(model: bytes) -> bytes:
    parsed = _read("Model", model)
    operators = _read("OperatorSet", _only(parsed.operator_sets))
    if parsed.version not in VERSIONS or operators.domain or operators.version not in OPERATOR_SETS:
        raise ValueError("it is of another version of ONNX, or has operators of another set")
    return _only(parsed.graph)


def _declared(values: Sequence[bytes]) -> dict[str, tuple[str, Shape]]:
    """Type and shape of each input or output, by name; a size that is no number is ROWS."""
    declared: dict[str, tuple[str, Shape]] = {}
    for value in (_read("Declared", each) for each in _few(values)):
        tensor = _read("TensorType", _only(_read("Type", _only(value.type)).tensor))
        sizes = [_read("Size", each) for each in _few(_read("Shape", _only(tensor.shape)).sizes)]
        shape = tuple(each.size if each.HasField("size") else ROWS for each in sizes)
        declared[_known_name(value.name, declared)] = TYPES.get(tensor.type, "another type"), shape
    return declared


def _followed(graph: Any, inputs: Signature, outputs: Signature) -> int:
    """The most bytes that are held at once."""
    values: dict[str, Given] = {}
    held = most = 0
    nodes = [_read("Node", node) for node in _few(graph.nodes)]
    last_use = {name: place for place, node in enumerate(nodes) for name in _few(node.inputs, MOST_INPUTS)}
    passing: set[str] = set()
    """What is of the samples; the rest may be computed while the graph is loaded, and is kept."""

    def hold(name: str, value: Given, beside: int = 0) -> None:
        nonlocal held, most
        values[_known_name(name, values)] = value
        held += _bytes(value)
        most = max(most, held + beside)
        if most > MOST_MEMORY:
            raise ValueError(f"it takes more than {MOST_MEMORY} bytes of memory, at {name}")

    for name, (_, shape) in inputs.items():
        hold(name, Value((ROWS, *shape)))
        passing.add(name)
    for tensor in _few(graph.weights):
        weights = _read("Tensor", tensor)
        hold(weights.name, _constant(weights))
    for place, node in enumerate(nodes):
        if node.operator not in OPERATORS:
            raise ValueError(f"the operator {node.operator[:MOST_CHARACTERS]!r} is not known here")
        try:
            (name,) = node.outputs
            given = [values[each] if each else None for each in node.inputs]
            made = OPERATORS[node.operator](*given, **_attributes(node))
            beside = _beside(node.operator, given, made)
        # What does not fit the operator: too few inputs, an attribute that it does not have, a size of another kind.
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
            raise ValueError(f"{node.operator} cannot be followed, {type(error).__name__}: {error}") from error
        hold(name, made, beside)
        if passing.intersection(node.inputs):
            passing.add(name)
        for done in {name, *node.inputs}:
            if done in passing and done not in outputs and last_use.get(done, place) == place:
                held -= _bytes(values[done])
    found = {name: values.get(name) for name in outputs}
    if found != {name: Value((ROWS, *shape)) for name, (_, shape) in outputs.items()}:
        raise ValueError(f"it gives something else than it declares, {found}")
    return most


def _attributes(node: Any) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    for attribute in (_read("Attribute", each) for each in _few(node.attributes)):
        held = getattr(attribute, HOLDS[attribute.kind])
        if attribute.kind == 4:
            held = _constant(_read("Tensor", _only(held)))
        elif attribute.kind > 4:
            held = _few(held)
        attributes[_known_name(attribute.name, attributes)] = held
    return attributes


def _constant(tensor: Any) -> Value:
    shape, dtype = tuple(tensor.shape[: MOST_SIZES + 1]), np.dtype(TYPES.get(tensor.type, "V0")).newbyteorder("<")
    value = Value(shape)
    if ROWS in shape or len(tensor.content) != value.count * dtype.itemsize or not dtype.itemsize:
        raise ValueError(f"the tensor {tensor.name[:MOST_CHARACTERS]} has not the numbers that its shape needs")
    if value.count > MOST_KNOWN:
        return value
    return Value(shape, np.frombuffer(tensor.content, dtype).reshape(shape))


def _bytes(value: Given) -> int:
    return BYTES_EACH * sum(each.count for each in (value if isinstance(value, tuple) else (value,)))


def _beside(operator: str, given: Sequence[Any], made: Given) -> int:
    """Bytes that a convolution needs beside what it makes: one sample, each place with all that its window sees."""
    if operator not in ("Conv", "ConvTranspose") or isinstance(made, tuple):
        return 0
    x, weights = given[:2]
    return BYTES_EACH * math.prod(weights.shape[1:]) * max(math.prod(x.shape[2:]), math.prod(made.shape[2:]))


def _known_name(name: str, taken: Mapping[str, object]) -> str:
    if not 0 < len(name) <= MOST_CHARACTERS or name in taken:
        raise ValueError(f"there are two called {name[:MOST_CHARACTERS]!r}, or nobody can be called so")
    return name


def _only(parts: Sequence[bytes]) -> bytes:
    (part,) = parts
    return part


def _few(parts: Sequence[Any], most: int = MOST_PARTS) -> list[Any]:
    if len(parts) > most:
        raise ValueError(f"it has {len(parts)} of something, more than {most}")
    return list(parts)


# Each operator by what it makes.  Its inputs are the function's positional arguments, its attributes those by name: one
# that stands in no function is refused, and so is a missing one that the exporter always writes.


def _same(x: Value, /) -> Value:
    return Value(x.shape)


def _quantized(x: Value, scale: Value, zero: Value | None = None, /, *, axis: int = 1) -> Value:
    """To whole numbers, or back, by one scale or one for each place of an axis."""
    sizes = {each.count for each in (scale, zero) if each is not None}
    if len(sizes) > 1 or scale.shape not in ((), (1,), x.shape[axis : axis + 1]):
        raise ValueError(f"its scales {list(scale.shape)} do not fit {list(x.shape)}")
    return Value(x.shape)


def _identity(x: Value, /) -> Value:
    return x


def _cast(x: Value, /, *, to: int) -> Value:
    return _converted(x, np.dtype(TYPES[to]))


def _cast_like(x: Value, like: Value, /) -> Value:
    return Value(x.shape) if like.numbers is None else _converted(x, like.numbers.dtype)


def _converted(x: Value, dtype: np.dtype[Any]) -> Value:
    """Its numbers are followed where they stay what they are."""
    if x.numbers is None:
        return Value(x.shape)
    with np.errstate(all="ignore"):
        numbers = x.numbers.astype(dtype)
    return Value(x.shape, numbers if np.array_equal(numbers, x.numbers) else None)


def _clip(x: Value, least: Value | None = None, most: Value | None = None, /) -> Value:
    return Value(x.shape)


def _broadcast(*values: Value) -> Value:
    longest = max(len(value.shape) for value in values)
    shapes = [(1,) * (longest - len(value.shape)) + value.shape for value in values]
    sizes = [{size for size in place if size != 1} or {1} for place in zip(*shapes, strict=True)]
    if any(len(size) > 1 for size in sizes):
        raise ValueError(f"{[list(shape) for shape in shapes]} do not go together")
    return Value(tuple(size.pop() for size in sizes))


def _batch_normalization(
    x: Value, scale: Value, bias: Value, mean: Value, variance: Value, /, *, epsilon: float, momentum: float
) -> Value:
    return Value(x.shape)


def _matmul(a: Value, b: Value, /) -> Value:
    (rows, inner), (also_inner, columns) = a.shape, b.shape
    if inner != also_inner:
        raise ValueError(f"{inner} are not {also_inner}")
    return Value((rows, columns))


def _gemm(
    a: Value, b: Value, c: Value | None = None, /, *, alpha: float, beta: float, transA: int, transB: int
) -> Value:
    made = _matmul(Value(a.shape[::-1]) if transA else a, Value(b.shape[::-1]) if transB else b)
    if c is not None and _broadcast(made, c) != made:
        raise ValueError("what is added has another shape")
    return made


def _conv(
    x: Value,
    weights: Value,
    bias: Value | None = None,
    /,
    *,
    auto_pad: bytes,
    dilations: list[int],
    group: int,
    kernel_shape: list[int],
    pads: list[int],
    strides: list[int],
) -> Value:
    if (x.shape[1], (*kernel_shape,)) != (weights.shape[1] * group, weights.shape[2:]):
        raise ValueError("its weights are of another shape")
    return Value((x.shape[0], weights.shape[0], *_windows(x, kernel_shape, strides, pads, dilations, auto_pad)))


def _conv_transpose(
    x: Value,
    weights: Value,
    bias: Value | None = None,
    /,
    *,
    auto_pad: bytes,
    dilations: list[int],
    group: int,
    kernel_shape: list[int],
    output_padding: list[int],
    pads: list[int],
    strides: list[int],
) -> Value:
    if (x.shape[1], (*kernel_shape,)) != (weights.shape[0], weights.shape[2:]):
        raise ValueError("its weights are of another shape")
    _check_window(kernel_shape, strides, pads, dilations, auto_pad)
    places = zip(x.shape[2:], kernel_shape, strides, dilations, output_padding, _both_sides(pads), strict=True)
    sizes = [
        stride * (size - 1) + dilation * (kernel - 1) + 1 + more - pad
        for size, kernel, stride, dilation, more, pad in places
    ]
    return Value((x.shape[0], weights.shape[1] * group, *sizes))


def _average_pool(
    x: Value,
    /,
    *,
    auto_pad: bytes,
    ceil_mode: int,
    count_include_pad: int,
    kernel_shape: list[int],
    pads: list[int],
    strides: list[int],
) -> Value:
    if ceil_mode:
        raise ValueError("ceil_mode is not known here")
    return Value((*x.shape[:2], *_windows(x, kernel_shape, strides, pads, [1] * len(kernel_shape), auto_pad)))


def _windows(
    x: Value, kernel: list[int], strides: list[int], pads: list[int], dilations: list[int], auto_pad: bytes
) -> list[int]:
    """How many windows there are along each axis behind the first two."""
    _check_window(kernel, strides, pads, dilations, auto_pad)
    places = zip(x.shape[2:], kernel, strides, dilations, _both_sides(pads), strict=True)
    return [(size + pad - dilation * (each - 1) - 1) // stride + 1 for size, each, stride, dilation, pad in places]


def _both_sides(pads: list[int]) -> list[int]:
    half = len(pads) // 2
    return [before + after for before, after in zip(pads[:half], pads[half:], strict=True)]


def _check_window(
    kernel: list[int], strides: list[int], pads: list[int], dilations: list[int], auto_pad: bytes
) -> None:
    if auto_pad != b"NOTSET" or min(*kernel, *strides, *dilations) < 1 or min(pads) < 0:
        raise ValueError("its window is none")


def _resize(
    x: Value,
    region: None,
    scales: Value,
    /,
    *,
    mode: bytes,
    coordinate_transformation_mode: bytes,
    nearest_mode: bytes,
    cubic_coeff_a: float,
    antialias: int,
    exclude_outside: int,
    extrapolation_value: float,
    keep_aspect_ratio_policy: bytes,
) -> Value:
    if scales.numbers is None or region is not None:
        raise ValueError("it is not known beforehand how large it becomes")
    factors = [float(factor) for factor in scales.numbers.tolist()]
    if factors[:2] != [1, 1]:
        raise ValueError("it makes more samples or channels")
    sizes = [math.floor(size * factor) for size, factor in zip(x.shape[2:], factors[2:], strict=True)]
    return Value((*x.shape[:2], *sizes))


def _constant_node(
    *, value: Value | None = None, value_ints: list[int] | None = None, value_floats: list[float] | None = None
) -> Value:
    if value_ints is not None:
        value = _known(np.array(value_ints, np.int64))
    elif value_floats is not None:
        value = _known(np.array(value_floats, np.float32))
    if value is None or value.numbers is None:
        raise ValueError("it is too large, or nothing")
    return value


def _known(numbers: NDArray[Any]) -> Value:
    return Value(numbers.shape, numbers if numbers.size <= MOST_KNOWN else None)


def _shape(x: Value, /, *, start: int, end: int) -> Value:
    return _known(np.array(x.shape[start:end], np.int64))


def _reshape(x: Value, sizes: Value, /, *, allowzero: int = 0) -> Value:
    wanted = sizes.integers
    if not allowzero:
        wanted = [size or x.shape[place] for place, size in enumerate(wanted)]
    if ROWS not in x.shape and ROWS in wanted:  # which is also what is left to be found
        wanted[wanted.index(ROWS)] = x.count // math.prod(size for size in wanted if size != ROWS)
    made = Value(tuple(wanted))
    if math.prod(made.shape) != math.prod(x.shape):
        raise ValueError(f"{list(x.shape)} does not become {wanted}")
    return made if x.numbers is None else Value(made.shape, x.numbers.reshape(made.shape))


def _flatten(x: Value, /, *, axis: int) -> Value:
    if axis < 1:
        raise ValueError("it would make one row of all samples")
    return Value((math.prod(x.shape[:axis]), math.prod(x.shape[axis:])))


def _squeeze(x: Value, /) -> Value:
    if ROWS in x.shape:
        raise ValueError("one sample alone would be taken for none")
    return Value(tuple(size for size in x.shape if size != 1), None if x.numbers is None else x.numbers.squeeze())


def _transpose(x: Value, /, *, perm: list[int]) -> Value:
    if sorted(perm) != list(range(len(x.shape))):
        raise ValueError(f"{perm} is no order of {len(x.shape)} axes")
    return Value(tuple(x.shape[axis] for axis in perm))


def _expand(x: Value, sizes: Value, /) -> Value:
    made = _broadcast(x, Value(tuple(sizes.integers)))
    if ROWS in sizes.integers:
        raise ValueError("it makes as many as there are samples")
    if x.numbers is None or made.count > MOST_KNOWN:
        return made
    return _known(np.broadcast_to(x.numbers, made.shape))


def _concat(*parts: Value, axis: int) -> Value:
    axis = range(len(parts[0].shape))[axis]
    others = {part.shape[:axis] + part.shape[axis + 1 :] for part in parts}
    sizes = [part.shape[axis] for part in parts]
    if len(others) != 1 or ROWS in sizes:
        raise ValueError("its parts do not fit")
    (other,) = others
    made = Value((*other[:axis], sum(sizes), *other[axis:]))
    if made.count > MOST_KNOWN or any(part.numbers is None for part in parts):
        return made
    return _known(np.concatenate([part.numbers for part in parts if part.numbers is not None], axis))


def _range(start: Value, limit: Value, step: Value, /) -> Value:
    known = [each.numbers for each in (start, limit, step)]
    if any(numbers is None for numbers in known):
        raise ValueError("it is not known beforehand how many these are")
    first, end, by = (float(numbers.item()) for numbers in known if numbers is not None)
    if (first, by) != (0, 1):
        raise ValueError("it counts otherwise than from 0 on, by 1")
    return Value((math.ceil(end),))


def _arg_max(x: Value, /, *, axis: int, keepdims: int, select_last_index: int) -> Value:
    axis = range(len(x.shape))[axis]
    return Value((*x.shape[:axis], *((1,) if keepdims else ()), *x.shape[axis + 1 :]))


def _split(x: Value, split: Value, /, *, axis: int, keepdims: int = 1) -> tuple[Value, ...]:
    axis = range(len(x.shape))[axis]
    size, parts = x.shape[axis], split.integers
    if min(parts) < 1 or not keepdims:
        raise ValueError("it makes parts of nothing")
    if split.shape == ():
        (each,) = parts
        whole, rest = divmod(size, each)
        if whole > MOST_PARTS:
            raise ValueError(f"it makes more than {MOST_PARTS} parts")
        parts = [each] * whole + [rest] * (rest > 0)
    if sum(parts) != size:
        raise ValueError(f"its parts have {sum(parts)}, not {size}")
    return tuple(Value((*x.shape[:axis], part, *x.shape[axis + 1 :])) for part in parts)


def _sequence_at(sequence: tuple[Value, ...], place: Value, /) -> Value:
    (at,) = place.integers
    if not isinstance(sequence, tuple) or at < 0:
        raise ValueError("there is nothing at that place")
    return sequence[at]


OPERATORS: dict[str, Callable[..., Given]] = {
    **dict.fromkeys(("Relu", "Sigmoid", "Round"), _same),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Max", "Min", "Equal"), _broadcast),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), _quantized),
    "ArgMax": _arg_max,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "CastLike": _cast_like,
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant_node,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "Identity": _identity,
    "MatMul": _matmul,
    "Range": _range,
    "Reshape": _reshape,
    "Resize": _resize,
    "SequenceAt": _sequence_at,
    "Shape": _shape,
    "SplitToSequence": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
}


def _read(kind: str, data: bytes) -> Any:
    """One message; ValueError where it holds a field that is not in MESSAGES, or is none."""
    from google.protobuf.message import DecodeError
    from google.protobuf.unknown_fields import UnknownFieldSet

    message = _kinds()[kind]()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(f"its {kind} cannot be read, {error}") from error
    if len(UnknownFieldSet(message)):
        raise ValueError(f"its {kind} holds what is not read here")
    return message


@cache
def _kinds() -> dict[str, Any]:
    """The classes of all messages."""
    # 20 ms, which only whoever opens a bundle spends.
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    declared = descriptor_pb2.FileDescriptorProto(name="graph.proto", package="graph", syntax="proto2")
    for kind, fields in MESSAGES.items():
        message = declared.message_type.add(name=kind)
        for number, field in fields.items():
            type_, name = field.split()
            message.field.add(
                name=name,
                number=number,
                type=f"TYPE_{type_.rstrip('*').upper()}",
                label="LABEL_REPEATED" if type_.endswith("*") else "LABEL_OPTIONAL",
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(declared)
    return {kind: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"graph.{kind}")) for kind in MESSAGES}
