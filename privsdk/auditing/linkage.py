"""How well a person is recognised from a release, among originals, by how near they are to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf

from privsdk.auditing.face_embedding import FaceEmbedding
from privsdk.auditing.parallel import each
from privsdk.auditing.report import Linked
from privsdk.errors import UsageError
from privsdk.fitting.curve import places

if TYPE_CHECKING:
    from privsdk.bundle import Bundle

Vectors = NDArray[np.floating]
People = NDArray[np.int64]

LEAST = 20  # releases of people with another photo; of fewer a share says nothing
FACES = 100  # the most that are recognised, two or three times: it takes .1 s each


def linked(by: str, released: Vectors, originals: Vectors, people: People | None = None) -> tuple[Linked, ...]:
    """How often the own original is the nearest of N to a release, and how often another photo of the person is.

    ``released`` and ``originals``, [N, K], are vectors whose squared distance counts, in the same order; ``by`` names
    it.  ``people``, int64 [N], says whose each is, None that each is another's.  Another photo is sought, for those who
    have one, among the N - 1 that are not the release's own original; chance is the mean share of these that are of the
    same person.  It is left out where fewer than 20 releases are of somebody with another photo.

    :raises UsageError: arrays that do not fit, fewer than two samples, or numbers that are not finite.
    """
    _require_pairs(released, originals)
    count = len(originals)
    own = places(released, originals)
    found = [Linked(by, "the original", count, float((own == 1).mean()), 1 / count, float(np.median(own)))]
    if people is not None:
        if people.shape != (count,):
            raise UsageError(f"people are {list(people.shape)} for {count} originals: name one for each")
        _, whose, photos = np.unique(people, return_inverse=True, return_counts=True)
        others = photos[whose] - 1
        another = places(released, originals, people)[others > 0]
        if len(another) >= LEAST:
            first, middle = float((another == 1).mean()), float(np.median(another))
            chance = float(others[others > 0].mean() / (count - 1))
            found.append(Linked(by, "another photo of the person", count - 1, first, chance, middle))
    return tuple(found)


def by_latent(released: Vectors, originals: Vectors, people: People | None = None) -> tuple[Linked, ...]:
    """:func:`linked` by latents [N, Z]: as they are, and whitened, so that every direction in which originals differ
    counts as much as any other.

    ``released`` are those of releases, of an image that of the encoder that sees it.
    """
    _require_pairs(released, originals)
    whiten = _whitening(originals)
    return (
        *linked("latent", released, originals, people),
        *linked("whitened latent", released @ whiten, originals @ whiten, people),
    )


def by_face(
    released: NDArray[np.uint8],
    originals: NDArray[np.uint8],
    people: People | None = None,
    bundle: Bundle | None = None,
    processes: int = 1,
) -> tuple[Linked, ...]:
    """:func:`linked` by a face recognition network, of the first 100 faces uint8 [N, 64, 64, 3]; .1 s a picture.

    With ``bundle`` also by originals that went through its encoder and decoder without a filter.  Anybody who has the
    bundle can do so, and finds more, as a decoded face is far from every photo.

    :raises MissingExtraError: the ``linkage`` extra is not there.
    """
    FaceEmbedding()  # where it is missing, that is said before anything is done
    kinds = [released[:FACES], originals[:FACES]]
    if bundle is not None:
        kinds.append(bundle.decode(bundle.encode(kinds[1]).mean))
    pieces = [(piece,) for faces in kinds for piece in np.array_split(faces, processes)]
    embedded = dict(each(_embedded, pieces, processes))
    vectors = np.split(np.concatenate([embedded[number] for number in range(len(pieces))]), len(kinds))
    people = None if people is None else people[:FACES]
    found = linked("face recognition", vectors[0], vectors[1], people)
    if bundle is None:
        return found
    return found + linked("face recognition, originals reconstructed", vectors[0], vectors[2], people)


def _embedded(faces: NDArray[np.uint8]) -> NDArray[np.float32]:
    return FaceEmbedding().embed(faces)


def _require_pairs(released: Vectors, originals: Vectors) -> None:
    if released.ndim != 2 or released.shape != originals.shape:
        raise UsageError(
            f"the originals are {list(originals.shape)}, the releases {list(released.shape)}: give a vector of each, "
            "[N, K], in the same order"
        )
    if len(originals) < 2:
        raise UsageError(f"nobody can be sought among {len(originals)} originals: give two at least")
    if not (np.isfinite(released).all() and np.isfinite(originals).all()):
        raise UsageError("the vectors hold numbers that are not finite: leave those rows out")


def _whitening(originals: Vectors) -> NDArray[np.float64]:
    """[K, K] that gives vectors the identity as covariance; by Ledoit and Wolf (2004), as there may be few of them."""
    variances, directions = np.linalg.eigh(LedoitWolf().fit(originals).covariance_)
    return directions / np.sqrt(np.maximum(variances, np.finfo(np.float32).tiny))
