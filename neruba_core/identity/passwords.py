"""Passwords: which are fit, how they are kept, how one is verified.

Kept as argon2id only (RFC 9106) with OWASP's parameters, 19 MiB, two passes, one lane. Every check of
a password costs the same whether or not there is such a user: an unknown email is verified against a
hash that nothing matches. Passwords are compared in Unicode's NFC, so that an accent typed on another
keyboard is the same accent (RFC 8265).

What is refused as common is what zxcvbn expects to fall within a million guesses: words, names and
leaked passwords, keyboard walks, repeats, dates and the usual disguises of them.
"""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from neruba_core.errors import PasswordUnfit

if TYPE_CHECKING:
    from argon2 import PasswordHasher

FEWEST_BYTES = 12
MOST_BYTES = 1024
COMMON_BELOW_GUESSES = 10**6

# zxcvbn's time grows with the square of the length; what is common shows well before this.
_JUDGED_CHARACTERS = 64
_SALT_BYTES = 16
_DIGEST_BYTES = 32
# memory in KiB, passes, lanes
_COSTS = {"standard": (19 * 1024, 2, 1), "testing": (8, 1, 1)}


def fit(password: str, email: str = "") -> str:
    """Return *password* if someone may choose it: 12 to 1,024 bytes, not common, not made of *email*.

    Raises ``PasswordUnfit``.
    """
    try:
        size = len(_compared(password).encode())
    except UnicodeEncodeError:
        raise PasswordUnfit("holds a lone surrogate, which no keyboard types") from None
    if size < FEWEST_BYTES:
        raise PasswordUnfit(f"has only {size} bytes")
    if size > MOST_BYTES:
        raise PasswordUnfit(f"has {size} bytes")
    if _guesses(password, email) < COMMON_BELOW_GUESSES:
        raise PasswordUnfit("is among the first that a guesser tries")
    return password


def hashed(password: str, *, effort: str, randomness: Callable[[int], bytes]) -> str:
    """The argon2id hash of *password*, in PHC notation with its own salt and parameters."""
    return _hasher(effort).hash(_compared(password), salt=randomness(_SALT_BYTES))


def matches(password_hash: str | None, password: str, *, effort: str) -> bool:
    """Whether *password* is the one hashed; ``None`` (no such user) takes as long and never matches."""
    from argon2.exceptions import InvalidHashError, VerificationError

    known = password_hash is not None
    # No one can have chosen a longer one, and hashing megabytes is what an attacker would like.
    candidate = _compared(password).encode("utf-8", "surrogatepass")[: MOST_BYTES + 1]
    try:
        _hasher(effort).verify(password_hash if password_hash is not None else _unmatched(effort), candidate)
    except (VerificationError, InvalidHashError):
        return False
    return known


def outdated(password_hash: str, *, effort: str) -> bool:
    """Whether the hash was made with other parameters than today's, so that a login should renew it."""
    return _hasher(effort).check_needs_rehash(password_hash)


def _compared(password: str) -> str:
    return unicodedata.normalize("NFC", password)


def _guesses(password: str, email: str) -> int:
    # 50 ms of word lists, needed only where someone chooses a password.
    from zxcvbn import zxcvbn

    inputs = [email, *email.split("@")] if email else []
    return int(zxcvbn(password[:_JUDGED_CHARACTERS], user_inputs=inputs)["guesses"])


@cache
def _hasher(effort: str) -> PasswordHasher:
    # Lazily: an embedder that has its own users never needs it.
    from argon2 import PasswordHasher

    memory_kib, passes, lanes = _COSTS[effort]
    return PasswordHasher(
        time_cost=passes,
        memory_cost=memory_kib,
        parallelism=lanes,
        hash_len=_DIGEST_BYTES,
        salt_len=_SALT_BYTES,
    )


def _unmatched(effort: str) -> str:
    """A well-formed hash of today's cost whose digest no one can hit on purpose."""
    memory_kib, passes, lanes = _COSTS[effort]
    return (
        f"$argon2id$v=19$m={memory_kib},t={passes},p={lanes}"
        f"${_unpadded(bytes(_SALT_BYTES))}${_unpadded(bytes(_DIGEST_BYTES))}"
    )


def _unpadded(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii").rstrip("=")
