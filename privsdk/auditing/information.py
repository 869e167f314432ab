"""How much releases tell of a label, in nats, and how often one must err who knows no more than that.

Three estimates of the mutual information of two variables: :func:`from_cross_entropy` is a lower bound from what an
attacker says, :func:`ksg` and :func:`local` go by the distances of nearest neighbours.  :func:`least_error` and
:func:`at_least` are Fano's inequality, in both directions.  Nothing here is random: the same input gives the same
figure.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import bisect, minimize
from scipy.spatial import cKDTree
from scipy.special import digamma, entr, logsumexp, ndtri
from scipy.stats import rankdata

from privsdk.errors import UsageError

Floats = NDArray[np.float64]
Classes = NDArray[np.int64]

FOLDS = 5  # in which scores are calibrated
PENALTY = 0.1  # on the squared slopes of a calibration, as few samples could make them infinite
TRIALS = 20_000  # of the simulation that says what a box of a few uniform points is like
FALSE_ALARMS = 0.005  # share of neighbourhoods that count as thin where density is constant
NOISE = 1e-10  # of a spread of 1; parts values that repeat
THIN = 1e-3  # width of the long box that is simulated; any that is small does


def entropy(labels: NDArray) -> float:
    """H(y) in nats, from the shares of the classes; ``labels`` are ``[N]``, of any values.

    Of few samples too small, by about (C - 1) / 2N of C classes (Miller 1955).
    """
    counts = np.unique(_rows(labels, "labels"), return_counts=True)[1]
    return float(entr(counts / counts.sum()).sum())


def from_cross_entropy(labels: NDArray, scores: NDArray, strata: NDArray | None = None) -> float:
    """H(y) less an attacker's cross-entropy: Chen et al. (2019), (18)-(22).  In nats, at least 0.

    A lower bound of the mutual information of label and release in expectation: an attacker whose probabilities are
    wrong only loses by it.  Where nothing is told it comes out a little below 0, and 0 is returned then.

    ``labels`` are integers ``[N]``, 0 to C - 1; ``scores`` are as attackers give them: of two classes float ``[N]``,
    above 0 for 1, of more float ``[N, C]``.  They need not be probabilities, as what an SVM or a forest says is none:
    of each column only the ranks are used, brought to a normal distribution, with a slope and an offset for each class
    (Platt 1999; for more classes vector scaling, Guo et al. 2017).  These are learned in five folds, so no sample is
    scored by a calibration that has seen its label.

    ``strata`` are integers ``[N]``, as in ``protocols.Attack``: ranks are those within a stratum, as scores of
    different ones have no common scale.  The calibration is learned in all of them together, so strata must be alike in
    what they tell, as folds are.

    :raises UsageError: labels, scores or strata that do not fit together.
    """
    labels = _rows(labels, "labels")
    labels = labels.astype(np.int64) if labels.dtype == bool else labels
    scores = np.asarray(scores, np.float64)
    if scores.ndim == 1:
        scores = np.stack([-scores, scores], axis=1)
    strata = np.zeros(len(labels), np.int64) if strata is None else np.asarray(strata)
    if scores.ndim != 2 or len(scores) != len(labels) or strata.shape != labels.shape:
        raise UsageError(
            f"{len(labels)} labels, scores {list(scores.shape)} and strata {list(strata.shape)}: give one of each for "
            "every sample"
        )
    if np.isnan(scores).any():
        raise UsageError("some scores are not a number: leave those samples out")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise UsageError(f"labels are integers from 0 to {scores.shape[1] - 1} where scores are of so many classes")
    ranked = np.empty(scores.shape)
    for stratum in np.unique(strata):
        ranked[strata == stratum] = _normal_scores(scores[strata == stratum])
    # Ordered by class and dealt out in turn, so that every fold has its share of each.
    fold = np.empty(len(labels), np.int64)
    shuffled = np.random.default_rng(0).permutation(len(labels))
    fold[shuffled[np.argsort(labels[shuffled], kind="stable")]] = np.arange(len(labels)) % FOLDS
    told = np.empty(len(labels))
    for number in np.unique(fold):
        inside, outside = fold != number, fold == number
        slopes, offsets = _calibration(ranked[inside], labels[inside])
        told[outside] = _log_softmax(ranked[outside] * slopes + offsets)[np.arange(outside.sum()), labels[outside]]
    return max(0.0, entropy(labels) + float(told.mean()))


def ksg(x: NDArray, y: NDArray, neighbours: int = 3) -> float:
    """Mutual information of x and y by Kraskov, Stoegbauer and Grassberger (2004), their first estimator, (8).

    In nats, at least 0.  ``x`` is float ``[N]`` or ``[N, D]``.  Where ``y`` is integer or bool ``[N]`` it is a class,
    and the estimator that of Ross (2014): ``neighbours`` are counted among those of a sample's class, and all
    samples within the distance of the last.  Then it is at most H(y).  Else ``y`` is float ``[N]`` or ``[N, E]``.

    Mutual information does not change where a column goes through an increasing function, so each is brought to a
    normal distribution by its ranks.  Values may repeat, always or now and then, which is what Gao, Kannan, Oh and
    Viswanath (2017) are after: noise too small to tell anything parts them.

    It cannot say more than about log(N / neighbours), and is too small long before where x and y depend strongly.  More
    than about eight columns hide what few of them tell: so do many small patches of classes, as on a chess board.

    :raises UsageError: arrays that do not fit together.
    """
    x, y = _variables(x, y, neighbours)
    if not x.size or not y.size:
        return 0.0
    x = _parted(_normal_scores(x), 0)
    if y.ndim == 1:
        return _told_of_classes(x, y, neighbours, along_axes=False)
    told, _, _ = _told_of_numbers(x, _parted(_normal_scores(y), 1), neighbours)
    return max(0.0, float(told.mean()))


def local(x: NDArray, y: NDArray, neighbours: int = 8) -> float:
    """Mutual information of x and y by Gao, Ver Steeg and Galstyan (2015), in nats, at least 0.

    Arguments are those of :func:`ksg`, which takes the density around a sample as constant in the cube (the ball of
    the maximum norm) that holds its neighbours.  Where x and y depend strongly neighbours lie along a line or a plane,
    and it is not.  So the box along their principal axes that just holds them is compared with the cube: one smaller
    than the share alpha of the cube counts in its place.  Alpha is what .5% of neighbourhoods are below where density
    is constant, by a simulation for the dimension and the number of neighbours.  With fewer ``neighbours`` than columns
    in both variables, and where a value repeats, there is no box.

    Two things are not as in the paper, and a thin band of constant density would come out .3 nats too low without
    them: the box is not centred on the sample, and what it is too small in mean for having been drawn around few points
    is made up for, by the same simulation.

    Of classes there is no volume to correct: those of :func:`ksg` cancel.  There the cube is too wide where classes lie
    side by side in thin layers, so distances inside it are measured again along the principal axes of all that is in
    it, each in its own spread, and half of the ``neighbours`` are counted by these.  That is the same for all classes
    and so tells of none where there is nothing to tell.

    Of 4,000 samples a band about as wide as neighbours are apart comes out up to .4 nats too small, and one that is
    much narrower and Gaussian across .2 too large for each dimension that it is narrow in.

    Columns are first brought to mean 0, variance 1 and no correlation within x and within y, so that what is thin is
    one variable given the other.  They are not ranked, which would take away what lies between two neighbouring values:
    bring down tails that are much longer than an exponential distribution's before.

    :raises UsageError: arrays that do not fit together.
    """
    x, y = _variables(x, y, neighbours)
    if not x.size or not y.size:
        return 0.0
    parted = _parted(_decorrelated(x), 0)
    if y.ndim == 1:
        return _told_of_classes(parted, y, neighbours, along_axes=True)
    told, groups, radius = _told_of_numbers(parted, _parted(_decorrelated(y), 1), neighbours)
    count, dimension = groups.shape[1] - 1, groups.shape[2]
    if count >= dimension:  # fewer points span no box
        alpha, shrinkage = _uniform(count, dimension)
        log_share = _log_volumes(groups) - dimension * np.log(2 * radius)
        thin = (log_share < np.log(alpha)) & ~_repeated(np.hstack([x, y]))
        # In a thin box y follows from x, so the last neighbour is nearer in one of them: that count is one too many.
        told += np.where(thin, shrinkage - log_share + 1 / count, 0)
    return max(0.0, float(told.mean()))


def least_error(information: float, entropy: float, classes: int) -> float:
    """How often one errs at least who knows so much of a label: Fano's inequality (Cover and Thomas 2006, 2.10).

    The smallest share of errors P, 0 to 1 - 1 / C, with entropy - information <= h(P) + P log(C - 1), h being the
    entropy of a coin.  ``information`` and the label's ``entropy`` are in nats, ``classes`` is C.

    :raises UsageError: an entropy that so many classes cannot have.
    """
    _require_entropy(entropy, classes)
    unknown = entropy - max(information, 0.0)
    worst = 1 - 1 / classes
    if unknown <= 0:
        return 0.0
    if unknown >= _fano(worst, classes):
        return worst
    return float(bisect(lambda error: _fano(error, classes) - unknown, 0, worst, xtol=1e-14))


def at_least(error: float, entropy: float, classes: int) -> float:
    """How much must be known of a label by one who errs so often, in nats: Fano's inequality the other way.

    entropy - h(P) - P log(C - 1), at least 0, for the share of errors ``error`` of the best guess that anybody makes.

    :raises UsageError: an error that is no share, or an entropy that so many classes cannot have.
    """
    _require_entropy(entropy, classes)
    if not 0 <= error <= 1:
        raise UsageError(f"the error is {error}: a share of errors lies between 0 and 1")
    return max(0.0, entropy - _fano(error, classes))


def _fano(error: float, classes: int) -> float:
    """What is unknown at most, on average, of one of ``classes`` where so many guesses are wrong."""
    return float(entr(error) + entr(1 - error) + error * np.log(classes - 1))


def _require_entropy(entropy: float, classes: int) -> None:
    if classes < 2:
        raise UsageError(f"{classes} classes: a label that can be told has two or more")
    if not 0 <= entropy <= np.log(classes) + 1e-9:
        raise UsageError(f"an entropy of {entropy}: that of {classes} classes lies between 0 and {np.log(classes):.4f}")


def _rows(values: NDArray, name: str) -> NDArray:
    values = np.asarray(values)
    if values.ndim != 1 or not len(values):
        raise UsageError(f"{name} are {list(values.shape)}: give one for each sample, [N]")
    return values


def _log_softmax(scores: Floats) -> Floats:
    return scores - logsumexp(scores, axis=1, keepdims=True)


def _calibration(scores: Floats, labels: Classes) -> tuple[Floats, Floats]:
    """A slope and an offset for each class, float64 ``[C]``, with which scores ``[N, C]`` are log-probabilities."""
    classes = scores.shape[1]
    true = np.eye(classes)[labels]

    def loss(parameters: Floats) -> tuple[float, Floats]:
        slopes, offsets = parameters[:classes], parameters[classes:]
        log_probability = _log_softmax(scores * slopes + offsets)
        excess = np.exp(log_probability) - true
        gradient = np.concatenate([(excess * scores).sum(axis=0) + PENALTY * slopes, excess.sum(axis=0)])
        return PENALTY / 2 * float(slopes @ slopes) - float((true * log_probability).sum()), gradient

    found = minimize(loss, np.zeros(2 * classes), jac=True, method="L-BFGS-B").x
    return found[:classes], found[classes:]


def _variables(x: NDArray, y: NDArray, neighbours: int) -> tuple[Floats, NDArray]:
    """x as float64 ``[N, D]``; y as classes ``[N]`` or float64 ``[N, E]``; columns that do not vary are left out."""
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim not in (1, 2) or y.ndim not in (1, 2) or len(x) != len(y) or len(x) < 2:
        raise UsageError(f"x is {list(x.shape)}, y {list(y.shape)}: give [N] or [N, D] of the same two or more samples")
    if neighbours < 1:
        raise UsageError(f"{neighbours} neighbours: give one or more")
    return _columns(x), y if y.ndim == 1 and y.dtype.kind in "iub" else _columns(y)


def _columns(values: NDArray) -> Floats:
    columns = values.reshape(len(values), -1).astype(np.float64)
    if not np.isfinite(columns).all():
        raise UsageError("some values are not finite: leave those samples out")
    # What differs by less is a constant, rounded.
    return columns[:, np.ptp(columns, axis=0) > 1e-12 * np.abs(columns).max(axis=0)]


def _normal_scores(columns: Floats) -> Floats:
    """Each column brought to a normal distribution by its ranks; equal values stay equal."""
    return ndtri((rankdata(columns, axis=0) - 0.5) / len(columns))


def _decorrelated(columns: Floats) -> Floats:
    """Mean 0, variance 1 and no correlation; what a column has in common with others, exactly, is not repeated."""
    standardised = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    variances, axes = np.linalg.eigh(standardised.T @ standardised / len(columns))
    there = variances > 1e-10 * variances[-1]
    return standardised @ axes[:, there] / np.sqrt(variances[there])


def _parted(columns: Floats, seed: int) -> Floats:
    """With noise so small that it only parts equal values, by chance and so without a word of the other variable."""
    return columns + NOISE * np.random.default_rng(seed).standard_normal(columns.shape)


def _repeated(columns: Floats) -> NDArray[np.bool_]:
    """Of which samples a value occurs again in its column."""
    found = [np.unique(column, return_inverse=True, return_counts=True)[1:] for column in columns.T]
    return np.any([counts[which] > 1 for which, counts in found], axis=0)


def _nearer(centres: Floats, radius: Floats, tree: cKDTree) -> Floats:
    """How many points of a tree are nearer to each centre than its radius, itself included."""
    return tree.query_ball_point(centres, np.nextafter(radius, 0), p=np.inf, return_length=True).astype(np.float64)


def _told_of_numbers(x: Floats, y: Floats, neighbours: int) -> tuple[Floats, Floats, Floats]:
    """What each sample adds to the estimate; the sample and its neighbours, ``[N, k + 1, D]``; and how far they reach.

    :func:`ksg` and :func:`local` start from it.
    """
    joint = np.hstack([x, y])
    neighbours = min(neighbours, len(joint) - 1)
    distances, nearest = cKDTree(joint).query(joint, neighbours + 1, p=np.inf)
    radius = distances[:, -1]
    apart = digamma(_nearer(x, radius, cKDTree(x))) + digamma(_nearer(y, radius, cKDTree(y)))
    return digamma(neighbours) + digamma(len(joint)) - apart, joint[nearest], radius


def _told_of_classes(x: Floats, y: NDArray, neighbours: int, along_axes: bool) -> float:
    everybody = cKDTree(x)
    told = np.zeros(len(x))
    for one in np.unique(y):
        mine = y == one
        size = int(mine.sum())
        if size == 1:
            continue  # nobody of its class is near it
        count = min(neighbours, size - 1)
        radius = cKDTree(x[mine]).query(x[mine], count + 1, p=np.inf)[0][:, -1]
        if along_axes and count > 1:
            count //= 2
            everyone = _nearer_along_axes(x, mine, radius, count, everybody)
        else:
            everyone = _nearer(x[mine], radius, everybody)
        told[mine] = digamma(count) - digamma(everyone) + digamma(len(x)) - digamma(size)
    return float(np.clip(told.mean(), 0, entropy(y)))


def _nearer_along_axes(x: Floats, mine: NDArray[np.bool_], radius: Floats, count: int, everybody: cKDTree) -> Floats:
    """How many are nearer to each sample of a class than the ``count``-th other of its class, itself included.

    Distances are those in the maximum norm along the principal axes of all samples that are nearer than ``radius``,
    divided by their standard deviations along each.  One on the edge is left out: that it is of the class is no chance.
    """
    near = everybody.query_ball_point(x[mine], np.nextafter(radius, 0), p=np.inf)
    sizes = np.array([len(one) for one in near])
    starts = np.cumsum(sizes) - sizes
    row = np.fromiter(chain.from_iterable(near), np.int64, sizes.sum())
    cube = np.repeat(np.arange(len(near)), sizes)
    offset = x[row] - x[mine][cube]
    centred = offset - (np.add.reduceat(offset, starts) / sizes[:, None])[cube]
    covariance = np.add.reduceat(centred[:, :, None] * centred[:, None], starts) / sizes[:, None, None]
    variances, axes = np.linalg.eigh(covariance)
    spread = np.sqrt(np.maximum(variances, 1e-12 * variances[:, -1:]))  # as few points may lie in a plane
    distance = np.abs(np.einsum("pd,pde->pe", offset, axes[cube]) / spread[cube]).max(axis=1)
    order = np.lexsort((distance, cube))
    own = mine[row][order]
    # Each sample is the first of its own cube.
    before = np.cumsum(own) - np.repeat(np.cumsum(own)[starts], sizes)
    return (np.arange(len(order)) - starts[cube])[own & (before == count)].astype(np.float64)


def _log_volumes(groups: Floats) -> Floats:
    """Of the boxes along the principal axes of groups of points, float64 ``[M, K, D]``, that just hold them."""
    centred = groups - groups.mean(axis=1, keepdims=True)
    axes = np.linalg.eigh(centred.transpose(0, 2, 1) @ centred)[1]
    return np.log(np.ptp(centred @ axes, axis=1)).sum(axis=1)


@lru_cache
def _uniform(neighbours: int, dimension: int) -> tuple[float, float]:
    """What boxes around neighbourhoods are like where density is constant, by simulation.

    Alpha: the share of the cube's volume that so few as ``FALSE_ALARMS`` are below, as Gao et al. (2015) derive it.
    And, of a long and thin box with a point in its middle whose neighbours are drawn from all over it, the mean
    logarithm of the share of its volume that the box around them has.  How many of its sides are thin hardly matters.
    """
    rng = np.random.default_rng([neighbours, dimension])

    def reaching_the_edge(groups: Floats) -> Floats:
        """Points around the first of each group, which is in the middle; the furthest is on the edge of -1 to 1."""
        groups[:, 0] = 0
        return groups / np.abs(groups).max(axis=(1, 2), keepdims=True)

    cube = reaching_the_edge(rng.uniform(-1, 1, (TRIALS, neighbours + 1, dimension)))
    alpha = np.exp(np.quantile(_log_volumes(cube), FALSE_ALARMS)) / 2**dimension
    along = reaching_the_edge(rng.uniform(-1, 1, (TRIALS, neighbours + 1, 1)))
    across = rng.random((TRIALS, neighbours + 1, dimension - 1)) * THIN
    drawn = _log_volumes(np.concatenate([along, across], axis=2)).mean()
    return float(alpha), float(drawn - np.log(2) - (dimension - 1) * np.log(THIN))
