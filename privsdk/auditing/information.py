"""How much releases tell of a label, in nats, and how often one must err who knows no more than that.

Three estimates of the mutual information of two variables: :func:`from_cross_entropy` is a lower bound from what an
attacker says, :func:`ksg` and :func:`local` go by the distances of nearest neighbours.  :func:`least_error` and
:func:`at_least` are Fano's inequality, in both directions.  Nothing here is random: the same input gives the same
figure.
"""

from __future__ import annotations

from dataclasses import dataclass
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
FALSE_ALARMS = 0.005  # share of uniform neighbourhoods that count as thin: Gao et al. (2015), appendix
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
        log_probability = _log_softmax(ranked[outside] * slopes + offsets)[np.arange(outside.sum()), labels[outside]]
        # As if, among those it was learned from, there had been one more, of any class.
        unseen = 1 / (inside.sum() + 1)
        told[outside] = np.logaddexp(log_probability + np.log1p(-unseen), np.log(unseen / scores.shape[1]))
    return max(0.0, entropy(labels) + float(told.mean()))


def ksg(x: NDArray, y: NDArray, neighbours: int = 3) -> float:
    """Mutual information of x and y by Kraskov, Stoegbauer and Grassberger (2004), their first estimator, (8).

    In nats, at least 0.  ``x`` is float ``[N]`` or ``[N, D]``.  Where ``y`` is integer or bool ``[N]`` it is a class,
    and the estimator that of Ross (2014): ``neighbours`` are counted among those of a sample's class, and all samples
    within the distance of the last.  Then no more than H(y) is returned.  Else ``y`` is float ``[N]`` or ``[N, E]``.

    Mutual information does not change where a column goes through an increasing function, so columns are brought to a
    normal distribution by their ranks.  Where values repeat, and so distances tie, samples at the distance are counted
    too, which covers mixtures of values that repeat and such that do not, as Gao, Kannan, Oh and Viswanath (2017) do.

    Too small, and by much, where x and y depend strongly: no more than about log(N) can be found.

    :raises UsageError: arrays that do not fit together.
    """
    x, y = _variables(x, y, neighbours)
    x = _apart(_normal_scores(x), 0)
    if y.ndim == 1:
        return _told_of_classes(x, y, neighbours, alpha=0)
    return _told_of_numbers(x, _apart(_normal_scores(y), 1), np.ones(len(x), bool), neighbours, alpha=0)


def local(x: NDArray, y: NDArray, neighbours: int = 8, alpha: float | None = None) -> float:
    """Mutual information of x and y with the local correction of Gao, Ver Steeg and Galstyan (2015), in nats.

    Arguments and limits are those of :func:`ksg`, which takes the density as constant in the cube (the ball of the
    maximum norm) that holds a sample's nearest neighbours.  Where they lie along a line or a plane it is not.  So the
    box along their principal axes that holds them is compared with the cube: where its volume is less than the share
    ``alpha`` of the cube's, the neighbourhood is thin, and the box counts instead.  By default ``alpha`` is the
    share that .5% of neighbourhoods fall below where density is constant, by a simulation for the dimension and the
    number of neighbours.  0 corrects nothing; nor is anything corrected with fewer ``neighbours`` than columns of both
    variables together.

    Two things differ from the paper.  The box goes from the least to the largest of the points and is not centred on
    the sample, and what it is too small in mean for having been drawn around them is made up for, by the same
    simulation.  Without both, a thin band of constant density comes out .3 nats too low.  And for classes no volumes
    are subtracted: the box is that of a sample's class, and how many of the others are in it is counted.

    Columns are first brought to mean 0, variance 1 and no correlation (those of x for classes to a normal distribution
    before, as in :func:`ksg`), so that thin is what one variable is given the other and not each in itself.

    :raises UsageError: arrays that do not fit together, or an ``alpha`` below 0.
    """
    if alpha is not None and alpha < 0:
        raise UsageError(f"alpha is {alpha}: a share of a volume is at least 0")
    x, y = _variables(x, y, neighbours)
    apart = _apart(_decorrelated(x), 0)
    if y.ndim == 1:
        return _told_of_classes(apart, y, neighbours, alpha)
    once = ~_repeated(np.hstack([x, y]))
    return _told_of_numbers(apart, _apart(_decorrelated(y), 1), once, neighbours, alpha)


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
    if not columns.shape[1]:
        return columns
    standardised = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    variances, axes = np.linalg.eigh(standardised.T @ standardised / len(columns))
    there = variances > 1e-10 * variances[-1]
    return standardised @ axes[:, there] / np.sqrt(variances[there])


