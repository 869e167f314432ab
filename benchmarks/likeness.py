"""How surely nearly equal photos are told, and how seldom others are taken for them: figures of privsdk.store.likeness.

    PRIVSDK_DATA=... python -m benchmarks.likeness [--faces 500] [--bursts 300] [--keys 3] [--learn]

Of each photo copies are made as they happen: saved again, made smaller, cropped, turned, brightened, with noise of a
sensor.  Each is a photo of its own, in which the detector looks for the face anew.  A burst is simulated: of one photo
frames are made that differ in place, size, lean, light, noise and compression; nobody blinks in between.  Of every pair
of CelebA's faces it is counted whether they count as nearly equal, which of different people none should.

``--learn`` writes the regression by which faces are settled anew first.  It is learned from portraits of people who do
not exist, those that are not among the photos measured here.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from scipy import sparse

from benchmarks.cells import say
from benchmarks.domains import Domain
from examples.make_photos import FEMALE, MALE, TOGETHER
from privsdk import read_faces
from privsdk.arrays import pack
from privsdk.bundle import Bundle
from privsdk.errors import Refusal
from privsdk.samples import images
from privsdk.samples.faces import Detector, faces_in
from privsdk.store import likeness
from privsdk.store.folder import write_atomically
from privsdk.store.ledger import Ledger

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Copy = Callable[[Image.Image, np.random.Generator], Image.Image]

REPOSITORY = Path(__file__).resolve().parent.parent
FRAMES = 20
DISPLACED = np.array([0.06, 0.06, 1.0, 1.0], np.float32)  # standard deviations of the poses that are learned
LEARNED_FROM, RIDGE = 20, 0.3  # poses of each portrait; how strongly the regression is regularised
RATES = (1e-6, 1e-5)
AT_ONCE = 500


def saved(picture: Image.Image, format: str, quality: int) -> Image.Image:
    """The picture from a file."""
    file = BytesIO()
    picture.save(file, format, quality=quality)
    return Image.open(file).convert("RGB")


def scaled(picture: Image.Image, factor: float) -> Image.Image:
    size = (round(picture.width * factor), round(picture.height * factor))
    return picture.resize(size, Image.Resampling.BICUBIC)


def cropped(picture: Image.Image, most: float, rng: np.random.Generator) -> Image.Image:
    """Without up to the share ``most`` at each side."""
    left, top, right, bottom = most * rng.random(4)
    width, height = picture.size
    return picture.crop(
        (round(left * width), round(top * height), round((1 - right) * width), round((1 - bottom) * height))
    )


def turned(picture: Image.Image, degrees: float) -> Image.Image:
    return picture.rotate(degrees, Image.Resampling.BICUBIC)


def bent(picture: Image.Image, gamma: float) -> Image.Image:
    return picture.point([round(255 * (level / 255) ** gamma) for level in range(256)] * 3)


def noisy(picture: Image.Image, spread: float, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(picture) + rng.normal(0, spread, (picture.height, picture.width, 3))
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def frame(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A frame of a burst of which ``picture`` is another one; simulated."""
    moved = turned(cropped(picture, 0.04, rng), rng.uniform(-1.5, 1.5))
    moved = scaled(moved, rng.uniform(0.97, 1.03))
    lit = bent(ImageEnhance.Brightness(moved).enhance(rng.uniform(0.9, 1.1)), rng.uniform(0.92, 1.08))
    return saved(noisy(lit, rng.uniform(1, 5), rng), "JPEG", int(rng.integers(70, 96)))


