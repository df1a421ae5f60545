"""The text of an access key: ``nrb_{live|test}_{id}_{secret}{check}``, of a platform key ``nrp_…``.

The id finds the key, 43 base62 digits carry 256 random bits, and 6 more carry the CRC-32 of all that
comes before them, so a typo or a cut-off paste is refused without touching the database. What is stored
is an HMAC of the whole text under a pepper that the database does not hold: a stolen table neither opens
anything nor lets anyone test guesses.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import zlib
from collections.abc import Callable
from typing import TypeAlias

from attrs import field, frozen

from neruba_core.errors import KeyRefused

ID_PREFIX = "key"
PLATFORM_ID_PREFIX = "pky"
ENVIRONMENTS = ("live", "test")

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_BYTES = 32
_SECRET_DIGITS = 43
_CHECK_DIGITS = 6
_BRANDS = {ID_PREFIX: "nrb", PLATFORM_ID_PREFIX: "nrp"}
_SHAPE = re.compile(
    rf"(nrb|nrp)_(?:{'|'.join(ENVIRONMENTS)})_([0-9a-f]{{32}})_"
    rf"[0-9A-Za-z]{{{_SECRET_DIGITS + _CHECK_DIGITS}}}",
    re.ASCII,
)


@frozen
class Minted:
    """A new secret, what of it may be shown, and what of it is stored."""

    secret: str = field(repr=False)
    prefix: str
    secret_hash: str = field(repr=False)


Mint: TypeAlias = Callable[[str], Minted]
"""Makes the secret of a key id."""


def mint(key_id: str, environment: str, pepper: bytes, randomness: Callable[[int], bytes]) -> Minted:
    """A new secret for the key *key_id* of a ``live`` or ``test`` deployment."""
    kind, _, digits = key_id.partition("_")
    prefix = f"{_BRANDS[kind]}_{environment}_{digits}"
    number = int.from_bytes(randomness(_SECRET_BYTES), "big")
    body = f"{prefix}_{_base62(number, _SECRET_DIGITS)}"
    secret = body + _check(body)
    return Minted(secret, prefix, digest(secret, pepper))


def key_id_of(secret: str) -> str:
    """The id of the key that *secret* claims to open. Raises ``KeyRefused`` for what we never minted."""
    match = _SHAPE.fullmatch(secret)
    if match is None or _check(secret[:-_CHECK_DIGITS]) != secret[-_CHECK_DIGITS:]:
        raise KeyRefused
    return f"{PLATFORM_ID_PREFIX if is_platform(secret) else ID_PREFIX}_{match[2]}"


def is_platform(secret: str) -> bool:
    """Whether *secret* claims to be a platform key's."""
    return secret.startswith(_BRANDS[PLATFORM_ID_PREFIX])


def digest(secret: str, pepper: bytes) -> str:
    """What is stored of *secret*: its HMAC-SHA-256 in hexadecimal."""
    return hmac.new(pepper, secret.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def same(stored: str, presented: str) -> bool:
    """Whether two digests are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(stored, presented)


def _check(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), _CHECK_DIGITS)


def _base62(number: int, digits: int) -> str:
    text = ""
    for _ in range(digits):
        number, digit = divmod(number, 62)
        text = _DIGITS[digit] + text
    return text
