"""Bursts: twenty frames of one face, each a little different, are released; what they have in common is averaged.

The frames are simulated, as in benchmarks.likeness: of one photo others are made that differ in place, size, lean,
light, noise and compression, and in each the detector looks for the face anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.likeness import FRAMES, aligned, frame
from privsdk import Privatizer, noise
from privsdk.auditing.attackers import BY_FORM, QUICK
from privsdk.auditing.forms import ENCODED, LATENTS
from privsdk.samples import images
from privsdk.samples.faces import Detector
from privsdk.store import likeness
from privsdk.store.ledger import Ledger
from tests.attacks.faces import Faces, Floats, bundle, flow_privatizer, known, leakage, noise_privatizer, strangers
from tests.attacks.trial import Attempt, Fault, Outcome, Trial

WHOLE = 300
MOST_MORE = 0.03
LEARNED_FROM = 10
"""Frames of each burst that attackers learn from."""


@dataclass(frozen=True, eq=False)
class Bursts:
    """Of N people so many frames each, uint8 [N, F, 64, 64, 3], and whether each is male, int64 [N]."""

    frames: NDArray[np.uint8]
    male: NDArray[np.int64]


def of_people(faces: Faces, count: int, seed: int) -> Bursts:
    """A burst of each; of one in which the detector loses the face too often, its last frames are repeated."""
    rng = np.random.default_rng([seed, 5])
    detector = Detector()
    found = []
    for row in range(len(faces)):
        # A public latent has no photo: its frames are made of the face alone, which is its own alignment.
        picture = Image.fromarray(images.read(faces.photos[row]) if faces.photos else faces.samples[row])
        frames = [
            aligned(frame(picture, rng), detector) if faces.photos else _small(picture, rng) for _ in range(count)
        ]
        seen = [one for one in frames if one is not None] or [faces.samples[row]]
        found.append(np.stack([seen[min(number, len(seen) - 1)] for number in range(count)]))
    return Bursts(np.stack(found), faces.male)


def _small(picture: Image.Image, rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.asarray(frame(picture, rng).resize(picture.size, Image.Resampling.BICUBIC))


def released(privatizer: Privatizer, bursts: Bursts, key: bytes, origins: Sequence[bytes]) -> dict[str, Floats]:
    """Of every frame in the order of ``bursts``: the perturbed latent, and the released image, encoded again."""
    frames = bursts.frames.reshape(-1, *bursts.frames.shape[2:])
    out, refused = privatizer.privatize_each(frames, None, key, origins)
    if refused:
        raise RuntimeError(f"{len(refused)} frames were refused: {next(iter(refused.values())).detail}")
    draws = noise.sample_seeds(key, origins, "latents of frames")
    latents = privatizer.perturb(bundle().encode(frames), draws=draws)
    shape = (*bursts.frames.shape[:2], -1)
    return {LATENTS: latents.reshape(shape), ENCODED: bundle().encode(out).mean.reshape(shape)}


def told(learned: Bursts, seen: Bursts, train: Floats, test: Floats, form: str, whole: bool) -> tuple[float, float]:
    """What the strongest attacker finds in one frame, and in the mean and the spread of all."""
    attackers = (BY_FORM if whole else QUICK)[form]
    one = leakage(train[:, 0], learned.male, test[:, 0], seen.male, attackers)[0]
    many = [np.concatenate([part.mean(axis=1), part.std(axis=1)], axis=1) for part in (train, test)]
    return one, leakage(many[0], learned.male, many[1], seen.male, attackers)[0]


def origins_of(key: bytes, privatizer: Privatizer, bursts: Bursts, folder: Path) -> list[bytes]:
    """What a ledger of its own says when the frames come one burst after another."""
    ledger = Ledger(key, folder)
    return [
        entry.origin
        for frames in bursts.frames
        for entry in ledger.enter(frames, [privatizer.filter_digest] * len(frames), alike=True)
    ]


def run(attempt: Attempt) -> Outcome:
    whole = attempt.size >= WHOLE
    test, train = strangers(attempt.size), known(attempt.size)
    learned, seen = of_people(train, LEARNED_FROM, attempt.seed), of_people(test, FRAMES, attempt.seed + 1)
    rng = np.random.default_rng([attempt.seed, 6])
    held, said, shared = True, [], []
    for name, privatizer in (("flow", flow_privatizer()), ("Gaussian mechanism", noise_privatizer())):
        leaks = []
        # The attackers' own device has another key.
        keys = [rng.bytes(noise.KEY_BYTES) for _ in range(2)]
        origins = [
            origins_of(key, privatizer, bursts, attempt.folder / f"{name} {number}")
            for number, (key, bursts) in enumerate(zip(keys, (learned, seen), strict=True))
        ]
        own = [
            noise.sample_digests(key, bursts.frames.reshape(-1, *bursts.frames.shape[2:]))
            for key, bursts in zip(keys, (learned, seen), strict=True)
        ]
        parts: list[dict[str, list[Any]]] = []
        for chosen in (origins, own):
            parts.append({LATENTS: [], ENCODED: []})
            for key, bursts, of_frames in zip(keys, (learned, seen), chosen, strict=True):
                for form, values in released(privatizer, bursts, key, of_frames).items():
                    parts[-1][form].append(values)
        for form in (LATENTS, ENCODED):
            one, many = told(learned, seen, *parts[0][form], form, whole)
            alone = told(learned, seen, *parts[1][form], form, whole)[1]
            held = held and many - one <= MOST_MORE
            leaks.append(f"{form} {one:.3f} then {many:.3f} (with noise of each frame's own {alone:.3f})")
        groups = np.array(origins[1], object).reshape(len(test), FRAMES)
        shared.append(np.mean(groups == groups[:, :1]))
        said.append(f"{name}: {', '.join(leaks)}")
    return Outcome(
        held,
        f"simulated bursts of {FRAMES} frames of {len(test)} people ({test.source}); {np.mean(shared):.3f} of the frames "
        f"have the noise of the first; leakage of one frame, then of all: {'. '.join(said)}",
    )


def _own_noise_for_each_frame() -> None:
    real = Privatizer.privatize_each

    def privatize_each(self: Privatizer, samples: Any, private: Any, key: bytes, origins: Any = None) -> Any:
        return real(self, samples, private, key)

    Privatizer.privatize_each = privatize_each  # type: ignore[method-assign]


def _nothing_is_alike() -> None:
    def marks(key: bytes, samples: NDArray[np.uint8]) -> NDArray[np.uint64]:
        digests = noise.sample_digests(key, samples, "marks")
        first = np.array([int.from_bytes(digest[:8], "little") for digest in digests], np.uint64)
        return first[:, None] + np.arange(likeness.TABLES, dtype=np.uint64)

    likeness.marks = marks


TRIAL = Trial(
    name="bursts",
    tries=f"bursts of {FRAMES} frames of one face, released one after another, averaged",
    must=f"all attackers: at most +{MOST_MORE} leakage over one release",
    size=WHOLE,
    part=24,
    enough=24,
    run=run,
    faults=(
        Fault("own-noise-for-each-frame", _own_noise_for_each_frame),
        Fault("nothing-is-alike", _nothing_is_alike),
    ),
)
