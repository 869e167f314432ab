"""Named arrays and a JSON object in one safetensors file, as bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

Arrays = dict[str, NDArray[Any]]

LARGEST_HEADER = 16 << 20
"""Bytes; a privatizer's record is the longest of what stands there, some ten thousand."""
DEEPEST = 32
"""Of JSON within JSON; Python's own limit is one that whoever copies or prints it may still run into."""


def pack(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> bytes:
    """The bytes of a safetensors file: ``arrays``, and in its header ``metadata``, each entry as JSON."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return save(contiguous, metadata={name: json.dumps(value) for name, value in metadata.items()})


def unpack(data: bytes) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and metadata from the bytes that :func:`pack` made; ValueError where they are none or damaged.

    Every number is finite: NaN and infinity are damage too.  So is whatever could be changed without changing what is
    read: the bytes are those that say this, and no others.
    """
    length = int.from_bytes(data[:8], "little")
    if length > LARGEST_HEADER:
        raise ValueError(f"its header would have {length} bytes, more than {LARGEST_HEADER}")
    try:
        arrays = load(data)
        header = data[8 : 8 + length]
        described = parse_json(header)
        texts = described.get("__metadata__", {})
        metadata = {name: parse_json(text) for name, text in texts.items()}
        rewritten = json.dumps(described, separators=(",", ":"), ensure_ascii=False).encode()
        as_written = header == rewritten + b" " * (-len(rewritten) % 8) and all(
            text == json.dumps(metadata[name]) for name, text in texts.items()
        )
    # KeyError: a kind of number that NumPy does not have, such as bfloat16.
    except (SafetensorError, ValueError, OverflowError, KeyError) as error:
        raise ValueError(f"no safetensors file ({error!r})") from error
    if not as_written or 8 + length + sum(array.nbytes for array in arrays.values()) != len(data):
        raise ValueError("it is not written as it would be here")
    for name, array in arrays.items():
        # An empty array may have any other size, and somebody may make room for that.
        if array.dtype.kind not in "biuf" or max(array.shape, default=0) > len(data):
            raise ValueError(f"{name} is {array.dtype} {list(array.shape)}, which nothing here is")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds numbers that are not finite")
    return arrays, metadata


def parse_json(text: str | bytes) -> Any:
    """What JSON says; ValueError where it is none, or is nested more deeply than anything that is written here."""
    try:
        value = json.loads(text)
        deepest = _depth(value)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if deepest > DEEPEST:
        raise ValueError("it is nested too deeply")
    return value


def _depth(value: object) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max(map(_depth, parts), default=0)
