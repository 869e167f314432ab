"""The filters that the default one is compared with: Gaussian mechanism, LEACE, optimal transport, rank-resample."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from privsdk.errors import MissingExtraError, UsageError
from privsdk.filters.erasure import ErasureFilter
from privsdk.filters.gaussian_mechanism import GaussianMechanism, analytic_sigma, theorem_sigma
from privsdk.filters.optimal_transport import OptimalTransport, utility_likelihood
from privsdk.filters.rank_resample import RankResample
from privsdk.filters.scores import ScoreNetwork, clipped
from privsdk.fitting.barycentre import barycentre, transport
from privsdk.fitting.data import FitData

Doubles = NDArray[np.float64]

CLIPPED = 0.05  # of the samples lie outside the Gaussian mechanism's ball
FLOOR = 0.01  # of the mean variance of a dimension
POPULATION = 4096
VALIDATION = 0.2
LEAST_CORRELATION = 1e-6  # that LEACE erases; the package's own .01 leaves in what a rare class is shifted by


def fit_gaussian_mechanism(
    data: FitData,
    epsilon: float,
    delta: float,
    calibration: Literal["analytic", "theorem"] = "analytic",
    radius: float | None = None,
) -> GaussianMechanism:
    """Noise that makes a release (epsilon, delta)-differentially private.

    ``calibration`` "analytic" takes the least noise that does, for any ``epsilon`` > 0, "theorem" that of the paper's
    Theorem 6.1.  The ball has the mean of ``data`` for its centre and, where no ``radius`` is given, room for 95% of
    it: the guarantee is for samples that are not in ``data``, or for public latents.

    :raises UsageError: ``epsilon``, ``delta`` or ``radius`` is out of its range.
    :raises UnworkablePairError: see :meth:`FitData.check_workable`.
    """
    data.check_workable()
    centre = np.where(data.used, data.mean.mean(axis=0), 0).astype(np.float32)
    if radius is None:
        away = np.square(data.mean - centre) + data.variance
        radius = float(np.quantile(np.sqrt(away[:, data.used].sum(axis=1)), 1 - CLIPPED))
    sigma = {"analytic": analytic_sigma, "theorem": theorem_sigma}[calibration](epsilon, delta, 2 * radius)
    return GaussianMechanism(centre, data.used, radius, sigma, epsilon, delta)


def fit_erasure(data: FitData, seed: int = 0) -> ErasureFilter:
    """LEACE of the private label's one-hot, by the ``concept-erasure`` package, on one posterior sample of each row.

    :raises MissingExtraError: the package is not installed.
    :raises UnworkablePairError: see :meth:`FitData.check_workable`.
    """
    try:
        import torch
        from concept_erasure import LeaceFitter
    except ImportError as error:
        raise MissingExtraError("LEACE needs concept-erasure: pip install 'privsdk[compare]'") from error

    data.check_workable()
    z = torch.from_numpy(data.draw(seed)[:, data.used].astype(np.float64))
    label = torch.from_numpy(np.eye(data.private_classes)[data.private])
    fitter = LeaceFitter.fit(z, label, svd_tol=LEAST_CORRELATION)
    size, used = len(data.used), np.ix_(data.used, data.used)
    matrix, mean = np.zeros((size, size), np.float32), np.zeros(size, np.float32)
    matrix[used] = (fitter.eraser.proj_left @ fitter.eraser.proj_right).numpy().T
    mean[data.used] = fitter.eraser.bias.numpy()
    return ErasureFilter(matrix, mean, data.used)


def fit_optimal_transport(
    data: FitData,
    scores: ScoreNetwork,
    label_aware: bool = False,
    within: Literal["likeliest", "drawn", "everyone"] = "likeliest",
    floor: float = FLOOR,
    seed: int = 0,
) -> OptimalTransport:
    """The maps that make the private classes alike within each utility class.

    ``within`` says whose utility class is which: "likeliest" by the scores, here as at a release, which keeps the
    utility label best; "drawn" by the labels here and by their probabilities at a release, which leaves no more than
    the label ceiling; "everyone" makes one class of all, which leaves nothing and costs the utility label what it has
    in common with the private one.

    ``scores`` are those of the private label (one column for two classes, C for C), then those of the utility labels:
    a bundle's own where one label is private, or :func:`train_label_scores`.  ``floor``, above 0, is the noise's
    variance, as a share of the mean variance of a latent dimension.  Where few people are of a pair of classes their
    covariance is drawn towards that of their utility class, as if by as many people as there are dimensions.

    :raises UsageError: ``scores`` or ``floor`` does not fit.
    :raises UnworkablePairError: see :meth:`FitData.check_workable`.
    """
    data.check_workable()
    _check_scores(scores, data)
    if not floor > 0:
        raise UsageError(f"the noise floor is a share above 0 of the latents' variance, not {floor:g}")
    z = data.draw(seed)[:, data.used].astype(np.float64)
    hidden = _private_columns(data)
    labels = data.utility.astype(np.uint8)
    if within == "likeliest":
        known = np.unique(labels, axis=0)
        labels = known[utility_likelihood(clipped(scores.scores(data.mean))[:, hidden:], known).argmax(axis=1)]
    elif within == "everyone":
        labels = labels[:, :0]
        scores = scores.only(range(hidden))
    utility, kind = np.unique(labels, axis=0, return_inverse=True)
    kind = kind.reshape(-1)

    classes, kinds, size = data.private_classes, len(utility), len(data.used)
    there = np.zeros((classes, kinds), bool)
    means, centres = np.zeros((classes, kinds, size), np.float32), np.zeros((kinds, size), np.float32)
    maps = np.zeros((classes, kinds, size, size), np.float32)
    used = np.ix_(data.used, data.used)
    noise = floor * z.var(axis=0).mean()
    for u in range(kinds):
        alike = [z[(data.private == p) & (kind == u)] for p in range(classes)]
        people = np.array([len(own) for own in alike])
        there[:, u] = people > 0
        shares = people[there[:, u]] / people.sum()
        centre = z[kind == u].mean(axis=0)
        covariances = _covariances([own for own in alike if len(own)]) + noise * np.eye(z.shape[1])
        common = barycentre(covariances, shares)
        centres[u, data.used] = centre
        for p, covariance in zip(np.flatnonzero(there[:, u]), covariances, strict=True):
            means[p, u, data.used] = alike[p].mean(axis=0)
            maps[p, u][used] = transport(covariance, common)
    return OptimalTransport(
        scores=scores,
        utility=utility,
        there=there,
        means=means,
        maps=maps,
        centres=centres,
        used=data.used,
        tau=float(np.sqrt(noise)),
        draw_utility=within == "drawn",
        label_aware=label_aware,
    )


def fit_rank_resample(data: FitData, scores: ScoreNetwork, label_aware: bool = False, seed: int = 0) -> RankResample:
    """The people whose scores others are given: at most 4,096 of ``data``.

    ``scores`` as for :func:`fit_optimal_transport`.

    :raises UsageError: ``scores`` does not fit.
    :raises UnworkablePairError: see :meth:`FitData.check_workable`.
    """
    data.check_workable()
    _check_scores(scores, data)
    people = data[np.random.default_rng(seed).permutation(len(data))[:POPULATION]]
    people.check_workable(least=1)
    return RankResample(
        scores, clipped(scores.scores(people.mean)), people.private, data.private_classes, data.used, label_aware
    )


def train_label_scores(data: FitData, seed: int = 0) -> ScoreNetwork:
    """Calibrated scores of the private label (one column for two classes, C for C), then of the utility labels.

    For labels that a bundle has no scores of, such as a combination of several.  A fifth of ``data`` says when to stop,
    and calibrates.  The same ``seed`` gives the same scores.

    :raises UnworkablePairError: see :meth:`FitData.check_workable`.
    """
    import torch

    from privsdk.fitting.classifiers import train_scores

    data.check_workable()
    private = np.eye(data.private_classes, dtype=np.float32)[data.private][:, -_private_columns(data) :]
    labels = np.concatenate([private, data.utility], axis=1)
    fitted, held_out = np.split(np.random.default_rng(seed).permutation(len(data)), [int(len(data) * (1 - VALIDATION))])
    with torch.random.fork_rng(devices=[]):
        return train_scores(
            data.mean[fitted], labels[fitted], data.mean[held_out], labels[held_out], data.used, seed=seed
        )


def _private_columns(data: FitData) -> int:
    """How many scores tell the private label."""
    return 1 if data.private_classes == 2 else data.private_classes


def _check_scores(scores: ScoreNetwork, data: FitData) -> None:
    columns = _private_columns(data) + data.utility.shape[1]
    if not scores.fits(len(data.used), columns):
        raise UsageError(
            f"the scores must be those of latents of {len(data.used)} dimensions, and {columns}: the private label's, "
            f"then the utility labels'; these are {scores.skip.shape}"
        )


def _covariances(groups: list[Doubles]) -> Doubles:
    """The covariance of each of several groups of people [n_c, D], drawn towards their common one: [C, D, D]."""
    scatter = np.stack([len(own) * np.cov(own.T, bias=True).reshape(2 * own.shape[1:]) for own in groups])
    people = np.array([len(own) for own in groups])[:, None, None]
    common = scatter.sum(axis=0) / people.sum()
    return (scatter + common.shape[0] * common) / (people + common.shape[0])
