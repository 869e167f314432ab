"""Public latents: latents of nobody, drawn from the public flow."""

from __future__ import annotations

import numpy as np

from export.latents import Posteriors
from privsdk.codec import Codec
from privsdk.filters.couplings import PublicFlow


def draw(codec: Codec, flow: PublicFlow, count: int, seed: int) -> Posteriors:
    """``count`` public latents, as float16 holds them.

    z = g^-1(e), e ~ N(0, I), is a posterior sample of nobody; its posterior's variance v is that of the image which z
    decodes to; its mean is drawn as if means were normal: given z = mean + sqrt(v) xi and the spread s of z around
    its centre c,

        mean ~ N(c + (1 - v / s^2) (z - c), v (1 - v / s^2))

    The mean is not that of the decoded image: encoders shrink what decoders made, and a filter fitted on means so
    shrunk leaves the code of real people readable.  Unused dimensions are drawn from the prior.
    """
    generator = np.random.default_rng(seed)
    z = flow.inverse(generator.standard_normal((count, int(flow.used.sum())), np.float32))
    z[:, ~flow.used] = generator.standard_normal((count, int((~flow.used).sum())), np.float32)
    variance = codec.encode(codec.decode(z)).variance
    centre, spread = np.zeros(z.shape[1], np.float32), np.ones(z.shape[1], np.float32)
    centre[flow.used], spread[flow.used] = flow.shift, flow.scale
    kept = 1 - np.minimum(variance / spread**2, 1)
    noise = generator.standard_normal(z.shape, np.float32)
    mean = centre + kept * (z - centre) + np.sqrt(variance * kept) * noise
    log_variance = np.log(variance).astype(np.float16).astype(np.float32)
    return Posteriors(mean.astype(np.float16).astype(np.float32), np.exp(log_variance))


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
