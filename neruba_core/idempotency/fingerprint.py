"""What makes two requests the same.

The fingerprint, version 1, is the SHA-256 of the canonical JSON (RFC 8785) of ``{operation, path,
body}``: the body's fields that are present, null meaning absent and defaults never added, amounts
and instants in their one canonical form. So ``"1.5"`` and ``"1.500000"`` are the same request, and a
field left out is another one than the same field sent with its default.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from json.encoder import encode_basestring as quoted
from typing import TypeAlias, Union

VERSION = 1

Json: TypeAlias = Union[str, int, bool, "Mapping[str, Json]", "list[Json]", "tuple[Json, ...]", None]

__all__ = ["VERSION", "Json", "canonical", "fingerprint", "quoted"]


def fingerprint(operation: str, path: str, body: Mapping[str, Json]) -> bytes:
    """The fingerprint of a request: 32 bytes. *body* holds canonical values; ``None`` means absent."""
    present = {name: value for name, value in body.items() if value is not None}
    return hashlib.sha256(
        canonical({"body": present, "operation": operation, "path": path}).encode()
    ).digest()


def canonical(value: Json) -> str:
    """RFC 8785 text of strings, booleans, safe integers, nulls, arrays and objects (no floats)."""
    if _sorts_plainly(value):
        return _dumps(value)
    return _dumps_by_utf16(value)


# RFC 8785 escapes exactly what ensure_ascii=False escapes.
_dumps = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_dumps_unsorted = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def _sorts_plainly(value: Json) -> bool:
    """Code point order, which ``json`` sorts by, is UTF-16 order as long as names are ASCII."""
    if isinstance(value, Mapping):
        return all(name.isascii() and _sorts_plainly(inner) for name, inner in value.items())
    if isinstance(value, list | tuple):
        return all(_sorts_plainly(inner) for inner in value)
    return True


def _dumps_by_utf16(value: Json) -> str:
    return _dumps_unsorted(_by_utf16(value))


def _by_utf16(value: Json) -> Json:
    if isinstance(value, Mapping):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return {name: _by_utf16(value[name]) for name in names}
    if isinstance(value, list | tuple):
        return [_by_utf16(inner) for inner in value]
    return value
