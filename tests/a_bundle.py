"""A bundle of made-up latents, for tests of filters and their fits: exact, tiny, and nobody's faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privsdk.bundle import PublicLatents
from privsdk.filters.code import Moments
from privsdk.filters.couplings import Couplings, PublicFlow
from privsdk.filters.joint_scores import JointScores
from privsdk.filters.scores import ScoreNetwork, clipped

SIZE = 10
UNUSED = 7
NAMES = ("Male", "Smiling", "Young", "Bald")


@dataclass(frozen=True)
class MadeUpBundle:
    """What a fit asks of a bundle; its public flow is exact: rotation, stretch and shift of N(0, I)."""

    scores: ScoreNetwork
    flow: PublicFlow
    moments: Moments
    joint_scores: JointScores
    public: PublicLatents
    name: str = "made-up"
    attributes: tuple[str, ...] = NAMES
    digest: str = "0" * 64
    latent_size: int = SIZE

    @property
    def gaps(self) -> dict[str, float]:
        return dict.fromkeys(self.attributes, 0.01)

    @property
    def calibration_errors(self) -> dict[str, float]:
        return {}

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return (SIZE,)

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        return {}

    @property
    def used(self) -> NDArray[np.bool_]:
        return self.flow.used.copy()


def made_up_bundle(latents: int = 6000) -> MadeUpBundle:
    rng = np.random.default_rng(0)
    used = np.arange(SIZE) != UNUSED
    size = int(used.sum())
    rotation = np.linalg.qr(rng.normal(size=(2, size, size)))[0].astype(np.float32)
    kept = size - size // 2

    def zeros(*shape: int) -> NDArray[np.float32]:
        return np.zeros(shape, np.float32)

    couplings = Couplings(
        rotation,
        zeros(2, kept, 4),
        zeros(2, 4),
        zeros(2, 4, 4),
        zeros(2, 4),
        zeros(2, 4, 2 * (size // 2)),
        zeros(2, 2 * (size // 2)),
    )
    shift = rng.normal(size=size).astype(np.float32)
    flow = PublicFlow(used, shift, np.eye(size, dtype=np.float32) / np.float32(1.5), couplings)
    scores = _scores(rng, used, shift)
    mean = flow.inverse(rng.standard_normal((latents, size), np.float32))
    variance = np.where(used, 0.02, 1.0).astype(np.float32) * np.ones_like(mean)
    probability = 1 / (1 + np.exp(-scores.scores(mean)))
    labels = (rng.random(probability.shape) < probability).astype(np.uint8)
    of_all = clipped(scores.scores(mean))
    moments, joint_scores = Moments.of(flow.forward(mean), of_all), JointScores.of(of_all)
    return MadeUpBundle(scores, flow, moments, joint_scores, PublicLatents(mean, variance, labels))


def _scores(rng: np.random.Generator, used: NDArray[np.bool_], shift: NDArray[np.float32]) -> ScoreNetwork:
    directions = np.linalg.qr(rng.normal(size=(SIZE, 4)))[0]
    directions[:, 1] += 0.35 * directions[:, 0]  # men are scored less smiling, or more
    skip = (directions * [4.0, 4.0, 2.0, 2.0]).astype(np.float32)
    centre = np.zeros(SIZE, np.float32)
    centre[used] = shift
    hidden = (0.5 * rng.normal(size=(SIZE, 6))).astype(np.float32)
    out = (0.5 * rng.normal(size=(6, 4))).astype(np.float32)
    bias = np.array([0, 0, 0, -60], np.float32)  # nobody is bald
    return ScoreNetwork(
        centre,
        (used / 1.5).astype(np.float32),
        skip,
        hidden,
        np.zeros(6, np.float32),
        out,
        bias,
        np.ones(4, np.float32),
    )
