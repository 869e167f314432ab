"""Guessing: whoever has all but the key tries to guess it, or to confirm that a photo, or a wish, was the user's.

He has what was released, the record, the data folder without the key, the public bundle, the filter that the user
fitted (fits can be repeated), and photos, those that were released among them.  He looks for digests of all of that,
plain and under keys that somebody might have, at every place in every file and name; and he makes releases himself.
"""

from __future__ import annotations

import base64
import getpass
import hashlib
import hmac
import json
import os
import platform
import random
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice, permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privsdk import CancelledError, FitSettings, Privatizer, Release, __version__, noise, read_faces
from privsdk.fitting.engines import resolved
from privsdk.release import photos as releasing
from privsdk.samples import images
from privsdk.store import key as keys
from privsdk.store import ledger, likeness
from privsdk.store.cache import Cache
from privsdk.store.key import KEY_NAME, device_key
from privsdk.store.unfinished import Unfinished
from tests.attacks.faces import (
    PRIVATE,
    UTILITY,
    bundle,
    digests_without_the_key,
    flow_privatizer,
    noise_privatizer,
)
from tests.attacks.trial import REPOSITORY, Attempt, Fault, Outcome, Trial

RELEASED = 15
"""Of the photos; the others are decoys, and three of these are in a release that was stopped on the way."""
STOPPED_AFTER = 3
HASHES = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "blake2b", "blake2s")
MACS = ("md5", "sha1", "sha256", "sha512")
TOKEN = 8
"""Bytes of a digest that are enough to tell it; 64 bits, which no try meets by chance."""
RECENT, LONG_AGO = 3600, 400_000
"""Seconds, counted back from now, whose keys are tried first, and at all."""
AT_ONCE = 50_000

Numbers = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Known:
    """What the attacker knows: candidate photos with their pixels and samples, and filters that there may be."""

    paths: Sequence[Path]
    samples: NDArray[np.uint8]
    privatizers: Sequence[Privatizer]
    home: Path
    output: Path

    def of_photos(self) -> Iterator[bytes]:
        """Whatever of a photo somebody could take a digest of."""
        latents = bundle().encode(self.samples)
        for path, sample, mean in zip(self.paths, self.samples, latents.mean, strict=True):
            content = path.read_bytes()
            yield from (content, images.read(content).tobytes(), sample.tobytes(), as_a_sample(sample), mean.tobytes())
            yield from (os.fsencode(name) for name in (path.name, path.stem, str(path), os.path.realpath(path)))

    def of_filters(self) -> Iterator[bytes]:
        for privatizer in self.privatizers:
            digest = privatizer.filter_digest
            yield from (digest.encode(), bytes.fromhex(digest), *self.as_keyed(privatizer))
            yield from (privatizer.to_bytes(), json.dumps(privatizer.record).encode())

    def of_wishes(self) -> Iterator[bytes]:
        """Every pair of labels of the bundle, said in several ways."""
        for private, utility in permutations(bundle().attributes, 2):
            yield from (f"{private}{between}{utility}".encode() for between in ("", " ", "-", ",", "/"))
            yield from (f"{private} {utility}".lower().encode(), json.dumps([[private], [utility]]).encode())
            yield as_cached(wish(private, utility))

    def as_keyed(self, privatizer: Privatizer) -> Iterator[bytes]:
        """What privsdk itself takes keyed digests of: a filter, a wish, a place, and the first photo."""
        yield f"filter {privatizer.filter_digest} []".encode()
        yield as_cached(wish(PRIVATE, UTILITY))
        yield json.dumps(["output", os.path.realpath(self.output)]).encode()
        yield as_a_sample(self.samples[0])


def as_a_sample(sample: NDArray[np.uint8]) -> bytes:
    """What :func:`privsdk.noise.sample_digests` takes a digest of."""
    parts = (b"sample", f"|u1{list(sample.shape)}".encode())
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts) + sample.tobytes()


def as_cached(asked: dict[str, Any]) -> bytes:
    """What the name of a cached privatizer is a digest of."""
    return json.dumps(["privatizer", bundle().digest, asked], sort_keys=True).encode()


def wish(private: str, utility: str) -> dict[str, Any]:
    """A wish as it is cached."""
    settings = asdict(FitSettings())
    del settings["max_leakage"]
    return {
        "private": [private],
        "utility": [utility],
        "settings": settings | {"engine": resolved("auto", "flow")},
        "version": __version__,
    }