COPIES: Mapping[str, Sequence[Copy]] = {
    "saved as JPEG 50, 80, 95": [lambda picture, _, q=q: saved(picture, "JPEG", q) for q in (50, 80, 95)],
    "saved as WebP 60, 80": [lambda picture, _, q=q: saved(picture, "WEBP", q) for q in (60, 80)],
    "0.7 or 2 times as large": [lambda picture, _, f=f: scaled(picture, f) for f in (0.7, 2)],
    "cropped by up to 5 %": [lambda picture, rng: cropped(picture, 0.05, rng)],
    "cropped by up to 10 %": [lambda picture, rng: cropped(picture, 0.10, rng)],
    "turned by 3 degrees": [lambda picture, _, d=d: turned(picture, d) for d in (-3, 3)],
    "brightness 0.75, 1.25": [
        lambda picture, _, f=f: ImageEnhance.Brightness(picture).enhance(f) for f in (0.75, 1.25)
    ],
    "contrast 0.8, 1.2": [lambda picture, _, f=f: ImageEnhance.Contrast(picture).enhance(f) for f in (0.8, 1.2)],
    "gamma 0.8, 1.25": [lambda picture, _, g=g: bent(picture, g) for g in (0.8, 1.25)],
    "sensor noise of 5, 10 levels": [lambda picture, rng, s=s: noisy(picture, s, rng) for s in (5, 10)],
    "another frame of a burst": [frame, frame],
}


def moved_frame(samples: Pixels, pixels: int) -> Pixels:
    """Aligned samples some pixels further to the right and up, the border repeated."""
    padded = np.pad(samples, ((0, 0), (0, pixels), (pixels, 0), (0, 0)), "edge")
    return padded[:, pixels:, : samples.shape[2]]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=500, help="of CelebA that copies are made of")
    parser.add_argument("--bursts", type=int, default=300)
    parser.add_argument("--keys", type=int, default=3, help="whose mean each figure is")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learn", action="store_true", help="learn the regression that settles faces first")
    parser.add_argument("--bundle", default="models/faces", metavar="FOLDER", help="whose latents are an alternative")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where the aligned faces of CelebA are kept")
    asked = parser.parse_args(arguments)
    if not (data := os.environ.get("PRIVSDK_DATA")):
        parser.error("PRIVSDK_DATA is not set: it names the folder that holds celeba/ and portraits/")
    if asked.learn:
        learn(Path(data) / "portraits", asked.seed)
    keys = [np.random.default_rng([asked.seed, number]).bytes(32) for number in range(asked.keys)]
    domain = Domain("faces", asked.bundle, Path(data), asked.runs, threads=1)
    rng = np.random.default_rng(asked.seed)
    chosen = rng.choice(len(domain.images), asked.faces, replace=False)
    folder = Path(data) / "celeba" / "img_align_celeba"
    photos = {
        "CelebA": [folder / domain.images.names[row] for row in chosen],
        "CC0 portraits": sorted((REPOSITORY / "examples" / "photos").glob("*.jpg")),
    }
    pairs = {name: copies(paths, np.random.default_rng([asked.seed, 1])) for name, paths in photos.items()}
    print(f"| what was done to the photo | {' | '.join(pairs)} |\n|---|{'---|' * len(pairs)}")
    for kind in pairs["CelebA"]:
        print(f"| {kind} | {' | '.join(f'{recognised(pairs[name][kind], keys):.3f}' for name in pairs)} |")

    everybody, identity = domain.images.pixels, domain.images.identity
    print("\n| pairs of CelebA's photos | pairs | nearly equal | share |\n|---|---|---|---|")
    for whose, (count, found) in taken_for_equal(everybody, identity, keys).items():
        print(f"| {whose} | {count:,} | {found:,.1f} | {found / count:.1e} |")

    one_each = [folder / domain.images.names[row] for row in first_of_each(identity, domain.test)[: asked.bursts]]
    whole, with_first = bursts(one_each, keys, np.random.default_rng([asked.seed, 2]))
    print(
        f"\nBursts of {FRAMES} simulated frames of {len(one_each)} people: {whole:.3f} are one group in the ledger; "
        f"{with_first:.4f} of the frames have the origin of the first."
    )

    print("\nFrames of one burst that are nearer to each other than this share of pairs of different people:\n")
    print(f"| description | {' | '.join(f'{rate:.0e}' for rate in RATES)} |\n|---|{'---|' * len(RATES)}")
    one_a_person = everybody[first_of_each(identity, np.arange(len(everybody)))]
    for name, described in alternatives(domain.bundle).items():
        shares = nearer(described, pairs["CelebA"]["another frame of a burst"], one_a_person)
        print(f"| {name} | {' | '.join(f'{share:.3f}' for share in shares)} |", flush=True)


