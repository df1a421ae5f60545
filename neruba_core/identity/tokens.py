"""Opaque tokens: 256 random bits for the holder, their SHA-256 for us.

A token means nothing by itself, so it can be revoked at once; and a stolen database opens nothing,
since 256 random bits cannot be guessed back from a hash, however fast the hash is.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

_BYTES = 32


def new_token(randomness: Callable[[int], bytes]) -> str:
    """A fresh token: 43 characters that need no quoting anywhere."""
    return base64.urlsafe_b64encode(randomness(_BYTES)).decode("ascii").rstrip("=")


def digest(token: str) -> str:
    """What is stored of *token*, and looked up when it comes back."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