def usual_keys() -> list[bytes]:
    """Keys of any length that somebody may have in place of a secret one."""
    words = ("privsdk", "key", "secret", "password", "device", "release", bundle().digest, bundle().name)
    words += (platform.node(), getpass.getuser(), str(os.getuid()) if hasattr(os, "getuid") else "")
    plain = [b"", b"\0", bytes(16), bytes(noise.KEY_BYTES), b"\xff" * noise.KEY_BYTES, bytes(range(noise.KEY_BYTES))]
    return plain + [word.encode() for word in words] + [hashlib.sha256(word.encode()).digest() for word in words]


def weak_keys(now: int) -> Iterator[bytes]:
    """Keys of 32 bytes that are not random: made from the time, small numbers, single bytes."""

    def of_number(number: int) -> Iterator[bytes]:
        yield random.Random(number).randbytes(noise.KEY_BYTES)
        yield hashlib.sha256(str(number).encode()).digest()
        yield number.to_bytes(noise.KEY_BYTES, "big")
        yield number.to_bytes(noise.KEY_BYTES, "little")

    seconds = range(now, now - LONG_AGO, -1)
    yield from chain.from_iterable(map(of_number, seconds[:RECENT]))
    yield from (bytes([byte]) * noise.KEY_BYTES for byte in range(256))
    numbers = range(LONG_AGO)
    rest = zip(seconds[RECENT:], numbers, strict=False)
    yield from chain.from_iterable(of_number(number) for pair in rest for number in pair)


def plain_digests(messages: Iterable[bytes]) -> Iterator[bytes]:
    """The messages themselves, where they could be digests, and their digests without a key and under usual ones."""
    usual = usual_keys()
    for message in messages:
        if TOKEN <= len(message) <= 64:
            yield message
        for name in HASHES:
            yield hashlib.new(name, message).digest()
        for name in MACS:
            yield from (hmac.digest(key, message, name) for key in usual)


def keyed_digests(known: Known, of: Iterable[bytes]) -> Iterator[bytes]:
    """What privsdk would write under each of these keys."""
    messages = list(known.as_keyed(known.privatizers[0]))
    for key in of:
        yield from (hmac.digest(key, message, hashlib.sha256) for message in messages)


def marks(known: Known, key: bytes) -> Iterator[bytes]:
    """The marks of the candidates under a key."""
    yield from (int(mark).to_bytes(TOKEN, "big") for mark in likeness.marks(key, known.samples).ravel())


