"""Single bits flipped in every file of a bundle, in a privatizer, in signatures: each time the right error follows."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import privsdk
from privsdk import bundle, privatizer, signatures
from privsdk.errors import BundleError, PrivatizerError, PrivsdkError
from tests.attacks.trial import REPOSITORY, Attempt, Fault, Outcome, Trial
from tests.make_bundle import flow_privatizer, make_bundle


def flipped(attempt: Attempt) -> Outcome:
    folder, file = attempt.folder / "bundle", attempt.folder / "file.privatizer"
    if attempt.size < TRIAL.size:
        opened = privsdk.Bundle.open(make_bundle(folder))
        flow_privatizer(opened).save(file)
    else:
        shutil.copytree(REPOSITORY / "models" / "faces", folder)
        opened = privsdk.Bundle.open(folder)
        privsdk.fit(opened, private="male", utility="smiling").save(file)
    rng = np.random.default_rng(attempt.seed)
    key = Ed25519PrivateKey.from_private_bytes(rng.bytes(32))
    public = attempt.folder / "public.pem"
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for signed in (folder, file):
        signatures.signature_of(signed).write_bytes(key.sign(signatures.signed_bytes(signed)))

    def open_bundle() -> None:
        privsdk.Bundle.open(folder)

    def load_privatizer() -> None:
        privsdk.Privatizer.load(file, opened)

    def check(signed: Path) -> Callable[[], None]:
        return lambda: signatures.check_signature(signed, public)

    readers: dict[Path, tuple[Callable[[], None], type[PrivsdkError]]]
    readers = dict.fromkeys(sorted(folder.iterdir()), (open_bundle, BundleError))
    readers[file] = load_privatizer, PrivatizerError
    readers[folder / bundle.SIGNATURE] = check(folder), BundleError
    readers[signatures.signature_of(file)] = check(file), PrivatizerError
    for read, _ in readers.values():
        read()  # what is not flipped is taken

    flips, wrong, slowest = Counter[str](), [], 0.0
    for number in range(attempt.size):
        path, (read, expected) = list(readers.items())[number % len(readers)]
        position, bit = int(rng.integers(path.stat().st_size)), int(rng.integers(8))
        flip(path, position, bit)
        began = time.perf_counter()
        why = why_not_refused(read, expected)
        slowest = max(slowest, time.perf_counter() - began)
        flip(path, position, bit)
        flips[path.name] += 1
        if why:
            wrong.append(f"{path.name}, byte {position}, bit {bit}: {why}")
    for read, _ in readers.values():
        read()
    refused, megabytes = attempt.size - len(wrong), sum(path.stat().st_size for path in readers) / 1e6
    seen = f"{refused:,} of {attempt.size:,} refused, {min(flips.values())} or more in each of {len(readers)} files"
    seen += f" of {megabytes:.1f} MB; slowest {slowest:.1f} s"
    return Outcome(not wrong, "; ".join([*wrong[:1], seen]).replace("|", "/"))


def flip(path: Path, position: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        (byte,) = file.read(1)
        file.seek(position)
        file.write(bytes([byte ^ 1 << bit]))


def why_not_refused(read: Callable[[], None], expected: type[PrivsdkError]) -> str | None:
    try:
        read()
    except expected:
        return None
    except Exception as error:  # noqa: BLE001 - whatever else it is, it is no refusal
        return f"{type(error).__name__} {error}"
    return "it was taken"


def compare_sizes_alone(manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    for name, entry in manifest["files"].items():
        if len(files[name]) != entry["bytes"]:
            raise BundleError(f"{name} has another size")


def plant_no_digest_of_files() -> None:
    bundle._check_files = compare_sizes_alone


def plant_no_sum_of_the_manifest() -> None:
    def read_manifest(folder: Path) -> bytes:
        content = (folder / bundle.MANIFEST).read_bytes()
        if bundle.manifest_files(bundle._json(content))[bundle.MANIFEST] != content:
            raise BundleError("it is not written as it is packed")
        return content

    bundle.read_manifest = read_manifest


def plant_no_digest_of_arrays() -> None:
    whole = privatizer._digest
    privatizer._digest = lambda arrays, content: whole({}, content)


def plant_any_signature() -> None:
    def check_signature(signed: str | Path, public_key: str | Path) -> None:
        if len(signatures.signature_of(signed).read_bytes()) != bundle.SIGNATURE_BYTES:
            raise BundleError("it has no signature")

    signatures.check_signature = check_signature


FAULTS: Sequence[Fault] = (
    Fault("the sizes of a bundle's files are compared, their digests not", plant_no_digest_of_files),
    Fault("nobody checks the manifest itself", plant_no_sum_of_the_manifest),
    Fault("a privatizer's digest leaves the arrays out", plant_no_digest_of_arrays),
    Fault("any signature will do", plant_any_signature),
)

TRIAL = Trial(
    name="bit-flips",
    tries="single bits flipped in every file of a signed bundle (manifest, sum and signature too) and in a privatizer",
    must="all refused",
    size=10_000,
    part=1_500,
    enough=300,
    run=flipped,
    faults=tuple(FAULTS),
)
