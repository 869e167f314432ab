"""Samples to latents and back: the frozen encoder and decoder, through ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk import graphs
from privsdk.errors import BundleError, UsageError
from privsdk.graphs import BATCH
from privsdk.runtime import session

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Latents:
    """What the encoder says of N samples: q(z|x) = N(mean, diag(variance)); both float32 [N, Z]."""

    mean: Floats
    variance: Floats

    def __post_init__(self) -> None:
        if self.mean.ndim != 2 or self.mean.shape != self.variance.shape:
            raise UsageError(
                f"latents need a mean and a variance [N, Z], not {self.mean.shape} and {self.variance.shape}"
            )

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, rows: slice | Sequence[int] | NDArray[Any]) -> Latents:
        """The latents of some of the samples: a slice, indices, or a mask; of one sample: ``latents[i:i +
        1]``.
        """
        return Latents(self.mean[rows], self.variance[rows])


class Codec:
    """An encoder and a decoder in ONNX, checked against the shapes they should have.  Immutable, for any
    thread.

    ``encoder``: ``samples`` uint8 [N, *sample_shape] to ``mean``, ``log_variance`` float32 [N, Z];
    ``decoder``: ``latents`` float32 [N, Z] to ``samples`` uint8 [N, *sample_shape].  Both are ONNX files.
    """

    def __init__(
        self,
        encoder: bytes,
        decoder: bytes,
        sample_shape: tuple[int, ...],
        latent_size: int,
        threads: int = 1,
    ) -> None:
        """Raises BundleError where a graph cannot be loaded, has other inputs or outputs, or is none that
        :mod:`privsdk.graphs` lets run.
        """
        self.sample_shape = sample_shape
        self.latent_size = latent_size
        sample = ("uint8", sample_shape)
        latent = ("float32", (latent_size,))
        self.encoder, self.decoder = encoder, decoder
        # Both before a session is made of either.
        graphs.check("encoder.onnx", encoder, {"samples": sample}, {"mean": latent, "log_variance": latent})
        graphs.check("decoder.onnx", decoder, {"latents": latent}, {"samples": sample})
        self._encoder = _loaded("encoder.onnx", encoder, threads)
        self._decoder = _loaded("decoder.onnx", decoder, threads)

    def encode(self, samples: Pixels) -> Latents:
        """uint8 [N, *sample_shape] to the latents of N samples; raises UsageError for anything else, BundleError
        where the graph fails.
        """
        expected = f"uint8 [N, {', '.join(map(str, self.sample_shape))}]"
        if samples.dtype != np.uint8 or samples.shape[1:] != self.sample_shape or samples.ndim == 0:
            raise UsageError(f"samples are {expected}, not {samples.dtype} {list(samples.shape)}")
        mean = np.empty((len(samples), self.latent_size), np.float32)
        variance = np.empty_like(mean)
        for start in range(0, len(samples), BATCH):
            rows = slice(start, start + BATCH)
            batch = {"samples": np.ascontiguousarray(samples[rows])}
            outputs = dict.fromkeys(("mean", "log_variance"), mean[rows].shape)
            mean[rows], log_variance = _run("encoder.onnx", self._encoder, batch, outputs)
            with np.errstate(over="ignore"):  # an infinite variance is for whoever gets it to refuse
                variance[rows] = np.exp(log_variance)
        return Latents(mean, variance)

    def decode(self, z: Floats) -> Pixels:
        """float32 [N, Z] to uint8 [N, *sample_shape]; raises UsageError for other shapes and non-finite
        numbers, BundleError where the graph fails.
        """
        if z.ndim != 2 or z.shape[1] != self.latent_size:
            raise UsageError(f"latents are float32 [N, {self.latent_size}], not {z.dtype} {list(z.shape)}")
        z = np.ascontiguousarray(z, np.float32)
        if not np.isfinite(z).all():
            raise UsageError("the latents hold numbers that are not finite: leave those rows out")
        samples = np.empty((len(z), *self.sample_shape), np.uint8)
        for start in range(0, len(z), BATCH):
            rows = slice(start, start + BATCH)
            outputs = {"samples": samples[rows].shape}
            (samples[rows],) = _run("decoder.onnx", self._decoder, {"latents": z[rows]}, outputs)
        return samples


def _loaded(name: str, graph: bytes, threads: int) -> Any:
    try:
        return session(graph, threads)
    except Exception as error:  # ONNX Runtime has no common base for what a bad graph makes it raise.
        raise BundleError(f"{name} cannot be loaded ({_first_line(error)}): get the bundle again") from error


def _run(
    name: str, graph: Any, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, tuple[int, ...]]
) -> list[NDArray[Any]]:
    """What a loaded graph gives; ``outputs`` are the shapes that it must have, as it may declare one and give
    another.
    """
    try:
        found: list[NDArray[Any]] = graph.run(list(outputs), inputs)
    except Exception as error:  # As above.
        raise BundleError(f"{name} does not work ({_first_line(error)}): get the bundle again") from error
    shapes = [array.shape for array in found]
    if shapes != list(outputs.values()):
        raise BundleError(f"{name} gives {shapes}, not {list(outputs.values())}: export it again")
    return found


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