class Haystack:
    """Every place in the files and names below some folders at which 64 bits can stand."""

    def __init__(self, folders: Sequence[Path]) -> None:
        contents = [path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()]
        contents += [os.fsencode(path.name) for folder in folders for path in folder.rglob("*")]
        written = []
        for content in contents:
            written += [bytes.fromhex(token[: len(token) // 2 * 2].decode()) for token in _HEX.findall(content)]
            for token in _BASE64.findall(content):
                with suppress(ValueError):
                    written.append(base64.b64decode(token + b"=" * (-len(token) % 4), b"-_" if b"_" in token else None))
        places = [
            np.frombuffer(content, ">u8", (len(content) - offset) // TOKEN, offset)
            for content in contents + written
            for offset in range(TOKEN)
            if len(content) - offset >= TOKEN
        ]
        self._places = np.unique(np.concatenate(places).astype(np.uint64))
        self.size = len(self._places)

    def hits(self, digests: Sequence[bytes]) -> int:
        """How many of the digests stand somewhere: their beginning, either way round, or their end."""
        tokens = np.frombuffer(
            b"".join(part for digest in digests for part in (digest[:TOKEN], digest[:TOKEN][::-1], digest[-TOKEN:])),
            ">u8",
        ).astype(np.uint64)
        places = np.minimum(np.searchsorted(self._places, tokens), len(self._places) - 1)
        return int((self._places[places] == tokens).reshape(-1, 3).any(axis=1).sum())


_HEX, _BASE64 = re.compile(rb"[0-9a-fA-F]{16,}"), re.compile(rb"[A-Za-z0-9+/_-]{11,}")


def released_again(known: Known, key: bytes, images_out: set[bytes]) -> int:
    """How many of the candidates' releases under a key are among those that are out."""
    made, _ = known.privatizers[0].privatize_each(known.samples, None, key)
    return sum(image.tobytes() in images_out for image in made)


def run(attempt: Attempt) -> Outcome:
    home, output = attempt.folder / "home", attempt.folder / "released"
    paths = sorted((REPOSITORY / "examples" / "photos").glob("*.jpg"))
    known = Known(paths, read_faces(paths)[0], [flow_privatizer(), noise_privatizer()], home, output / "stopped")
    images_out = used(known, output)
    key = device_key(home)
    now = int(time.time())

    haystack = Haystack([output, hidden(home, attempt.folder / "stolen")])
    # What the same attacks find with the key: that they can find something.
    with_key = [haystack.hits([digest]) for digest in keyed_digests(known, [key])]
    with_key += [haystack.hits(list(marks(known, key))), released_again(known, key, images_out)]

    tries = hits = 0
    usual = [one for one in usual_keys() if len(one) == noise.KEY_BYTES]
    for one in usual:
        found = list(marks(known, one))
        hits += haystack.hits(found) + released_again(known, one, images_out)
        tries += len(found) + len(known.samples)
    # First what is likeliest.
    digests = chain(
        plain_digests(chain(known.of_filters(), known.of_photos())),
        keyed_digests(known, chain(usual, islice(weak_keys(now), 4 * RECENT))),
        plain_digests(known.of_wishes()),
        keyed_digests(known, islice(weak_keys(now), 4 * RECENT, None)),
    )
    left = islice(digests, max(0, attempt.size - tries))
    while some := list(islice(left, AT_ONCE)):
        tries += len(some)
        hits += haystack.hits(some)
    return Outcome(
        hits == 0 and all(with_key),
        f"{hits} hits in {tries:,} tries at {haystack.size:,} places, {len(paths)} candidate photos and "
        f"{len(usual)} keys by which releases were made again; with the key itself {sum(map(bool, with_key))} of "
        f"{len(with_key)} attacks hit",
    )


def used(known: Known, output: Path) -> set[bytes]:
    """What the user does: a filter is cached, photos are released, another release and an audit are stopped.

    Gives the pixels of the images of the first release.
    """
    privatizer, home = known.privatizers[0], known.home
    Cache(home).put(bundle().digest, wish(PRIVATE, UTILITY), privatizer.to_bytes())
    Unfinished(f"audit of {PRIVATE}", home).put(PRIVATE, {"scores": np.arange(9.0)}, {"label": PRIVATE})
    output.mkdir()
    done = privatizer.release(known.paths[: RELEASED - STOPPED_AFTER], output / "whole", folder=home)
    asked: list[int] = []
    with suppress(CancelledError):
        privatizer.release(
            known.paths[RELEASED - STOPPED_AFTER : RELEASED],
            known.output,
            folder=home,
            cancel=lambda: bool(asked.append(1)) or len(asked) > STOPPED_AFTER - 1,
        )
    return {images.read(result.path).tobytes() for result in done if isinstance(result, Release)}


def hidden(home: Path, copy: Path) -> Path:
    """A copy of the data folder without the key."""
    for path in home.rglob("*"):
        if path.is_file() and path.name != KEY_NAME:
            target = copy / path.relative_to(home)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return copy


def _plain_digests_in_the_ledger() -> None:
    ledger.sample_digests = lambda key, samples, purpose="sample": [
        hashlib.sha256(sample.tobytes()).digest() for sample in samples
    ]


def _the_filter_in_the_record() -> None:
    real = releasing._Run._record

    def record(self: Any, results: Any) -> bytes:
        return real(self, results) + f'{{"filter": "{self._privatizer.filter_digest}"}}\n'.encode()

    releasing._Run._record = record  # type: ignore[method-assign]


def _names_that_are_hashes_of_photos() -> None:
    real = releasing._Run._released

    def released(self: Any, position: int, sample: int, samples: int, labels: Any) -> Release:
        name = hashlib.sha256(self._photos[position].read_bytes()).hexdigest()[:32]
        result = real(self, position, sample, samples, labels)
        return replace(result, path=result.path.with_stem(name))

    releasing._Run._released = released  # type: ignore[method-assign]


def _a_key_from_the_time() -> None:
    def token_bytes(count: int) -> bytes:
        return random.Random(int(time.time())).randbytes(count)

    keys.secrets = SimpleNamespace(token_bytes=token_bytes)  # type: ignore[assignment]


TRIAL = Trial(
    name="guessing",
    tries="guessing the key, or confirming a photo or a wish, from releases, the record, the data folder and names",
    must="no hit",
    size=1_000_000,
    part=60_000,
    enough=60_000,
    run=run,
    faults=(
        Fault("plain-digests-in-the-ledger", _plain_digests_in_the_ledger),
        Fault("the-filter-in-the-record", _the_filter_in_the_record),
        Fault("names-that-are-hashes-of-photos", _names_that_are_hashes_of_photos),
        Fault("a-key-from-the-time", _a_key_from_the_time),
        Fault("digests-without-the-key", digests_without_the_key),
    ),
)
