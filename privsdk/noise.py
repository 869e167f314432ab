"""Random choices that cannot be averaged away: functions of the sample and of a secret key.

Whoever asks for the release of one sample a thousand times gets the same release a thousand times.  A
sample's seed is an HMAC of its bytes, so nobody without the key can redo a choice; a seed drives a
counter-based generator of its own (Philox 4x64-10; Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as
easy as 1, 2, 3", 2011), so a choice does not depend on what else is in the batch.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import UsageError

KEY_BYTES = 32

Seeds = NDArray[np.uint64]


def check_key(key: bytes) -> None:
    """Raises UsageError for anything but 32 bytes."""
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        has = f"has {len(key)} bytes" if isinstance(key, bytes) else f"is {type(key).__name__}"
        raise UsageError(f"the key {has}: hand over {KEY_BYTES} secret random bytes")


def sample_digests(key: bytes, samples: Sequence[bytes] | NDArray[np.generic], purpose: str = "sample") -> list[bytes]:
    """HMAC-SHA256(key, purpose, dtype, shape, bytes) of each sample: 32 bytes that tell it again, to this key alone.

    ``samples`` are N byte strings or an array [N, ...]; ``purpose`` keeps the digests of two uses of one sample
    apart. Raises UsageError where the key is not 32 bytes long.
    """
    check_key(key)
    if isinstance(samples, np.ndarray):
        little_endian = samples.astype(samples.dtype.newbyteorder("<"), copy=False)
        form = f"{little_endian.dtype.str}{list(samples.shape[1:])}"
        contents: Sequence[bytes] = [row.tobytes() for row in little_endian]
    else:
        form, contents = "bytes", samples
    prefix = b"".join(len(part).to_bytes(8, "little") + part for part in (purpose.encode(), form.encode()))
    return [hmac.digest(key, prefix + content, hashlib.sha256) for content in contents]


def sample_seeds(key: bytes, samples: Sequence[bytes] | NDArray[np.generic], purpose: str) -> Seeds:
    """One seed a sample: the first 64 bits of its :func:`sample_digests`; uint64 [N]."""
    digests = sample_digests(key, samples, purpose)
    return np.array([int.from_bytes(digest[:8], "little") for digest in digests], np.uint64)


def uniform(seeds: Seeds, purpose: str) -> NDArray[np.float64]:
    """One number in [0, 1) for each seed: float64 [N]."""
    return uniforms(seeds, 1, purpose)[:, 0]


def uniforms(seeds: Seeds, size: int, purpose: str) -> NDArray[np.float64]:
    """``size`` numbers in [0, 1) for each seed: float64 [N, size]."""
    raw = np.empty((len(seeds), size), np.uint64)
    # One generator, set back to the start of each stream: to make one for each seed takes five times as long.
    generator = np.random.Philox(key=np.array([0, _number(purpose)], np.uint64))
    start = generator.state
    for row, seed in zip(raw, seeds, strict=True):
        start["state"]["key"][0] = seed
        generator.state = start
        row[:] = generator.random_raw(size)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(seeds: Seeds, size: int, purpose: str) -> NDArray[np.float32]:
    """``size`` draws from N(0, 1) for each seed: float32 [N, size].

    By Box and Muller from Philox's own numbers rather than by NumPy's ``normal``, whose stream a new version
    of NumPy may change: a release must not change with it.
    """
    pairs = (size + 1) // 2
    draws = uniforms(seeds, 2 * pairs, purpose)
    radius = np.sqrt(-2 * np.log1p(-draws[:, :pairs]))
    angle = 2 * math.pi * draws[:, pairs:]
    normals = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return normals[:, :size].astype(np.float32)


def _number(purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")
