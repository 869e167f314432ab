"""LEACE (Belrose and others, 2023) on the plain VAE's latents: what a linear attacker can see is taken out."""

from __future__ import annotations

from benchmarks.baselines.filtered import filtered
from benchmarks.baselines.interface import Representation, Samples
from privsdk.fitting.comparison import fit_erasure


def fit(train: Samples, valid: Samples, seed: int) -> Representation:
    """In closed form: nothing is chosen on ``valid``."""
    return filtered(lambda data: fit_erasure(data, seed), lambda latent: latent**2, train, seed)
