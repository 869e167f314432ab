"""A certificate for this machine's loopback address, and the authority that signed it: made anew for each run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

LOOPBACK = "127.0.0.1"
VALID = timedelta(days=1)


@dataclass(frozen=True)
class Certificates:
    """Files in PEM: the authority's certificate, the server's, and the server's private key."""

    authority: Path
    server: Path
    key: Path


def make(folder: Path) -> Certificates:
    """Writes them into ``folder``; the authority's own key is forgotten."""
    authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority_name = _name("privsdk fleet")
    usual = x509.BasicConstraints(ca=True, path_length=0)
    authority = _builder(authority_name, authority_name, authority_key).add_extension(usual, critical=True)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK)), x509.DNSName("localhost")])
    server = _builder(_name(LOOPBACK), authority_name, server_key).add_extension(names, critical=False)
    made = Certificates(folder / "authority.pem", folder / "server.pem", folder / "server.key")
    made.authority.write_bytes(authority.sign(authority_key, SHA256()).public_bytes(Encoding.PEM))
    made.server.write_bytes(server.sign(authority_key, SHA256()).public_bytes(Encoding.PEM))
    made.key.touch(mode=0o600)
    made.key.write_bytes(server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + VALID)
    )
