"""Filters of ``privsdk.fitting.comparison`` on the plain VAE's latents."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.baselines import vae
from benchmarks.baselines.interface import Cost, Floats, Representation, Samples
from benchmarks.baselines.training import LATENT, tensors
from export.latents import Posteriors
from export.networks.blocks import multiply_adds
from privsdk.filters import Filter
from privsdk.fitting.data import FitData


def filtered(
    fit_filter: Callable[[FitData], Filter], own_multiply_adds: Callable[[int], int], train: Samples, seed: int
) -> Representation:
    """What a filter makes of the VAE's posteriors.

    A further pair of labels costs the filter alone, but for ``multiply_adds``, among which the encoder's are;
    ``own_multiply_adds`` says the filter's for so many latent dimensions.
    """
    model = vae.train(train, seed)

    @torch.no_grad()
    def posteriors(samples: Samples) -> Posteriors:
        mean, log_variance = model.encoder(tensors(samples).x)
        return Posteriors(mean.numpy(), log_variance.exp().numpy())

    latents = posteriors(train)
    data = FitData(
        latents.mean, latents.variance, train.private, 2, train.utility[:, None].astype(np.float32), latents.used
    )
    began = time.perf_counter()
    fitted = fit_filter(data)
    seconds = time.perf_counter() - began

    def represent(samples: Samples) -> Floats:
        q = posteriors(samples)
        seeds = np.random.default_rng(seed).integers(0, 2**63, len(samples), dtype=np.uint64)
        return fitted.perturb(q.mean, q.variance, seeds)

    arrays = fitted.arrays().values()
    encoding = multiply_adds(model.encoder, torch.zeros(1, train.x.shape[1]))
    return Representation(
        represent,
        Cost(
            parameters=sum(array.size for array in arrays),
            multiply_adds=encoding + own_multiply_adds(LATENT),
            weight_bytes=sum(array.nbytes for array in arrays),
            seconds=seconds,
        ),
    )
