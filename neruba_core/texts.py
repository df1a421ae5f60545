"""What text and properties from outside may be.

Names and descriptions end up in logs, invoices and CSV files, so control characters and lone
surrogates are refused where they come in. Property values are strings, booleans and integers that
every JSON implementation reads alike (up to 2⁵³−1).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import TypeAlias

from neruba_core.errors import FormatInvalid, KeyInvalid, PropertyInvalid, TextInvalid

PropertyValue: TypeAlias = str | bool | int
Properties: TypeAlias = Mapping[str, PropertyValue]

MAX_TEXT_BYTES = 1024
MAX_PROPERTIES = 50
MAX_PROPERTIES_BYTES = 8 * 1024
MAX_SAFE_INTEGER = 2**53 - 1

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}", re.ASCII)
_EMAIL = re.compile(r"[^@\s\"(),:;<>\[\\\]]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def shown(value: object, *, most: int = 40) -> str:
    """The beginning of *value* as text, fit to be shown whatever it holds: lone surrogates are escaped."""
    text = value if isinstance(value, str) else ascii(value)
    return text[:most].encode("utf-8", "backslashreplace").decode()


def clean(text: str, *, most_bytes: int = MAX_TEXT_BYTES) -> str:
    """Return *text* if it is 1 to *most_bytes* bytes of UTF-8 without control characters."""
    if not isinstance(text, str):
        raise TextInvalid(f"expected text, not {type(text).__name__}")
    if not text or text.isspace():
        raise TextInvalid("the text is empty")
    if _CONTROL.search(text):
        raise TextInvalid("the text holds a control character or a lone surrogate")
    if len(text.encode()) > most_bytes:
        raise TextInvalid(f"the text is longer than {most_bytes} bytes")
    return text


def idempotency_key(key: str) -> str:
    """Return *key* if it is 1–255 visible ASCII characters, or raise ``KeyInvalid``."""
    if not isinstance(key, str) or _IDEMPOTENCY_KEY.fullmatch(key) is None:
        raise KeyInvalid
    return key


def event_id(text: str) -> str:
    """Return *text* if it can name an event: clean, at most 255 bytes."""
    return clean(text, most_bytes=255)


def metric_key(key: str) -> str:
    """Return *key* if it can name a metric: letters, digits and ``_ . : -``, at most 128."""
    return _key(key, "a metric key")


def plan_key(key: str) -> str:
    """Return *key* if it can name a plan: letters, digits and ``_ . : -``, at most 128."""
    return _key(key, "a plan key")


def email(address: str) -> str:
    """Return *address* in the form it is compared by (NFC, lower case), or raise ``FormatInvalid``."""
    if not isinstance(address, str):
        raise FormatInvalid("an email address", shown(address, most=80))
    plain = unicodedata.normalize("NFC", address).lower()
    if _CONTROL.search(plain) or _EMAIL.fullmatch(plain) is None or len(plain.encode()) > 254:
        raise FormatInvalid("an email address", shown(address, most=80))
    return plain


def properties(values: Properties) -> Properties:
    """Return a copy of *values* if each is a string, a boolean or a safe integer, all within the limits."""
    if not isinstance(values, Mapping):
        raise PropertyInvalid("*", f"expected names and values, not {type(values).__name__}")
    if len(values) > MAX_PROPERTIES:
        raise PropertyInvalid("*", f"more than {MAX_PROPERTIES} of them")
    for name, value in values.items():
        try:
            clean(name, most_bytes=128)
            if isinstance(value, str):
                if value:
                    clean_value(value)
            elif not isinstance(value, int):
                raise PropertyInvalid(ascii(name), "only strings, booleans and integers are kept")
            elif abs(value) > MAX_SAFE_INTEGER:
                raise PropertyInvalid(ascii(name), "beyond 2^53-1, where JSON numbers stop being exact")
        except TextInvalid as error:
            raise PropertyInvalid(ascii(name), error.reason) from None
    kept = dict(values)
    if kept and len(json.dumps(kept, ensure_ascii=False).encode()) > MAX_PROPERTIES_BYTES:
        raise PropertyInvalid("*", f"more than {MAX_PROPERTIES_BYTES} bytes in all")
    return kept


def clean_value(text: str) -> str:
    """Like ``clean``, but blank text is a value too."""
    if _CONTROL.search(text):
        raise TextInvalid("the text holds a control character or a lone surrogate")
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise TextInvalid(f"the text is longer than {MAX_TEXT_BYTES} bytes")
    return text


def _key(key: object, noun: str) -> str:
    if not isinstance(key, str) or _KEY.fullmatch(key) is None:
        raise FormatInvalid(f"{noun} of letters, digits and _ . : - (at most 128)", shown(key, most=80))
    return key
