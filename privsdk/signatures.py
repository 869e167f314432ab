"""Who answers for a bundle or a privatizer file: Ed25519 over its bytes, checked with a public key that is trusted.

Of a bundle the manifest is signed, which covers every other file, in ``manifest.sig`` beside it; of a privatizer the
file itself, in a file of its name with ``.sig`` behind it.  A signature is 64 bytes and nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path

from privsdk.bundle import LARGEST_FILE, SIGNATURE, SIGNATURE_BYTES, bundles, folder_of, read_manifest
from privsdk.errors import BundleError, PrivatizerError, UsageError
from privsdk.files import read_regular

LARGEST_KEY = 1 << 16


def is_privatizer_file(bundle_or_file: str | Path) -> bool:
    """Whether a privatizer file is meant: what is neither the name of a shipped bundle nor a folder."""
    return bundle_or_file not in bundles() and os.path.isfile(bundle_or_file)


def signature_of(bundle_or_file: str | Path) -> Path:
    """Where its signature is, or would be; raises BundleError where there is neither."""
    if is_privatizer_file(bundle_or_file):
        return Path(f"{bundle_or_file}.sig")
    return folder_of(bundle_or_file) / SIGNATURE


def signed_bytes(bundle_or_file: str | Path) -> bytes:
    """What is signed; raises BundleError or PrivatizerError where it cannot be read, or is no manifest."""
    if not is_privatizer_file(bundle_or_file):
        return read_manifest(folder_of(bundle_or_file))
    try:
        return read_regular(bundle_or_file, LARGEST_FILE)
    except OSError as error:
        raise PrivatizerError(f"{bundle_or_file} cannot be read: {error.strerror}") from error


def is_signed(bundle_or_file: str | Path) -> bool:
    """Whether there is a signature, by whomever; a shipped name, a folder, or a privatizer file."""
    return os.path.lexists(signature_of(bundle_or_file))


def check_signature(bundle_or_file: str | Path, public_key: str | Path) -> None:
    """Raises BundleError, or PrivatizerError of a file, unless it is signed with the key that belongs to this one.

    ``public_key`` is a PEM file; raises UsageError where it holds no Ed25519 public key.
    """
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    damaged = PrivatizerError if is_privatizer_file(bundle_or_file) else BundleError
    try:
        key = load_pem_public_key(read_regular(public_key, LARGEST_KEY))
    except OSError as error:
        raise UsageError(f"{public_key} cannot be read ({error.strerror}): name the public key's PEM file") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{public_key} holds no public key: make one with `openssl pkey -pubout`") from error
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{public_key} holds no Ed25519 key: ask whoever signed for theirs")
    content, place = signed_bytes(bundle_or_file), signature_of(bundle_or_file)
    try:
        signature = read_regular(place, SIGNATURE_BYTES)
    except OSError as error:
        raise damaged(f"{place} cannot be read ({error.strerror}): take one that is signed") from error
    try:
        key.verify(signature, content)
    except InvalidSignature as error:
        raise damaged(f"{place} is not by this key, or of something else: take one that is signed") from error
