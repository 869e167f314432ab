"""Labels of the user's own: learned from the user's samples, and put beside those that the bundle knows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from privsdk.auditing.metrics import auroc
from privsdk.errors import NotReachedError, UnworkablePairError, UsageError
from privsdk.filters.code import Moments
from privsdk.filters.couplings import PublicFlow
from privsdk.filters.joint_scores import JointScores
from privsdk.filters.scores import ScoreNetwork, clipped
from privsdk.fitting.data import HANDFUL
from privsdk.fitting.material import OwnSamples
from privsdk.fitting.wish import Wish
from privsdk.names import folded

if TYPE_CHECKING:
    from privsdk.bundle import Bundle, PublicLatents

Floats = NDArray[np.float32]

FOLDS = 5
# On standardised features, in units of one sample's cross-entropy: from what leaves next to nothing of thirty samples
# to what leaves a thousand alone.
PENALTIES = np.geomspace(3000, 1, 9)
NEWTON_STEPS = 8
TEMPERATURES = np.geomspace(0.25, 4, 121)
MOMENT_DRAWS = 4
# By how many standard errors an AUROC must exceed one half, so that a label of which nothing shows passes one time in
# forty.
TOLD = 2.0


@dataclass(frozen=True, eq=False)
class Regression:
    """A logistic regression under an l2 penalty, both chosen and judged by five folds.

    ``weights`` is float64 [D], ``covariance`` [D, D] how sure they are: the inverse of the curvature, where the penalty
    counts as a prior (Laplace's approximation).  ``said`` is float64 [N], the calibrated log-odds of each sample by a
    regression on the other folds.  A penalty makes scores timid, and the ``temperature``, of the log-odds that were
    said, takes that back; in ``said`` each fold has that of the others.
    """

    weights: NDArray[np.float64]
    covariance: NDArray[np.float64]
    intercept: float
    temperature: float
    said: NDArray[np.float64]

    @classmethod
    def of(cls, features: NDArray[Any], labels: NDArray[np.bool_], seed: int) -> Regression:
        """Of ``labels`` [N] on standardised ``features`` [N, D]; either class needs as many samples as there are folds.

        The penalty is that of the least cross-entropy on what a fold has not seen.
        """
        fold = folds(labels, FOLDS, seed)
        said = np.empty((len(PENALTIES), len(labels)))
        for number in range(FOLDS):
            inside, outside = fold != number, fold == number
            for row, (weights, _) in zip(said, _path(features[inside], labels[inside]), strict=True):
                row[outside] = features[outside] @ weights[:-1] + weights[-1]
        best = int(np.argmin(_cross_entropy(said, labels)))
        weights, covariance = list(_path(features, labels))[best]
        calibrated = said[best].copy()
        for number in range(FOLDS):
            calibrated[fold == number] /= _temperature(said[best][fold != number], labels[fold != number])
        found = _temperature(said[best], labels)
        return cls(weights[:-1], covariance[:-1, :-1], float(weights[-1]), found, calibrated)

    def unlearned(self, spread: NDArray[np.float64]) -> float:
        """The AUROC that somebody can be expected to reach, who knows the label's weights, once the score is gone.

        ``spread`` is the covariance of features over people, [D, D].  What the weights may be off by makes log-odds r
        of variance v beside the score's own, of variance s.  Once these are gone r tells the label as a probit does:
        its correlation rho with what decides has rho^2 = v / (v + s + 8 / pi).  That is what these samples leave open,
        and no bound: a label may show in other ways than as a sum of features.
        """
        along = spread @ self.weights
        variance = float(self.weights @ along)
        beside = spread - np.outer(along, along) / max(variance, 1e-9)
        open_ = float(np.trace(self.covariance @ beside))
        explained = 2 / np.pi * open_ / (open_ + variance / self.temperature**2 + 8 / np.pi)
        return NormalDist().cdf(float(np.sqrt(2 * explained / (1 - explained))))


@dataclass(frozen=True, eq=False)
class OwnLabel:
    """A label that the bundle does not know, and the score that n samples teach of it.

    ``score`` is a network of this one attribute.  ``labels``, bool [n], are those of the samples and ``said``, float64
    [n], cross-fitted scores of them.  ``unlearned`` is the leakage to be expected of what so few samples cannot teach.
    """

    name: str
    score: ScoreNetwork
    labels: NDArray[np.bool_]
    said: NDArray[np.float64]
    unlearned: float

    @property
    def auroc(self) -> float:
        """How well a score tells the label of samples that it was not learned from."""
        return float(auroc(self.labels, self.said))

    @property
    def standard_error(self) -> float:
        return standard_error(self.auroc, self.labels)

    @classmethod
    def learned(
        cls, name: str, known: ScoreNetwork, public: PublicLatents, mean: Floats, labels: NDArray[np.bool_], seed: int
    ) -> OwnLabel:
        """From samples with posterior means ``mean`` [n, Z]: a regression on these and on the ``known`` scores of them.

        What the bundle knows of people is most of what thirty samples can tell; of a label unlike all others the
        latents themselves tell more.  All is standardised as it is known of many, not of the few.
        """
        scale = _Scale.of(known, public.mean)
        found = Regression.of(scale.features(mean), labels, seed)
        unlearned = found.unlearned(np.cov(scale.features(public.mean), rowvar=False))
        return cls(name, scale.network(found), labels, found.said, unlearned)


def names_of_own(bundle: Bundle, asked: Sequence[str | Sequence[str]], given: Collection[str]) -> tuple[str, ...]:
    """Those names in ``asked`` that the bundle does not know and that labels are ``given`` of, by the latter's names.

    :raises UsageError: labels are given twice, or their name cannot be printed, or nobody knows it or asks for it.
    """
    names = [name for one in asked for name in ([one] if isinstance(one, str) else one)]
    known = {folded(name) for name in (*bundle.attributes, *bundle.groups)}
    by_folded: dict[str, str] = {}
    for name in given:
        if not isinstance(name, str) or not folded(name) or not name.isprintable():
            raise UsageError(f"{name!r} can be no label's name: use letters, digits, underscores and spaces")
        if folded(name) in by_folded:
            raise UsageError(f"labels of {name} are given twice: give them once")
        if folded(name) not in known | {folded(one) for one in names}:
            raise UsageError(
                f"labels of {name} are given, which is not asked for and none of the bundle's: mend the name"
            )
        by_folded[folded(name)] = name
    return tuple(
        dict.fromkeys(
            by_folded[folded(name)] for name in names if folded(name) not in known and folded(name) in by_folded
        )
    )


def learn(bundle: Bundle, wish: Wish, names: Sequence[str], own: OwnSamples | None, seed: int) -> list[OwnLabel]:
    """The labels of these names, each from the samples that it is given of.

    A label of which these samples show nothing is refused, whether it is to be hidden or kept.  What is fitted to it
    would work on a score that is noise, and the check, on latents whose labels are drawn from that score, would state
    that all of it is hidden: a figure that looks best where it means least.

    :raises UnworkablePairError: fewer than ten samples of either class.
    :raises NotReachedError: what the samples tell of a label cannot be told from guessing.
    """
    found = []
    for name in names:
        given = np.full(0, np.nan) if own is None else own.labels[:, wish.names.index(name)]
        count = [int((given == one).sum()) for one in (0, 1)]
        if own is None or min(count) < HANDFUL:
            raise UnworkablePairError(
                f"{name} is known from {count[1]} samples that have it and {count[0]} that have not, too few to learn "
                f"what gives it away: give at least {HANDFUL} of either"
            )
        rows = np.flatnonzero(~np.isnan(given))
        one = OwnLabel.learned(name, bundle.scores, bundle.public, own.mean[rows], given[rows] == 1, seed)
        if one.auroc < 0.5 + TOLD * standard_error(0.5, one.labels):
            raise NotReachedError(
                f"what {len(rows)} samples show of {name} cannot be told from guessing (AUROC {one.auroc:.2f} on "
                f"samples not learned from; at least {0.5 + TOLD * standard_error(0.5, one.labels):.2f} is needed), "
                "so nothing could be hidden or kept knowingly: give more samples, or a label that shows in them"
            )
        found.append(one)
    return found


@dataclass(frozen=True, eq=False)
class Extended:
    """What a fit asks of a bundle, of its attributes and of the user's own labels behind them.

    What people are like given an own label, and how it goes with other labels, is taken from public latents; how much
    more of it leaks on real samples is taken to be as much as of any attribute of the bundle.
    """

    attributes: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]
    gaps: dict[str, float]
    used: NDArray[np.bool_]
    scores: ScoreNetwork
    flow: PublicFlow
    moments: Moments
    joint_scores: JointScores
    public: PublicLatents

    @classmethod
    def of(cls, bundle: Bundle, own: Sequence[OwnLabel], seed: int) -> Extended:
        """The bundle with these labels added."""
        rng = np.random.default_rng([seed, 6])
        scores = _beside(bundle.scores, [label.score for label in own])
        public, known = bundle.public, len(bundle.attributes)
        of_public = clipped(scores.scores(public.mean))
        added = of_public[:, known:]
        likely = 1 / (1 + np.exp(-added.astype(np.float64)))
        labels = np.concatenate([public.labels, rng.random(added.shape) < likely], axis=1, dtype=np.uint8)
        return cls(
            (*bundle.attributes, *(label.name for label in own)),
            bundle.groups,
            {**bundle.gaps, **dict.fromkeys((label.name for label in own), max(bundle.gaps.values()))},
            bundle.used,
            scores,
            bundle.flow,
            _with_moments(bundle, added, rng),
            _with_joint_scores(bundle.joint_scores, of_public, known),
            replace(public, labels=labels),
        )


def standard_error(area: float, labels: NDArray[Any]) -> float:
    """Of an AUROC, by Hanley and McNeil (1982), from samples with these ``labels`` [N]."""
    positives = int(np.sum(labels == 1))
    negatives = len(labels) - positives
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    return float(np.sqrt(max(variance, 0) / (positives * negatives)))


def folds(classes: NDArray[Any], count: int, seed: int) -> NDArray[np.int64]:
    """The fold of each sample, int64 [N], with nearly as many of each of the ``classes`` [N] in every one."""
    rng = np.random.default_rng([seed, 7])
    fold = np.empty(len(classes), np.int64)
    start = 0
    for one in np.unique(classes):
        rows = rng.permutation(np.flatnonzero(classes == one))
        fold[rows] = (start + np.arange(len(rows))) % count
        start += len(rows)
    return fold


@dataclass(frozen=True, eq=False)
class _Scale:
    """Latents and known scores as a regression sees them, and its way back into a score network."""

    known: ScoreNetwork
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def of(cls, known: ScoreNetwork, latents: Floats) -> _Scale:
        scores = known.scores(latents)
        return cls(known, scores.mean(axis=0, dtype=np.float64), np.maximum(scores.std(axis=0, dtype=np.float64), 1e-3))

    def features(self, z: Floats) -> NDArray[np.float64]:
        """Of latents [N, Z]: standardised, and the A standardised scores of them, float64 [N, Z + A]."""
        scores = (self.known.scores(z) - self.mean) / self.spread
        return np.concatenate([(z - self.known.shift) * self.known.inverse_scale, scores], axis=1)

    def network(self, found: Regression) -> ScoreNetwork:
        """The network whose one score is what the regression says: scores are linear in what networks are made of."""
        size = len(self.known.shift)
        of_scores = found.weights[size:] / self.spread
        within = of_scores / self.known.temperature
        parts = (
            found.weights[:size] + self.known.skip @ within,
            self.known.out @ within,
            found.intercept + self.known.out_bias @ within - self.mean @ of_scores,
            found.temperature,
        )
        skip, out, bias, temperature = (np.asarray(part, np.float32) for part in parts)
        return replace(
            self.known,
            skip=skip[:, None],
            out=out[:, None],
            out_bias=bias[None],
            temperature=temperature[None],
        )


def _beside(known: ScoreNetwork, added: Sequence[ScoreNetwork]) -> ScoreNetwork:
    """One network for the attributes of all of them, which share their hidden layer."""
    columns = {
        name: np.concatenate([getattr(one, name) for one in (known, *added)], axis=-1)
        for name in ("skip", "out", "out_bias", "temperature")
    }
    return replace(known, **columns)


def _with_moments(bundle: Bundle, added: Floats, rng: np.random.Generator) -> Moments:
    """Those of the bundle, and those of public latents given the ``added`` scores of these, [N, B]."""
    public = bundle.public
    drawn = []
    for _ in range(MOMENT_DRAWS):
        noise = rng.standard_normal(public.mean.shape, np.float32)
        drawn.append(bundle.flow.forward((public.mean + np.sqrt(public.variance) * noise).astype(np.float32)))
    theirs = Moments.of(np.concatenate(drawn), np.tile(added, (MOMENT_DRAWS, 1)))
    known = bundle.moments
    return Moments(
        np.concatenate([known.knots, theirs.knots]),
        np.concatenate([known.mean, theirs.mean]),
        np.concatenate([known.spread, theirs.spread]),
    )


def _with_joint_scores(known: JointScores, of_public: Floats, count: int) -> JointScores:
    """Those of the first ``count`` attributes stay; the others, and how they go with all, are as in public latents."""
    theirs = JointScores.of(of_public)
    of_known = iter(known.shares)
    pairs = zip(combinations(range(of_public.shape[1]), 2), theirs.shares, strict=True)
    shares = [next(of_known) if other < count else share for (_, other), share in pairs]
    return JointScores(np.concatenate([known.quantiles, theirs.quantiles[count:]]), np.stack(shares))


def _path(
    features: NDArray[Any], labels: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """The weights under each penalty, the intercept behind them, [D + 1]: by Newton's method, each from the last.

    And the inverse of the curvature there, [D + 1, D + 1].
    """
    design = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    weights = np.zeros(design.shape[1])
    for penalty in PENALTIES:
        shrinking = np.append(np.full(features.shape[1], penalty), 1e-6)
        for _ in range(NEWTON_STEPS):
            likely = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
            curvature = (design * (likely * (1 - likely))[:, None]).T @ design + np.diag(shrinking)
            weights = weights - np.linalg.solve(curvature, design.T @ (likely - labels) + shrinking * weights)
        yield weights, np.linalg.inv(curvature)


def _cross_entropy(said: NDArray[np.float64], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of log-odds [..., N]: [...]."""
    entropy: NDArray[np.float64] = (np.logaddexp(0, said) - labels * said).mean(axis=-1)
    return entropy


def _temperature(said: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """The one with which these log-odds have the least cross-entropy."""
    return float(TEMPERATURES[np.argmin(_cross_entropy(said / TEMPERATURES[:, None], labels))])
