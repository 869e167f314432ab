"""What the dials do for one wish: leakage, utility, distortion and linkage along lambda and along rho."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from privsdk.filters.flow import FlowFilter
from privsdk.fitting import check as checking
from privsdk.fitting.asked import Asked
from privsdk.fitting.check import Attacker, auroc
from privsdk.fitting.default import learn
from privsdk.fitting.dials import apart, by_utility, distortion
from privsdk.fitting.engines import engine_for
from privsdk.fitting.fair_score import Candidate
from privsdk.fitting.material import Part, gather
from privsdk.fitting.wish import Wish, resolve
from privsdk.progress import Progress

if TYPE_CHECKING:
    from privsdk.bundle import Bundle

Floats = NDArray[np.float32]

FAIRNESS = (0.0, 0.01, 0.02, 0.04, 0.1, 1.0)
RHOS = (1.0, 0.9, 0.8, 0.65, 0.5)
CROWD = 1000
FACES = 4


@dataclass(frozen=True)
class Point:
    """What was found at one setting of the dials.

    ``leakage`` is the AUROC, .5 to 1, of the strongest attacker for the private label (or combination) that is told
    best with its ``gap``, what real samples leak more, and ``standard_error`` that AUROC's; ``fair_score_leakage`` what
    of it the fair score alone explains.  ``lost`` is how much accuracy the utility label loses that loses most.
    ``distortion_share`` is the mean squared distance between release and original, over that between two originals.
    ``linked`` is the share of releases to whose latent their own original is the nearest of ``Curve.crowd``, and
    ``rank`` the median place of their own among these, 1 being the nearest.
    """

    fairness: float
    a: float
    rho: float
    leakage: float
    gap: float
    standard_error: float
    fair_score_leakage: float
    lost: float
    distortion_share: float
    linked: float
    rank: float


@dataclass(frozen=True, eq=False)
class Curve:
    """Points along lambda at rho 1, and along rho at one lambda, of filters for one wish.

    They were measured on ``latents`` public latents of ``bundle``, by ``attackers`` trained afresh.  ``label_ceiling``
    is what the true utility labels of these tell of the private one.  ``faces`` are samples of nobody, uint8
    [F, 1 + K, *sample_shape]: each public latent decoded, then its releases at the K points ``shown``; None where
    samples are no pictures, or nobody has one of the classes.
    """

    bundle: str
    private: tuple[str, ...]
    utility: tuple[str, ...]
    latents: int
    crowd: int
    attackers: tuple[str, ...]
    label_ceiling: float
    along_fairness: tuple[Point, ...]
    along_rho: tuple[Point, ...]
    shown: tuple[Point, ...]
    faces: NDArray[np.uint8] | None


def curve(
    bundle: Bundle,
    private: str | Sequence[str],
    utility: str | Sequence[str],
    fairness: float | None = None,
    a: float = 1.0,
    keep: str | Sequence[str] = (),
    seed: int = 0,
    on_progress: Progress | None = None,
) -> Curve:
    """Measures the default filter for this wish along its dials, on the public latents that are left to check with.

    The arguments are those of :func:`privsdk.fit`, and what is learned is what it learns; along rho lambda is
    ``fairness``, without it the one that :func:`privsdk.fit` chooses.

    :raises UnknownLabelError: a name is none of the bundle's attributes.
    :raises UnworkablePairError: a label is both private and utility, or has one class only.
    :raises UsageError: an argument is out of its range.
    """
    wish = resolve(private, utility, bundle.attributes, bundle.groups, keep)
    Asked("flow", fairness, a, 1.0, None, None, False, "nonlinear", "l2", "dependable", seed)
    report: Progress = on_progress or (lambda stage, done, total: None)
    material = gather(bundle, wish, None, seed)
    part = material.check[: checking.ROWS]
    rng = np.random.default_rng([seed, 3])
    draws = np.random.default_rng([seed, 5]).integers(0, 2**63, len(part), dtype=np.uint64)
    trainer = engine_for("auto", "flow")
    with trainer.ready():
        parts = learn(bundle, wish, material, seed, rng, trainer, report)
        attackers = trainer.attackers(seed)
        unfiltered = _accuracies(attackers, part.draw(rng), part, wish)

        def point(choice: Candidate, rho: float) -> Point:
            released = parts.filter(choice, a, rho).perturb(part.mean, part.variance, draws)
            found = checking.private_labels(checking.strongest, attackers, released, part, wish, bundle.gaps)
            told = max(found.values(), key=lambda entry: float(entry["leakage"] + entry["gap"]))
            place = places(released[:CROWD, bundle.used], part.mean[:CROWD, bundle.used])
            return Point(
                fairness=choice.fairness,
                a=a,
                rho=rho,
                leakage=told["leakage"],
                gap=told["gap"],
                standard_error=told["standard_error"],
                fair_score_leakage=choice.leakage,
                lost=float(np.max(unfiltered - _accuracies(attackers, released, part, wish))),
                distortion_share=distortion(released, part, bundle.used) / apart(part, bundle.used),
                linked=float(np.mean(place == 1)),
                rank=float(np.median(place)),
            )

        steps = len(FAIRNESS) + len(RHOS)
        choices = [parts.candidates(weight) for weight in FAIRNESS]
        along_fairness = []
        for choice in choices:
            along_fairness.append(point(choice, 1.0))
            report("curve", len(along_fairness), steps)
        chosen = by_utility(parts.candidates) if fairness is None else parts.candidates(fairness)
        along_rho = []
        for rho in RHOS:
            along_rho.append(point(chosen, rho))
            report("curve", len(FAIRNESS) + len(along_rho), steps)
    filters = [parts.filter(choices[place], a, 1.0) for place in (0, len(choices) // 2, -1)]
    filters += [parts.filter(chosen, a, RHOS[place]) for place in (len(RHOS) // 2, -1)]
    shown = [along_fairness[place] for place in (0, len(choices) // 2, -1)]
    shown += [along_rho[place] for place in (len(RHOS) // 2, -1)]
    return Curve(
        bundle=bundle.name,
        private=wish.private,
        utility=wish.utility,
        latents=len(part),
        crowd=min(CROWD, len(part)),
        attackers=tuple(attackers),
        label_ceiling=_label_ceiling(part, wish),
        along_fairness=tuple(along_fairness),
        along_rho=tuple(along_rho),
        shown=tuple(shown),
        faces=_faces(bundle, filters, part, draws) if len(bundle.sample_shape) > 1 else None,
    )


def _accuracies(attackers: Mapping[str, Attacker], z: Floats, part: Part, wish: Wish) -> NDArray[np.float64]:
    """With which each utility label is read from latents [N, Z] of ``part``, by the best of some."""
    found = []
    for label, labels in zip(wish.utility_labels, part.labels.T[len(wish.private) :], strict=True):
        readers = (attackers[name] for name in checking.READERS if name in attackers)
        found.append(max(checking.judge(reader, z, labels, len(label.classes)).accuracy for reader in readers))
    return np.array(found)


def places(
    released: NDArray[np.floating], originals: NDArray[np.floating], people: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Which nearest of the ``originals`` [N, U] to each release [N, U] its own is, from 1 on: int64 [N].

    With ``people`` [N], whose each is: which nearest the nearest other original of the same person is when its own is
    taken out; 0 where there is no other.  Among those equally near it has the middle place, rounded up, so nobody comes
    first where all are the same.
    """
    place = np.zeros(len(released), np.int64)
    for own, release in enumerate(released):
        # Not by |o|^2 - 2 r.o: rounded, it would tell some from others that are the same.
        distances = np.square(originals - release).sum(axis=1)
        sought = distances[own]
        if people is not None:
            distances[own] = np.inf
            sought = distances[people == people[own]].min()
        if np.isfinite(sought):
            place[own] = 1 + (distances < sought).sum() + (distances == sought).sum() // 2
    return place


