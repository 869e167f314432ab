"""Averaging attack: a photo's release is asked for a thousand times, in every way that there is, to average its noise.

Attackers know the mechanism: they learn from averages of other people's releases, made in the same ways.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from privsdk import Bundle, Latents, Privatizer, Refusal, noise
from privsdk.auditing.attackers import BY_FORM
from privsdk.auditing.forms import ENCODED, LATENTS, PIXELS
from tests.attacks.faces import (
    BUNDLE,
    Averaging,
    Faces,
    Floats,
    Pixels,
    bundle,
    digests_without_the_key,
    flow_privatizer,
    known,
    noise_privatizer,
    put_key,
    strangers,
    told,
)
from tests.attacks.trial import Attempt, Fault, Outcome, Trial

WHOLE = 300
LATENT_ASKS, IMAGE_ASKS = 1000, 100
TRAINING_LATENT_ASKS, TRAINING_IMAGE_ASKS = 100, 10
"""How often attackers ask for releases to learn from, as in an audit: the mean of more is nearly the same."""
MOST_MORE = 0.01
OF_FILES = 10
"""Of the ways to ask for images one in so many goes by files, in this process or another: they take longest."""
THREADS, LARGEST_PIECE = 4, 40


@dataclass(frozen=True, eq=False)
class Asking:
    """One privatizer, once more loaded from its file, and a data folder with the device's key."""

    privatizer: Privatizer
    again: Privatizer
    folder: Path
    attempt: Attempt

    def latents(self, latents: Latents, count: int, seed: int) -> Averaging:
        """Perturbed latents, asked for so many times."""
        rng = np.random.default_rng([seed, 1])
        ways: Iterator[Callable[[Latents], Floats]] = cycle(
            [
                self.privatizer.perturb,
                lambda part: _in_pieces(self.privatizer.perturb, part, rng),
                self.again.perturb,
                lambda part: _in_threads(self.privatizer.perturb, part),
                lambda part: _in_a_process(self.privatizer, part),
            ]
        )
        found = Averaging()
        found.add(np.concatenate([self.privatizer.perturb(latents[row : row + 1]) for row in range(len(latents))]))
        while found.count < count:
            found.add(next(ways)(latents))
        return found

    def images(self, samples: Pixels, count: int, seed: int) -> Averaging:
        """Released images, asked for so many times."""
        rng = np.random.default_rng([seed, 2])
        ways: Iterator[Callable[[Pixels], Pixels]] = cycle(
            [
                self.privatizer.privatize,
                lambda part: _in_pieces(self.privatizer.privatize, part, rng),
                self.again.privatize,
                lambda part: _in_threads(self.privatizer.privatize, part),
            ]
        )
        by_files = cycle([self._as_files, self._by_the_command])
        found = Averaging()
        while found.count < count:
            found.add(next(by_files if found.count % OF_FILES == 1 else ways)(samples))
        return found

    def _as_files(self, samples: Pixels) -> Pixels:
        place = self._photos(samples)
        results = self.privatizer.release(place / "photos", place / "output", aligned=True, format="webp")
        return _read(samples, [None if isinstance(result, Refusal) else result.path for result in results])

    def _by_the_command(self, samples: Pixels) -> Pixels:
        place = self._photos(samples)
        self.privatizer.save(place / "some.privatizer")
        options = ["--privatizer", str(place / "some.privatizer"), "--bundle", str(BUNDLE)]
        options += ["--output", str(place / "output"), "--aligned", "--names", "keep", "--quiet"]
        command = self.attempt.command("privatize", str(place / "photos"), *options)
        environment = {**self.attempt.environment(), "PRIVSDK_HOME": str(self.folder)}
        subprocess.run(command, env=environment, check=False, capture_output=True)
        return _read(samples, [place / "output" / f"{row:05}.png" for row in range(len(samples))])

    def _photos(self, samples: Pixels) -> Path:
        place = self.attempt.folder / os.urandom(8).hex()
        (place / "photos").mkdir(parents=True)
        for row, sample in enumerate(samples):
            Image.fromarray(sample).save(place / "photos" / f"{row:05}.png")
        return place


def _in_pieces(ask: Callable[[Any], NDArray[Any]], part: Any, rng: np.random.Generator) -> NDArray[Any]:
    """In another order, and in batches of other sizes."""
    order = rng.permutation(len(part))
    pieces = np.split(order, np.cumsum(rng.integers(1, LARGEST_PIECE, len(part))))
    answers = np.concatenate([ask(part[piece]) for piece in pieces if len(piece)])
    return answers[np.argsort(order)]


def _in_threads(ask: Callable[[Any], NDArray[Any]], part: Any) -> NDArray[Any]:
    pieces = np.array_split(np.arange(len(part)), THREADS)
    with ThreadPoolExecutor(THREADS) as pool:
        return np.concatenate(list(pool.map(lambda piece: ask(part[piece]), [one for one in pieces if len(one)])))


def _in_a_process(privatizer: Privatizer, part: Latents) -> Floats:
    """By a process that begins as a copy of this one."""
    receiving, sending = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=lambda: sending.send(privatizer.perturb(part)), daemon=True
    )
    process.start()
    answer: Floats = receiving.recv()
    process.join()
    return answer


def _read(samples: Pixels, paths: Sequence[Path | None]) -> Pixels:
    """The images in files, black where there is none."""
    found = np.zeros_like(samples)
    for row, path in enumerate(paths):
        if path is not None and path.exists():
            found[row] = np.array(Image.open(path))
    return found


