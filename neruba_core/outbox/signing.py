"""The secrets that messages are signed with.

An endpoint's secret is an HMAC under the deployment's pepper, which the database does not hold: a stolen
table signs nothing. What is kept is a salt, so that a secret can be replaced.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable

PREFIX = "whsec_"
_SALT_BYTES = 16


def salt(randomness: Callable[[int], bytes]) -> str:
    """A new salt."""
    return randomness(_SALT_BYTES).hex()


def secret_of(pepper: bytes, endpoint_id: str, salt: str) -> str:
    """The secret ``whsec_…`` as the Standard Webhooks specification writes it: 32 bytes in base64."""
    text = f"webhook secret of {endpoint_id} with {salt}"
    return PREFIX + base64.b64encode(hmac.new(pepper, text.encode(), hashlib.sha256).digest()).decode()
