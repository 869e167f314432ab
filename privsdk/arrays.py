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


def pack(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> bytes:
    """The bytes of a safetensors file: ``arrays``, and in its header ``metadata``, each entry as JSON."""
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return save(contiguous, metadata={name: json.dumps(value) for name, value in metadata.items()})


def unpack(data: bytes) -> tuple[Arrays, dict[str, Any]]:
    """Arrays and metadata from the bytes that :func:`pack` made; ValueError where they are none or damaged.

    Every number is finite: NaN and infinity are damage too.
    """
    try:
        arrays = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = {name: json.loads(value) for name, value in header.get("__metadata__", {}).items()}
    # KeyError: a kind of number that NumPy does not have, such as bfloat16.
    except (SafetensorError, ValueError, KeyError, RecursionError) as error:
        raise ValueError(f"no safetensors file ({error!r})") from error
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds numbers that are not finite")
    return arrays, metadata