def _label_ceiling(part: Part, wish: Wish) -> float:
    """The largest AUROC with which the true utility labels together tell a class of a private label."""
    hidden = len(wish.private)
    _, together = np.unique(part.labels[:, hidden:], axis=0, return_inverse=True)
    together = together.reshape(-1)
    areas = []
    for label, values in zip(wish.private_labels, part.labels.T, strict=False):
        for one in range(len(label.classes)):
            share = (np.bincount(together, values == one) / np.bincount(together)).astype(np.float32)
            areas.append(auroc(share[together], values == one))
    return max(areas)


def _faces(
    bundle: Bundle, filters: Sequence[FlowFilter], part: Part, draws: NDArray[np.uint64]
) -> NDArray[np.uint8] | None:
    """Samples of as many latents of one class of the first private label as of the other, and their releases.

    None where one class has none.
    """
    of_class = [np.flatnonzero(part.labels[:, 0] == one) for one in (0, 1)]
    each = min(FACES // 2, *map(len, of_class))
    if not each:
        return None
    rows = np.stack([found[:each] for found in of_class], axis=1).ravel()
    columns = [part.mean[rows]] + [one.perturb(part.mean[rows], part.variance[rows], draws[rows]) for one in filters]
    return np.stack([bundle.decode(z) for z in columns], axis=1)
