"""Bursts: twenty frames of one face, each a little different, are released; what they have in common is averaged.

The frames are simulated, as in benchmarks.likeness: of one photo others are made that differ in place, size, lean,
light, noise and compression, and in each the detector looks for the face anew.

Noise that is shared cannot be averaged away, but it does not hide how frames differ either.  Where all that a filter
does is to add noise, as the Gaussian mechanism, the spread of the releases is that of the originals, and who knows how
much a face varies from frame to frame may learn from it.  So of that filter only the average is judged, and what the
spread tells is said; of the default filter both are judged.
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
from privsdk import Latents, Privatizer, noise
from privsdk.auditing.attackers import BY_FORM
from privsdk.auditing.forms import ENCODED, LATENTS
from privsdk.samples import images
from privsdk.samples.faces import Detector
from privsdk.store import likeness
from privsdk.store.ledger import Ledger
from tests.attacks.faces import Faces, Floats, Told, bundle, flow_privatizer, known, noise_privatizer, strangers, told
from tests.attacks.trial import Attempt, Fault, Outcome, Trial

WHOLE = 300
MOST_MORE = 0.03
DEFAULT = "flow"
LEARNED_FROM = 10
"""Frames of each burst that attackers learn from."""
ALONE = (0, 3, 6, 9)
"""Frames whose mean leakage is that of one: a single one may be lucky."""


@dataclass(frozen=True, eq=False)
class Bursts:
    """Of N people so many frames each, uint8 [N, F, 64, 64, 3], and all their latents, N x F of them in a row."""

    frames: NDArray[np.uint8]
    latents: Latents

    @property
    def in_a_row(self) -> NDArray[np.uint8]:
        """The frames, one burst after another: uint8 [N x F, 64, 64, 3]."""
        return self.frames.reshape(-1, *self.frames.shape[2:])


def of_people(faces: Faces, count: int, seed: int) -> Bursts:
    """A burst of each; of one in which the detector loses the face too often, its last frames are repeated."""
    rng = np.random.default_rng([seed, 5])
    detector = Detector()
    found = []
    for row in range(len(faces)):
        # A public latent has no photo: its frames are made of the face alone, which is its own alignment.
        picture = Image.fromarray(images.read(faces.photos[row]) if faces.photos else faces.samples[row])
        made = [aligned(frame(picture, rng), detector) if faces.photos else _small(picture, rng) for _ in range(count)]
        seen = [one for one in made if one is not None] or [faces.samples[row]]
        found.append(np.stack([seen[min(number, len(seen) - 1)] for number in range(count)]))
    frames = np.stack(found)
    return Bursts(frames, bundle().encode(frames.reshape(-1, *frames.shape[2:])))


def _small(picture: Image.Image, rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.asarray(frame(picture, rng).resize(picture.size, Image.Resampling.BICUBIC))


def latents_of(privatizer: Privatizer, bursts: Bursts, key: bytes, origins: Sequence[bytes]) -> Floats:
    """The perturbed latent of every frame: float32 [N, F, Z]."""
    draws = noise.sample_seeds(key, origins, "latents of frames")
    return privatizer.perturb(bursts.latents, draws=draws).reshape(*bursts.frames.shape[:2], -1)


def images_of(privatizer: Privatizer, bursts: Bursts, key: bytes, origins: Sequence[bytes]) -> Floats:
    """The released image of every frame, encoded again: float32 [N, F, Z]."""
    released, refused = privatizer.privatize_each(bursts.in_a_row, None, key, origins)
    if refused:
        raise RuntimeError(f"{len(refused)} frames were refused: {next(iter(refused.values())).detail}")
    return bundle().encode(released).mean.reshape(*bursts.frames.shape[:2], -1)


def origins_of(key: bytes, privatizer: Privatizer, bursts: Bursts, folder: Path) -> list[bytes]:
    """What a ledger of its own says when the frames come one burst after another."""
    ledger = Ledger(key, folder)
    return [
        entry.origin
        for frames in bursts.frames
        for entry in ledger.enter(frames, [privatizer.filter_digest] * len(frames), alike=True)
    ]


def own_origins(key: bytes, bursts: Bursts) -> list[bytes]:
    """Those of frames of which nobody knows that they are nearly equal."""
    return noise.sample_digests(key, bursts.in_a_row)


def run(attempt: Attempt) -> Outcome:
    whole = attempt.size >= WHOLE
    test, train = strangers(attempt.size), known(attempt.size if whole else 2)
    bursts = of_people(train, LEARNED_FROM, attempt.seed), of_people(test, FRAMES, attempt.seed + 1)
    rng = np.random.default_rng([attempt.seed, 6])
    keys = [rng.bytes(noise.KEY_BYTES) for _ in bursts]  # the attackers' own device has another one

    def attacked(form: str, releases: Sequence[Floats]) -> tuple[Told, Told, Told]:
        """What is told of one frame (several, one at a time), of the mean of all, and of their mean and spread."""
        # A few people are not enough to learn from: there the bundle's own score alone attacks.
        attackers = BY_FORM[form] if whole else ()
        ones = [[part[:, number] for part in releases] for number in ALONE]
        mean = [part.mean(axis=1) for part in releases]
        both = [np.concatenate([part.mean(axis=1), part.std(axis=1)], axis=1) for part in releases]
        return (
            Told.mean([told(one[0], train.male, one[1], test.male, attackers, one[1]) for one in ones]),
            told(mean[0], train.male, mean[1], test.male, attackers, mean[1]),
            told(both[0], train.male, both[1], test.male, attackers, mean[1]),
        )

    held, said = True, []
    for name, privatizer in ((DEFAULT, flow_privatizer()), ("Gaussian mechanism", noise_privatizer())):
        parts = list(zip(bursts, keys, strict=True))
        shared = [
            origins_of(key, privatizer, part, attempt.folder / f"{name} {number}")
            for number, (part, key) in enumerate(parts)
        ]
        of_first = np.array(shared[1], object).reshape(len(test), FRAMES)
        as_first = np.mean(of_first == of_first[:, :1])
        leaks = []
        for form, releases_of in ((LATENTS, latents_of), (ENCODED, images_of)):
            releases = [releases_of(privatizer, *part, origins) for part, origins in zip(parts, shared, strict=True)]
            one, mean, both = attacked(form, releases)
            for judged in (mean, both) if name == DEFAULT else (mean,):
                # Of a few people luck alone makes a difference: a small trial allows it.
                allowed = MOST_MORE + (0 if whole else 2 * judged.error_beside(one))
                held = held and judged.leakage - one.leakage <= allowed
            leaks.append(f"{form} {one.leakage:.3f}, {mean.leakage:.3f}, {both.leakage:.3f}")
        _, mean, both = attacked(
            LATENTS, [latents_of(privatizer, part, key, own_origins(key, part)) for part, key in parts]
        )
        said.append(
            f"{name}: {', '.join(leaks)}, latents with noise of each frame's own {mean.leakage:.3f} and "
            f"{both.leakage:.3f}; {as_first:.3f} of the frames have the noise of the first"
        )
    return Outcome(
        held,
        f"simulated bursts of {FRAMES} frames of {len(test)} people ({test.source}); leakage of one frame, of the "
        f"mean of all, of mean and spread: {'. '.join(said)}",
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
    must=f"all attackers: at most +{MOST_MORE} leakage over one release; of the default filter from the spread too",
    size=WHOLE,
    part=20,
    enough=28,
    run=run,
    faults=(
        Fault("own-noise-for-each-frame", _own_noise_for_each_frame),
        Fault("nothing-is-alike", _nothing_is_alike),
    ),
)