def learn(portraits: Path, seed: int) -> None:
    """Write the regression from a description to a pose: from portraits seen in poses that are known."""
    used = {("female", number) for number in FEMALE} | {("male", number) for number in MALE}
    used |= {(folder, number) for folder, number in zip(TOGETHER[1:], TOGETHER[0], strict=True)}
    paths = [path for path in sorted(portraits.glob("*/*.jpg")) if (path.parent.name, int(path.stem)) not in used]
    samples, _ = read_faces(paths)
    pictures = likeness.looked_at(np.concatenate([samples, samples[:, :, ::-1]]))[:, :1]
    rng = np.random.default_rng(seed)
    poses = [(DISPLACED * rng.standard_normal((len(pictures), 4))).astype(np.float32) for _ in range(LEARNED_FROM)]
    descriptions = np.concatenate([likeness.stands(likeness.seen(pictures, pose)) for pose in poses])
    pose = np.concatenate(poses)
    mean = descriptions.mean(axis=0)
    descriptions -= mean
    covariance = descriptions.T @ descriptions / len(descriptions)
    covariance += RIDGE * covariance.trace() / len(covariance) * np.eye(len(covariance), dtype=np.float32)
    weights = np.linalg.solve(covariance, descriptions.T @ pose / len(pose))
    # A regularised regression says too little: what it says goes up by one where the pose does.
    weights /= ((descriptions @ weights) * pose).mean(axis=0) / (pose**2).mean(axis=0)
    stored = Path(likeness.__file__).with_name(likeness.WEIGHTS)
    write_atomically(stored, pack({"mean": mean, "weights": weights.astype(np.float32)}, {}))
    likeness._settling.cache_clear()
    say(f"learned from {len(samples)} portraits: {stored}")


def copies(paths: Sequence[Path], rng: np.random.Generator) -> dict[str, tuple[Pixels, Pixels]]:
    """For each kind of copy the aligned faces of photos and of their copies, of those that show one."""
    detector = Detector()
    found: dict[str, list[tuple[Pixels, Pixels]]] = {kind: [] for kind in COPIES}
    for number, path in enumerate(paths):
        picture = Image.fromarray(images.read(path))
        original = aligned(picture, detector)
        for kind, ways in COPIES.items():
            made = [aligned(way(picture, rng), detector) for way in ways]
            found[kind] += [(original, one) for one in made if original is not None and one is not None]
        if number % 100 == 99:
            say(f"copies of {number + 1} of {len(paths)} photos")
    pairs = {kind: (np.stack([a for a, _ in both]), np.stack([b for _, b in both])) for kind, both in found.items()}
    originals = pairs["cropped by up to 5 %"][0]
    return pairs | {f"aligned {by} pixel(s) off": (originals, moved_frame(originals, by)) for by in (1, 2)}


def aligned(picture: Image.Image, detector: Detector) -> Pixels | None:
    """The largest face, uint8 [64, 64, 3], if there is one."""
    try:
        return faces_in(np.asarray(picture), "largest", aligned=False, detector=detector)[0][0]
    except Refusal:
        return None


def marked(samples: Pixels, key: bytes) -> NDArray[np.uint64]:
    """Marks, made of a few hundred samples at a time."""
    parts = [likeness.marks(key, samples[start : start + AT_ONCE]) for start in range(0, len(samples), AT_ONCE)]
    return np.concatenate(parts)


def recognised(pair: tuple[Pixels, Pixels], keys: Sequence[bytes]) -> float:
    """The share of copies that count as nearly equal to their photos."""
    equal = [(marked(pair[0], key) == marked(pair[1], key)).sum(axis=1) >= likeness.ENOUGH for key in keys]
    return float(np.mean(equal))


