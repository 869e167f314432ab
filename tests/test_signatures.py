"""Signatures: of bundles and of privatizer files, made centrally and checked with a public key."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from make_bundle import change_manifest, flow_privatizer, make_bundle
from test_export import write_small_bundle
from typer.testing import CliRunner

from export.pack import check_replaceable, sign, signing_key
from privsdk import (
    Bundle,
    BundleError,
    Privatizer,
    PrivatizerError,
    UsageError,
    check_signature,
    is_privatizer_file,
    is_signed,
)
from privsdk.cli import app


def private_pem(key: Ed25519PrivateKey | rsa.RSAPrivateKey, passphrase: bytes | None = None) -> bytes:
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def public_pem(key: Ed25519PrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a bundle ``tiny``, a privatizer ``file``, and two pairs of keys, ``ours`` and ``theirs``."""
    bundle = Bundle.open(make_bundle(tmp_path / "tiny"))
    flow_privatizer(bundle).save(tmp_path / "file")
    for name, seed in (("ours", b"o"), ("theirs", b"t")):
        key = Ed25519PrivateKey.from_private_bytes(seed * 32)
        (tmp_path / f"{name}.key").write_bytes(private_pem(key))
        (tmp_path / f"{name}.pem").write_bytes(public_pem(key))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "signature", "error"),
    [("tiny", "tiny/manifest.sig", BundleError), ("file", "file.sig", PrivatizerError)],
)
def test_what_is_signed_is_checked(place: Path, name: str, signature: str, error: type[Exception]) -> None:
    signed = place / name
    assert is_privatizer_file(signed) == (name == "file")
    assert not is_signed(signed)
    with pytest.raises(error, match=r"cannot be read .*: take one that is signed"):
        check_signature(signed, place / "ours.pem")
    assert sign(signed, signing_key(place / "ours.key")) == place / signature
    assert is_signed(signed)
    check_signature(signed, place / "ours.pem")
    Privatizer.load(place / "file", Bundle.open(place / "tiny"))
    with pytest.raises(error, match="is not by this key"):
        check_signature(signed, place / "theirs.pem")
    good = (place / signature).read_bytes()
    for bad in (good[:-1], b"", bytes(64), bytes([good[0] ^ 1]) + good[1:]):
        (place / signature).write_bytes(bad)
        with pytest.raises(error, match="is not by this key"):
            check_signature(signed, place / "ours.pem")
    (place / signature).write_bytes(good + b"\n")
    with pytest.raises(error, match="65 bytes"):
        check_signature(signed, place / "ours.pem")


def test_a_signature_is_of_one_content_alone(place: Path) -> None:
    for name in ("tiny", "file"):
        sign(place / name, signing_key(place / "ours.key"))
    change_manifest(place / "tiny", lambda manifest: manifest.update(terms="other terms"))
    Bundle.open(place / "tiny")
    with pytest.raises(BundleError, match=r"manifest\.sig is not by this key, or of something else"):
        check_signature(place / "tiny", place / "ours.pem")
    (place / "tiny" / "manifest.sha256").write_text("0" * 64 + "\n")
    with pytest.raises(BundleError, match=r"is not what manifest\.sha256 says"):
        check_signature(place / "tiny", place / "ours.pem")
    content = (place / "file").read_bytes()
    (place / "file").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(PrivatizerError, match=r"file\.sig is not by this key, or of something else"):
        check_signature(place / "file", place / "ours.pem")


def test_openssl_checks_it_too(place: Path) -> None:
    sign(place / "tiny", signing_key(place / "ours.key"))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "ours.pem", "-rawin"]
    command += ["-in", "tiny/manifest.json", "-sigfile", "tiny/manifest.sig"]
    try:
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs openssl")
    assert "Signature Verified Successfully" in done.stdout, done


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no public key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "holds no public key"),
        (public_pem(rsa.generate_private_key(65537, 2048)), "holds no Ed25519 key"),
        (bytes(1 << 17), "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_public_key_that_is_none_is_said_to_be(place: Path, content: bytes | None, said: str) -> None:
    sign(place / "tiny", signing_key(place / "ours.key"))
    if content is not None:
        (place / "bad.pem").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        check_signature(place / "tiny", place / "bad.pem")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no private key"),
        (private_pem(Ed25519PrivateKey.generate(), b"secret"), "one under a passphrase"),
        (public_pem(Ed25519PrivateKey.generate()), "holds no private key"),
        (private_pem(rsa.generate_private_key(65537, 2048)), "holds no Ed25519 key"),
        (None, "cannot be read"),
    ],
)
def test_a_private_key_that_is_none_is_said_to_be(place: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (place / "bad.key").write_bytes(content)
    with pytest.raises(UsageError, match=said):
        signing_key(place / "bad.key")


def test_a_signed_bundle_can_be_replaced_and_what_replaces_it_is_not_signed(tmp_path: Path) -> None:
    write_small_bundle(tmp_path / "squares", b"first")
    (tmp_path / "squares" / "manifest.sig").write_bytes(bytes(64))
    check_replaceable(tmp_path / "squares")
    write_small_bundle(tmp_path / "squares", b"second")
    assert not is_signed(tmp_path / "squares")


def test_packing_signs_and_a_bad_key_is_found_before_any_work(
    place: Path, export: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from export import __main__ as command_line

    monkeypatch.setattr(command_line, "Settings", MagicMock())
    monkeypatch.setattr(command_line, "pack", lambda settings, images, out, bundle: write_small_bundle(bundle, b"x"))
    bundle = place / "squares"
    with pytest.raises(AssertionError, match="2 == 0"):
        export("pack", "--out", place, "--bundle", bundle, "--sign", place / "ours.pem")
    assert not bundle.exists()
    export("pack", "--out", place, "--bundle", bundle, "--sign", place / "ours.key")
    check_signature(bundle, place / "ours.pem")


def test_the_command_line(place: Path, export: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)

    def verify(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["verify", *arguments])
        assert done.exit_code == code, done.output
        return done.output

    both: tuple[tuple[str, ...], ...] = (("./tiny",), ("file", "--bundle", "./tiny"))
    ours, theirs = ("--public-key", "ours.pem"), ("--public-key", "theirs.pem")
    for checked in both:
        assert "is whole and works" in verify(*checked)
        assert json.loads(verify(*checked, "--json"))["signature"] == "none"
        verify(*checked, *ours, code=3)
        export("sign", checked[0], "--key", "ours.key")
        assert "by whom was not checked: give --public-key" in verify(*checked)
        assert json.loads(verify(*checked, "--json"))["signature"] == "not checked"
        assert "It is signed with the key of ours.pem" in verify(*checked, *ours)
        assert json.loads(verify(*checked, *ours, "--json"))["signature"] == "valid"
        assert "is not by this key" in verify(*checked, *theirs, code=3)
        verify(*checked, "--public-key", "ours.key", code=2)
    assert "it needs the bundle 'tiny'" in verify("file", code=3)
    verify("./tiny", "--bundle", "./tiny", code=2)
    (place / "file").write_bytes(b"damaged")
    assert "no privatizer" in verify(*both[1], code=3)
    assert "neither a shipped bundle nor a folder" in verify("nothing", code=3)
