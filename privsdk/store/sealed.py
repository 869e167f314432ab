"""What is kept on this device for later, sealed under the device key: whoever takes the file alone can read nothing."""

from __future__ import annotations

import hashlib
import hmac
import secrets

NONCE = 12


def seal(key: bytes, purpose: str, content: bytes) -> bytes:
    """``content`` encrypted and authenticated by ChaCha20-Poly1305 (RFC 8439), under a key for this ``purpose``."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    nonce = secrets.token_bytes(NONCE)
    return nonce + ChaCha20Poly1305(_key(key, purpose)).encrypt(nonce, content, purpose.encode())


def unseal(key: bytes, purpose: str, sealed: bytes) -> bytes:
    """What :func:`seal` was given; raises ValueError where the bytes are damaged, or of another key or purpose."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    if len(sealed) < NONCE:
        raise ValueError("it was not sealed by this key, or is damaged")
    try:
        return ChaCha20Poly1305(_key(key, purpose)).decrypt(sealed[:NONCE], sealed[NONCE:], purpose.encode())
    except InvalidTag as error:
        raise ValueError("it was not sealed by this key, or is damaged") from error


def _key(key: bytes, purpose: str) -> bytes:
    return hmac.digest(key, f"sealed {purpose}".encode(), hashlib.sha256)
