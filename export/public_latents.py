"""Public latents: latents of nobody, drawn from the public flow; and how far they are from those of people."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from export.latents import Posteriors
from privsdk.auditing.attackers import NearestNeighbours, RandomForest
from privsdk.auditing.metrics import auroc
from privsdk.codec import Codec
from privsdk.filters.couplings import PublicFlow


def draw(codec: Codec, flow: PublicFlow, count: int, seed: int) -> Posteriors:
    """``count`` public latents, as float16 holds them.

    z = g^-1(e), e ~ N(0, I), is a posterior sample of nobody; its posterior's variance v is that of the image which z
    decodes to; its mean is drawn as if means were normal: given z = mean + sqrt(v) xi, z ~ N(c, C) and V = diag(v),

        mean ~ N(c + (I - V C^-1) (z - c), V - V C^-1 V)

    The mean is not that of the decoded image: encoders shrink what decoders made, and a filter fitted on means so
    shrunk leaves the code of real people readable.
    """
    generator = np.random.default_rng(seed)
    used = flow.used
    z = posterior_samples(flow, count, generator)
    variance = codec.encode(codec.decode(z)).variance
    v, centred = variance[:, used], z[:, used] - flow.shift
    precision = flow.whiten @ flow.whiten  # C^-1
    mean = z.copy()
    mean[:, used] -= v * (centred @ precision)
    # V - V C^-1 V = V^1/2 (I - V^1/2 C^-1 V^1/2) V^1/2, whose middle is the same for all but little.
    root = np.sqrt(v)
    middle = np.eye(v.shape[1]) - root.mean(0)[:, None] * precision * root.mean(0)
    values, directions = np.linalg.eigh(middle)
    noise = generator.standard_normal(v.shape) @ (directions * np.sqrt(values.clip(0))) @ directions.T
    mean[:, used] += (root * noise).astype(np.float32)
    return in_half_precision(mean, variance)


def draw_samples(
    codec: Codec, decode: Callable[[np.ndarray], np.ndarray], flow: PublicFlow, count: int, seed: int
) -> Posteriors:
    """``count`` public latents, as float16 holds them: posteriors of samples of nobody.

    ``decode`` draws samples, uint8 [N, *shape], from p(x|z) of z, float32 [N, Z].  Where it gives samples like real
    ones, as of a small table, no means need be made up: those of real rows lie on a grid that normal ones miss.
    """
    latents = codec.encode(decode(posterior_samples(flow, count, np.random.default_rng(seed))))
    return in_half_precision(latents.mean, latents.variance)


def posterior_samples(flow: PublicFlow, count: int, generator: np.random.Generator) -> np.ndarray:
    """Posterior samples of nobody, float32 [count, Z]; unused dimensions are drawn from the prior."""
    used = flow.used
    z = flow.inverse(generator.standard_normal((count, int(used.sum())), np.float32))
    z[:, ~used] = generator.standard_normal((count, int((~used).sum())), np.float32)
    return z


def in_half_precision(mean: np.ndarray, variance: np.ndarray) -> Posteriors:
    """Mean and log-variance rounded as a bundle holds them."""
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


def separability(real: np.ndarray, made: np.ndarray, seed: int) -> dict[str, float]:
    """How well classifiers tell ``made`` latents, float32 [M, Z], from ``real`` ones, float32 [N, Z]: AUROC of each.

    As many of both are taken, standardised; half of them trains, the other half tells (.5: not at all).
    """
    generator = np.random.default_rng(seed)
    count = min(len(real), len(made))
    z = np.concatenate([both[generator.permutation(len(both))[:count]] for both in (real, made)])
    labels = np.repeat([0, 1], count)
    order = generator.permutation(2 * count)
    z, labels = ((z - z.mean(0)) / z.std(0))[order], labels[order]
    trained, told = slice(0, count), slice(count, 2 * count)
    return {
        kind.name: float(auroc(labels[told], kind(seed).fit(z[trained], labels[trained]).score(z[told])))
        for kind in (NearestNeighbours, RandomForest)
    }