def _apart(columns: Floats, seed: int) -> Floats:
    """With noise so small that it only parts equal values, by chance and so without a word of the other variable."""
    return columns + NOISE * np.random.default_rng(seed).standard_normal(columns.shape)


def _repeated(columns: Floats) -> NDArray[np.bool_]:
    """Of which samples a value occurs again in its column."""
    found = [np.unique(column, return_inverse=True, return_counts=True)[1:] for column in columns.T]
    return np.any([counts[which] > 1 for which, counts in found], axis=0)


@dataclass(frozen=True, eq=False)
class _Neighbourhoods:
    """The ``nearest`` neighbours of N points in the maximum norm: int64 ``[N, k + 1]``, the point itself among them.

    ``radius`` is the distance of the last, float64 ``[N]``.
    """

    points: Floats
    nearest: NDArray[np.int64]
    radius: Floats

    @staticmethod
    def of(points: Floats, neighbours: int) -> _Neighbourhoods:
        distances, nearest = cKDTree(points).query(points, neighbours + 1, p=np.inf)
        return _Neighbourhoods(points, nearest, distances[:, -1])

    def counted(self, centres: Floats, among: cKDTree) -> Floats:
        """How many are nearer to each centre than the last neighbour to its point, itself included."""
        nearer = np.nextafter(self.radius, 0)
        return among.query_ball_point(centres, nearer, p=np.inf, return_length=True).astype(np.float64)


@dataclass(frozen=True, eq=False)
class _Boxes:
    """Boxes around groups of points, along the principal axes of each group.

    ``axes`` are float64 ``[M, D, D]``, a column each; ``lowest`` and ``highest`` ``[M, D]`` the least and the largest
    coordinate along each.
    """

    axes: Floats
    lowest: Floats
    highest: Floats

    @staticmethod
    def around(groups: Floats) -> _Boxes:
        """``groups`` are float64 ``[M, K, D]``."""
        centred = groups - groups.mean(axis=1, keepdims=True)
        axes = np.linalg.eigh(centred.transpose(0, 2, 1) @ centred)[1]
        coordinates = groups @ axes
        return _Boxes(axes, coordinates.min(axis=1), coordinates.max(axis=1))

    def __getitem__(self, which: NDArray[np.bool_]) -> _Boxes:
        return _Boxes(self.axes[which], self.lowest[which], self.highest[which])

    @property
    def widths(self) -> Floats:
        return self.highest - self.lowest

    def holding(self, points: Floats, candidates: NDArray[np.bool_], tree: cKDTree) -> NDArray[np.int64]:
        """How many of the ``candidates`` among ``points``, which ``tree`` holds, are in each box."""
        middle = np.einsum("mde,me->md", self.axes, (self.lowest + self.highest) / 2)
        reach = np.einsum("mde,me->md", np.abs(self.axes), self.widths / 2).max(axis=1, initial=0)
        near = tree.query_ball_point(middle, reach, p=np.inf)
        box = np.repeat(np.arange(len(near)), [len(one) for one in near])
        row = np.fromiter(chain.from_iterable(near), np.int64, len(box))
        box, row = box[candidates[row]], row[candidates[row]]
        coordinates = np.einsum("md,mde->me", points[row], self.axes[box])
        inside = ((coordinates >= self.lowest[box]) & (coordinates <= self.highest[box])).all(axis=1)
        return np.bincount(box[inside], minlength=len(near))


