"""The Gaussian mechanism on the plain VAE's latents, (12)-(17) of Chen, Navidi, Ermon, Rajagopal (2019)."""

from __future__ import annotations

from benchmarks.baselines.filtered import filtered
from benchmarks.baselines.interface import Representation, Samples
from privsdk.fitting.comparison import fit_gaussian_mechanism

EPSILON, DELTA = 100.0, 1e-5  # as in benchmarks.frontier; an epsilon that promised something would leave noise alone


def fit(train: Samples, valid: Samples, seed: int) -> Representation:
    """In closed form: nothing is chosen on ``valid``, or depends on labels."""
    # A product for the norm, one for the ball and one for the noise, in each dimension.
    return filtered(lambda data: fit_gaussian_mechanism(data, EPSILON, DELTA), lambda latent: 3 * latent, train, seed)
