"""Who is recognised from a release: places among originals, by vectors and by a face recognition network."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from privsdk import Bundle, MissingExtraError, UsageError, read_faces
from privsdk.auditing import face_embedding, linkage
from privsdk.auditing.face_embedding import FaceEmbedding
from privsdk.fitting.curve import places
from privsdk.samples import images
from privsdk.samples.faces import Detector, align

RNG_SEED = 5


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(RNG_SEED)


# ------------------------------------------------------------------------------------------------------- places


def test_whose_release_is_the_original_itself_comes_first(rng: np.random.Generator) -> None:
    originals = rng.normal(size=(200, 8)).astype(np.float32)
    (found,) = linkage.linked("distance", originals, originals)
    assert (found.by, found.to, found.crowd) == ("distance", "the original", 200)
    assert (found.first, found.chance, found.median_rank) == (1.0, 1 / 200, 1.0)


def test_the_releases_of_others_come_where_chance_puts_them(rng: np.random.Generator) -> None:
    originals = rng.normal(size=(600, 8)).astype(np.float32)
    people = np.arange(600) // 2
    for found in linkage.linked("distance", rng.permutation(originals), originals, people):
        assert found.first < 0.02
        assert 250 < found.median_rank < 350
    mixed = np.concatenate([originals[:300], rng.permutation(originals[300:])])
    assert linkage.linked("distance", mixed, originals)[0].first == pytest.approx(0.5, abs=0.01)


def test_another_photo_never_is_the_original() -> None:
    originals = np.array([[0.0], [1.0], [4.0], [4.5], [9.0]])
    people = np.array([0, 1, 0, 2, 3])
    assert places(originals, originals).tolist() == [1, 1, 1, 1, 1]
    # Of person 0, whose photos are at 0 and 4: seen from 0 the one at 1 is nearer, seen from 4 those at 4.5 and 1.
    assert places(originals, originals, people).tolist() == [2, 0, 3, 0, 0]
    released = np.array([[4.1], [1.0], [0.0], [4.5], [9.0]])
    assert places(released, originals).tolist() == [4, 1, 3, 1, 1]
    assert places(released, originals, people).tolist() == [1, 0, 1, 0, 0]


def test_the_other_photos_of_a_person_are_counted_in_what_chance_finds(rng: np.random.Generator) -> None:
    # 20 people with three photos each, all near to each other, and 40 with one.
    people = np.concatenate([np.repeat(np.arange(20), 3), np.arange(20, 60)])
    originals = 10 * rng.normal(size=(60, 6))[people] + 0.01 * rng.normal(size=(100, 6))
    own, another = linkage.linked("distance", originals, originals, people)
    assert (own.crowd, own.chance) == (100, 0.01)
    assert (another.to, another.crowd, another.first) == ("another photo of the person", 99, 1.0)
    assert another.chance == pytest.approx(2 / 99)
    assert len(linkage.linked("distance", originals, originals, np.arange(100))) == 1  # nobody has another photo
    few = np.concatenate([np.repeat(np.arange(5), 3), np.arange(5, 90)])
    assert len(linkage.linked("distance", originals, originals, few)) == 1  # 15 releases say nothing


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nobody_is_recognised_where_all_are_the_same(rng: np.random.Generator, dtype: type) -> None:
    same = np.tile(rng.normal(size=17).astype(dtype), (101, 1))
    for released in (same, rng.normal(size=same.shape).astype(dtype)):
        assert places(released, same).tolist() == [51] * 101
        assert (places(released, same, np.zeros(101, np.int64)) == 51).all()
    # A release that is always the same tells nothing of whose it is.
    (found,) = linkage.linked("distance", same, rng.normal(size=same.shape).astype(dtype))
    assert found.first == pytest.approx(1 / 101)
    twins = np.repeat(rng.normal(size=(50, 3)).astype(dtype), 2, axis=0)
    assert (places(twins, twins) == 2).all()


def test_whitening_finds_what_large_directions_drown(rng: np.random.Generator) -> None:
    scales = np.array([30.0] * 2 + [1.0] * 10)
    originals = rng.normal(size=(300, 12)) * scales
    released = originals + rng.normal(size=originals.shape) * np.array([30.0] * 2 + [0.1] * 10)
    raw, whitened = linkage.by_latent(released.astype(np.float32), originals.astype(np.float32))
    assert (raw.by, whitened.by) == ("latent", "whitened latent")
    assert raw.first < 0.15
    assert whitened.first > 0.6
    unused = np.concatenate([originals, np.zeros((300, 3))], axis=1)  # latents that the encoder leaves empty
    assert linkage.by_latent(unused, unused)[1].first == 1
    assert linkage.by_latent(np.zeros((30, 3)), np.zeros((30, 3)))[1].first == 0


def test_vectors_that_do_not_fit_are_refused(rng: np.random.Generator) -> None:
    vectors = rng.normal(size=(30, 4))
    for call in (linkage.linked, lambda by, *vectors: linkage.by_latent(*vectors)):
        with pytest.raises(UsageError, match=r"the originals are \[30, 4\], the releases \[29, 4\]"):
            call("distance", vectors[1:], vectors)
        with pytest.raises(UsageError, match=r"\[30\]"):
            call("distance", vectors[:, 0], vectors[:, 0])
        with pytest.raises(UsageError, match="among 1 originals"):
            call("distance", vectors[:1], vectors[:1])
        with pytest.raises(UsageError, match="not finite"):
            call("distance", np.where(vectors > 1, np.nan, vectors), vectors)
    with pytest.raises(UsageError, match=r"people are \[29\] for 30 originals"):
        linkage.linked("distance", vectors, vectors, np.arange(29))


# -------------------------------------------------------------------------------------------------------- faces


@dataclass(frozen=True, eq=False)
class Portraits:
    """Of ten portraits the photos, the faces in them, and these with noise, darker and shifted in colour."""

    photos: list[images.Pixels]
    faces: np.ndarray
    changed: np.ndarray


@pytest.fixture(scope="module")
def portraits(photos: Path) -> Portraits:
    pytest.importorskip("dlib")
    files = sorted(photos.glob("*.jpg"))[:10]
    faces, _ = read_faces(files)
    noise = np.random.default_rng(0).normal(0, 8, faces.shape)
    changed = np.clip(0.75 * faces + np.array([6, 0, -6]) + noise, 0, 255).astype(np.uint8)
    return Portraits([images.read(file) for file in files], faces, changed)


def test_a_face_is_nearest_to_itself_in_other_light(portraits: Portraits) -> None:
    embedding = FaceEmbedding()
    before, after = embedding.embed(portraits.faces), embedding.embed(portraits.changed)
    assert (before.dtype, before.shape) == (np.float32, (10, 128))
    distances = np.linalg.norm(after[:, None] - before, axis=2)
    own = np.diagonal(distances)
    others = distances[~np.eye(10, dtype=bool)]
    assert own.max() < 0.45
    assert own.max() < others.min()
    assert np.median(others) > 0.6  # the distance beyond which dlib takes two faces for two people
    assert embedding.embed(portraits.faces[:0]).shape == (0, 128)
    (found,) = linkage.linked("face recognition", after, before)
    assert (found.first, found.crowd) == (1.0, 10)


def test_originals_are_also_sought_as_the_bundle_reconstructs_them(
    portraits: Portraits, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linkage, "FACES", 6)
    latents = bundle.encode(portraits.faces)
    released = bundle.decode(latents.mean + 0.3 * np.sqrt(latents.variance))
    plain, reconstructed = linkage.by_face(released, portraits.faces, np.arange(10), bundle)
    assert (plain.by, plain.crowd) == ("face recognition", 6)
    assert (reconstructed.by, reconstructed.crowd) == ("face recognition, originals reconstructed", 6)
    assert reconstructed.first == 1.0
    assert plain.first < 1.0


def test_the_network_sees_about_what_dlib_would_show_it(portraits: Portraits) -> None:
    import dlib

    models = Path(str(metadata.distribution("face_recognition_models").locate_file(face_embedding.MODEL))).parent
    predictor = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
    network = dlib.face_recognition_model_v1(str(models / Path(face_embedding.MODEL).name))
    embedding, detector = FaceEmbedding(), Detector()
    for photo in portraits.photos[:4]:
        (face,) = detector.find(photo)
        left, top, right, bottom = (round(float(edge)) for edge in face.box)
        points = predictor(photo, dlib.rectangle(left, top, right, bottom))
        own = np.array(network.compute_face_descriptor(dlib.get_face_chip(photo, points, 150, 0.25)))
        assert np.linalg.norm(embedding.embed(align(photo, face.landmarks)[None])[0] - own) < 0.45


def test_what_is_no_aligned_face_is_refused(portraits: Portraits) -> None:
    embedding = FaceEmbedding()
    for other in (portraits.faces[0], portraits.faces[:, :32], portraits.faces[..., 0], portraits.faces / 255):
        with pytest.raises(UsageError, match=r"uint8 \[N, 64, 64, 3\]"):
            embedding.embed(other)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dlib")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "dlib", None)
        with pytest.raises(MissingExtraError, match=r"needed \(.*dlib.*\): pip install 'privsdk\[linkage\]'"):
            FaceEmbedding()
    monkeypatch.setattr(face_embedding, "MODEL", "face_recognition_models/models/gone.dat")
    with pytest.raises(MissingExtraError, match=r"without gone\.dat"):
        FaceEmbedding()
