"""Public latents: latents of nobody, drawn from the public flow, decoded and encoded again."""

from __future__ import annotations

import numpy as np

from export.latents import Posteriors
from privsdk.codec import Codec
from privsdk.filters.couplings import PublicFlow


def draw(codec: Codec, flow: PublicFlow, count: int, seed: int) -> Posteriors:
    """``count`` public latents, as float16 holds them: z = g^-1(e), e ~ N(0, I), decoded and encoded again.

    Unused dimensions are drawn from the prior.
    """
    generator = np.random.default_rng(seed)
    code = generator.standard_normal((count, int(flow.used.sum())), np.float32)
    z = flow.inverse(code)
    z[:, ~flow.used] = generator.standard_normal((count, int((~flow.used).sum())), np.float32)
    latents = codec.encode(codec.decode(z))
    log_variance = np.log(latents.variance).astype(np.float16).astype(np.float32)
    return Posteriors(latents.mean.astype(np.float16).astype(np.float32), np.exp(log_variance))


def nearest_distances(latents: np.ndarray, public: np.ndarray, batch: int = 512) -> np.ndarray:
    """Distance of each latent, float32 [N, Z], to its nearest public one, float32 [M, Z]: float32 [N]."""
    lengths = (public**2).sum(1)
    nearest = [
        np.sqrt(((rows**2).sum(1)[:, None] + lengths - 2 * rows @ public.T).min(1).clip(0))
        for rows in np.array_split(latents, -(-len(latents) // batch))
    ]
    return np.concatenate(nearest)


def memorisation(training: np.ndarray, validation: np.ndarray, public: np.ndarray) -> dict[str, float]:
    """Is a training latent nearer to the public ones than a latent of people never seen?

    Medians of the distance to the nearest public latent, and the probability that a training latent is nearer
    than a validation latent (.5: nothing memorised; its standard error is about .3 / sqrt of the smaller count).
    """
    seen, unseen = nearest_distances(training, public), nearest_distances(validation, public)
    ranks = np.searchsorted(np.sort(unseen), seen, side="right")
    return {
        "median distance, training": float(np.median(seen)),
        "median distance, valid": float(np.median(unseen)),
        "training nearer than valid": float(1 - ranks.mean() / len(unseen)),
    }