def _one_then_many(
    form: str,
    learned: tuple[Floats | Pixels, Floats | Pixels],
    seen: tuple[Floats | Pixels, Floats | Pixels],
    train: Faces,
    test: Faces,
) -> tuple[float, float]:
    """What the strongest attacker finds in one release, and in many: in the first and the second of each pair."""
    attackers = BY_FORM[form] if len(test) >= WHOLE else ()

    def found(which: int) -> float:
        latents = None if form == PIXELS else seen[which][:, : bundle().latent_size]
        return told(learned[which], train.male, seen[which], test.male, attackers, latents).leakage

    one = found(0)
    return one, one if np.array_equal(seen[0], seen[1]) and np.array_equal(learned[0], learned[1]) else found(1)


def _one_and_many(found: Averaging) -> tuple[Floats, Floats]:
    """One release, and what many tell: their mean, and their spread where there is any."""
    one, mean = found.first.astype(np.float32), found.mean.astype(np.float32)
    return one, np.concatenate([mean, found.spread.astype(np.float32)], axis=1) if found.differing.any() else mean


def run(attempt: Attempt) -> Outcome:
    share = min(1.0, attempt.size / WHOLE)
    asks, image_asks, training_asks, training_image_asks = (
        max(5, round(share * count)) for count in (LATENT_ASKS, IMAGE_ASKS, TRAINING_LATENT_ASKS, TRAINING_IMAGE_ASKS)
    )
    test, train = strangers(attempt.size), known(2 * attempt.size)
    latents = [bundle().encode(faces.samples) for faces in (train, test)]
    held, said = True, []
    for name, privatizer in (("flow", flow_privatizer()), ("Gaussian mechanism", noise_privatizer())):
        home = attempt.folder / f"home of {name}"
        key = put_key(home, attempt.seed)
        os.environ["PRIVSDK_HOME"] = str(home)
        again = Privatizer.from_bytes(privatizer.to_bytes(), Bundle.open(BUNDLE))
        asking = Asking(privatizer, again, home, attempt)

        learned = asking.latents(latents[0], training_asks, attempt.seed)
        seen = asking.latents(latents[1], asks, attempt.seed)
        of_images = asking.images(train.samples, training_image_asks, attempt.seed)
        seen_images = asking.images(test.samples, image_asks, attempt.seed)
        averages = [np.rint(found.mean).astype(np.uint8) for found in (of_images, seen_images)]
        forms: dict[str, tuple[Any, Any]] = {
            LATENTS: (_one_and_many(learned), _one_and_many(seen)),
            PIXELS: ((of_images.first, averages[0]), (seen_images.first, averages[1])),
        }
        forms[ENCODED] = tuple(tuple(bundle().encode(images).mean for images in pair) for pair in forms[PIXELS])
        # A few people are not enough to learn from: there the bundle's own score alone attacks, and pixels have none.
        attacked = forms if len(test) >= WHOLE else {form: forms[form] for form in (LATENTS, ENCODED)}
        leaks = {form: _one_then_many(form, *pairs, train, test) for form, pairs in attacked.items()}
        more = max(many - one for one, many in leaks.values())
        differing = int(
            (seen.differing | seen_images.differing).sum() + (learned.differing | of_images.differing).sum()
        )
        other_key = privatizer.privatize(test.samples, key=np.random.default_rng([attempt.seed, 3]).bytes(32))
        same = int((other_key == privatizer.privatize(test.samples, key=key)).all(axis=(1, 2, 3)).sum())
        held = held and more <= MOST_MORE and not differing and not same
        found = ", ".join(f"{form} {one:.3f} then {many:.3f}" for form, (one, many) in leaks.items())
        said.append(
            f"{name}: {found}; {differing} of {len(train) + len(test)} photos had releases that differ, {same} the "
            "same under another key"
        )
    how = "one by one, in batches of other sizes and orders, from threads, other processes and as files"
    return Outcome(
        held,
        f"{asks:,} releases ({image_asks} in pixels) of each of {len(test)} photos ({test.source}) {how}; "
        f"leakage of one, then of their average: {'. '.join(said)}",
    )


def _fresh_noise() -> None:
    def sample_seeds(key: bytes, samples: Sequence[Any], purpose: str) -> noise.Seeds:
        return np.frombuffer(os.urandom(8 * len(samples)), np.uint64).copy()

    noise.sample_seeds = sample_seeds


def _seeds_by_place_in_the_batch() -> None:
    real = noise.sample_seeds

    def sample_seeds(key: bytes, samples: Sequence[Any], purpose: str) -> noise.Seeds:
        return real(key, samples, purpose) + np.arange(len(samples), dtype=np.uint64)

    noise.sample_seeds = sample_seeds


TRIAL = Trial(
    name="averaging",
    tries=f"{LATENT_ASKS:,} releases ({IMAGE_ASKS} in pixels) of each photo, averaged",
    must=f"all attackers: at most +{MOST_MORE} leakage over one release",
    size=WHOLE,
    part=16,
    enough=16,
    run=run,
    faults=(
        Fault("fresh-noise", _fresh_noise),
        Fault("digests-without-the-key", digests_without_the_key),
        Fault("seeds-by-place-in-the-batch", _seeds_by_place_in_the_batch),
    ),
)