def taken_for_equal(samples: Pixels, identity: NDArray, keys: Sequence[bytes]) -> dict[str, tuple[int, float]]:
    """Of pairs of people, and of pairs of photos of one, how many there are and how many count as nearly equal."""
    other, own = [], []
    for key in keys:
        marks = marked(samples, key)
        _, columns = np.unique(marks, return_inverse=True)
        rows = np.repeat(np.arange(len(marks)), likeness.TABLES)
        has = sparse.csr_matrix((np.ones(len(rows), np.int32), (rows, columns.ravel())))
        first, second = [], []
        for start in range(0, len(marks), AT_ONCE):
            shared = (has[start : start + AT_ONCE] @ has.T).tocoo()
            enough = (shared.data >= likeness.ENOUGH) & (shared.row + start < shared.col)
            first += (shared.row[enough] + start).tolist()
            second += shared.col[enough].tolist()
        same = identity[first] == identity[second]
        other.append(np.sum(~same))
        own.append(np.sum(same))
    people = np.unique(identity, return_counts=True)[1]
    of_one = int((people * (people - 1) // 2).sum())
    of_two = len(samples) * (len(samples) - 1) // 2 - of_one
    return {
        "of different people": (of_two, float(np.mean(other))),
        "of one person": (of_one, float(np.mean(own))),
    }


def first_of_each(identity: NDArray, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each person's rows the first."""
    return rows[np.sort(np.unique(identity[rows], return_index=True)[1])]


def bursts(paths: Sequence[Path], keys: Sequence[bytes], rng: np.random.Generator) -> tuple[float, float]:
    """The share of bursts that the ledger takes for one group, and of frames that it takes for their first."""
    detector = Detector()
    found = []
    for number, path in enumerate(paths):
        picture = Image.fromarray(images.read(path))
        made = [aligned(frame(picture, rng), detector) for _ in range(FRAMES)]
        found.append(np.stack([one for one in made if one is not None]))
        if number % 100 == 99:
            say(f"{number + 1} of {len(paths)} bursts")
    whole, with_first = [], []
    for key in keys:
        with tempfile.TemporaryDirectory() as folder:
            ledger = Ledger(key, Path(folder))
            for frames in found:
                origins = [entry.origin for entry in ledger.enter(frames, ["a"] * len(frames), alike=True)]
                whole.append(len({*origins}) == 1)
                with_first += [origin == origins[0] for origin in origins[1:]]
    return float(np.mean(whole)), float(np.mean(with_first))


def alternatives(bundle: Bundle) -> dict[str, Callable[[Pixels], Floats]]:
    """What could be compared, by name."""

    def brightness_alone(samples: Pixels) -> Floats:
        return likeness.describe(np.repeat(np.rint(samples.mean(axis=3, keepdims=True)).astype(np.uint8), 3, axis=3))

    return {
        "low frequencies of the settled face, with colours": likeness.describe,
        "the same, brightness alone": brightness_alone,
        "the same, not settled": lambda samples: likeness.low_frequencies(likeness.looked_at(samples)),
        f"the latent mean of {bundle.name}": lambda samples: bundle.encode(samples).mean,
    }


def nearer(described: Callable[[Pixels], Floats], pair: tuple[Pixels, Pixels], others: Pixels) -> list[float]:
    """The shares of pairs that are nearer than each of the rates' share of pairs of others."""
    parts = [described(others[start : start + AT_ONCE]) for start in range(0, len(others), AT_ONCE)]
    people = np.concatenate(parts)
    squares = (people**2).sum(axis=1)
    upper = np.triu_indices(len(people), 1)
    distances = (squares[:, None] + squares - 2 * people @ people.T)[upper]
    between = np.linalg.norm(described(pair[0]) - described(pair[1]), axis=1) ** 2
    return [float((between < np.quantile(distances, rate)).mean()) for rate in RATES]


if __name__ == "__main__":
    main()