@dataclass(frozen=True, eq=False)
class _Thin:
    """The thin ones among neighbourhoods.

    ``rows`` are whose they are, ``boxes`` around each, ``log_share`` the logarithm of the share of its cube's volume
    that each box has, and ``shrinkage`` that of how much smaller it is, in mean, than what its points are drawn from.
    """

    rows: NDArray[np.int64]
    boxes: _Boxes
    log_share: Floats
    shrinkage: float

    @staticmethod
    def among(found: _Neighbourhoods, alpha: float | None) -> _Thin:
        neighbours, dimension = found.nearest.shape[1] - 1, found.points.shape[1]
        if alpha == 0 or neighbours < dimension:  # so few points span no box
            rows, usual, shrinkage = np.empty(0, np.int64), 0.0, 0.0
        else:
            rows, (usual, shrinkage) = np.arange(len(found.points)), _uniform(neighbours, dimension)
        boxes = _Boxes.around(found.points[found.nearest[rows]])
        log_share = np.log(boxes.widths / (2 * found.radius[rows, None])).sum(axis=1)
        thin = np.exp(log_share) < (usual if alpha is None else alpha)
        return _Thin(rows[thin], boxes[thin], log_share[thin], shrinkage)


def _told_of_numbers(x: Floats, y: Floats, once: NDArray[np.bool_], neighbours: int, alpha: float | None) -> float:
    """``once`` says of which samples no value repeats: where one does there is no density that a box could correct."""
    if not x.shape[1] or not y.shape[1]:
        return 0.0
    neighbours = min(neighbours, len(x) - 1)
    found = _Neighbourhoods.of(np.hstack([x, y]), neighbours)
    told = digamma(neighbours) + digamma(len(x)) - sum(digamma(found.counted(one, cKDTree(one))) for one in (x, y))
    thin = _Thin.among(found, alpha)
    # In a thin box y follows from x, so the last neighbour is nearer in one of them: that count is one too many.
    correction = thin.shrinkage - thin.log_share + 1 / neighbours
    told[thin.rows] += np.where(once[thin.rows], correction, 0)
    return max(0.0, float(told.mean()))


def _told_of_classes(x: Floats, y: NDArray, neighbours: int, alpha: float | None) -> float:
    if not x.shape[1]:
        return 0.0
    everybody = cKDTree(x)
    told = np.zeros(len(x))
    for one in np.unique(y):
        rows = np.flatnonzero(y == one)
        if len(rows) == 1:
            continue  # nobody of its class is near it
        found = _Neighbourhoods.of(x[rows], min(neighbours, len(rows) - 1))
        own = np.full(len(rows), found.nearest.shape[1] - 1.0)
        everyone = found.counted(x[rows], everybody)
        thin = _Thin.among(found, alpha)
        own[thin.rows] *= np.exp(thin.shrinkage)
        everyone[thin.rows] = own[thin.rows] + thin.boxes.holding(x, y != one, everybody)
        told[rows] = digamma(own) - digamma(everyone) + digamma(len(x)) - digamma(len(rows))
    return float(np.clip(told.mean(), 0, entropy(y)))


@lru_cache
def _uniform(neighbours: int, dimension: int) -> tuple[float, float]:
    """What boxes around neighbourhoods are like where density is constant, by simulation.

    The share of the cube's volume that so few as ``FALSE_ALARMS`` fall below (Gao et al. 2015, appendix).  And, of a
    long and thin box with a point in its middle whose neighbours are drawn from all over it, the mean logarithm of the
    share of its volume that the box around them has.
    """
    rng = np.random.default_rng([neighbours, dimension])

    def log_volume(groups: Floats) -> Floats:
        return np.log(_Boxes.around(groups).widths).sum(axis=1)

    def reaching_the_edge(groups: Floats) -> Floats:
        """Points around the first of each group, which is in the middle; the furthest is on the edge of -1 to 1."""
        groups[:, 0] = 0
        return groups / np.abs(groups).max(axis=(1, 2), keepdims=True)

    cube = reaching_the_edge(rng.uniform(-1, 1, (TRIALS, neighbours + 1, dimension)))
    alpha = np.exp(np.quantile(log_volume(cube), FALSE_ALARMS)) / 2**dimension
    along = reaching_the_edge(rng.uniform(-1, 1, (TRIALS, neighbours + 1, 1)))
    across = rng.random((TRIALS, neighbours + 1, dimension - 1)) * THIN
    drawn = log_volume(np.concatenate([along, across], axis=2)).mean()
    return float(alpha), float(drawn - np.log(2) - (dimension - 1) * np.log(THIN))
