"""Releases samples by a privatizer's graph, with NumPy and ONNX Runtime alone.

    python release.py privatizer.onnx key samples released

``key`` holds the device's 32 secret bytes, ``samples`` the samples one behind another, as the graph takes them (uint8;
of faces 64 x 64 x 3 each, already aligned).  ``released`` gets the releases in the same form; of a sample that is kept
back there is nothing in it.  docs/hosts.md says what each part is for.
"""

import hashlib
import hmac
import json
import math
import sys
from pathlib import Path

import numpy as np
import onnxruntime

BATCH = 16
DRAWS = 8  # how often other random numbers are tried for a sample that is kept back
OURS = "privsdk.schema", "1"


def uniforms(seed: bytes, count: int) -> np.ndarray:
    """So many numbers in [0, 1), a function of the seed."""
    blocks = [hmac.digest(seed, block.to_bytes(4, "little"), hashlib.sha256) for block in range(-(-count // 4))]
    return (np.frombuffer(b"".join(blocks), "<u8")[:count] >> np.uint64(11)).astype(np.float64) * 2.0**-53


def random_numbers(seed: bytes, normal: int, uniform: int) -> tuple[np.ndarray, np.ndarray]:
    """So many from N(0, 1), by Box and Muller, and so many in [0, 1)."""
    pairs = -(-normal // 2)
    drawn = uniforms(seed, 2 * pairs + uniform)
    radius, angle = np.sqrt(-2 * np.log1p(-drawn[:pairs])), 2 * math.pi * drawn[pairs : 2 * pairs]
    normals = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:normal]
    return normals.astype(np.float32), drawn[2 * pairs :].astype(np.float32)


class Privatizer:
    """A privatizer's graph, and the key that all its random numbers come from."""

    def __init__(self, graph: bytes, key: bytes) -> None:
        if len(key) != 32:
            raise ValueError("the key has to be 32 bytes")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # it warns of what it cannot compute in advance, which does no harm
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        said = self._session.get_modelmeta().custom_metadata_map
        name, schema = OURS
        if said.get(name) != schema:
            raise ValueError("this is no graph of a privatizer that this host knows")
        self.shape = tuple(json.loads(said["privsdk.sample"])["shape"])
        self._filter = said["privsdk.filter"]
        widths = {entry.name: entry.shape[-1] for entry in self._session.get_inputs()}
        if "private" in widths:
            raise ValueError("this privatizer wants private labels: this host has none")
        self._normal, self._uniform = widths["normal"], widths.get("uniform", 0)
        self._key = key

    def release(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint8 [N, *shape] to the releases, and which samples are kept back, bool [N]."""
        released, kept_back = np.zeros_like(samples), np.ones(len(samples), bool)
        for draw in range(1, DRAWS + 1):
            waiting = np.flatnonzero(kept_back)
            for start in range(0, len(waiting), BATCH):
                rows = waiting[start : start + BATCH]
                released[rows], kept_back[rows] = self._run(samples[rows], draw)
        return released, kept_back

    def _run(self, samples: np.ndarray, draw: int) -> tuple[np.ndarray, np.ndarray]:
        purpose = f"release by {self._filter}, draw {draw}:".encode()
        seeds = [hmac.digest(self._key, purpose + sample.tobytes(), hashlib.sha256) for sample in samples]
        normal, uniform = zip(*(random_numbers(seed, self._normal, self._uniform) for seed in seeds), strict=True)
        inputs = {"samples": samples, "normal": np.stack(normal)}
        if self._uniform:
            inputs["uniform"] = np.stack(uniform)
        released, kept_back = self._session.run(["released", "kept_back"], inputs)
        return released, kept_back.astype(bool)


def main() -> int:
    if len(sys.argv) != 5:
        sys.exit("usage: python release.py privatizer.onnx key samples released")
    graph, key, samples, output = map(Path, sys.argv[1:])
    privatizer = Privatizer(graph.read_bytes(), key.read_bytes())
    taken = np.frombuffer(samples.read_bytes(), np.uint8).reshape(-1, *privatizer.shape)
    released, kept_back = privatizer.release(taken)
    with output.open("xb") as file:  # never over a file that is there
        file.write(released[~kept_back].tobytes())
    print(f"{len(taken) - kept_back.sum()} released, {kept_back.sum()} kept back")
    return int(kept_back.any())


if __name__ == "__main__":
    sys.exit(main())
