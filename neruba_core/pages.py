"""Pages of a list, newest first, and the cursors between them.

A cursor is opaque to the client. Inside it are the place to go on from and a digest of the list and
its filters, so that a cursor cannot be carried over to another list unnoticed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import Generic, TypeVar

from attrs import frozen

from neruba_core.errors import CursorInvalid, CursorMismatch, FormatInvalid

T = TypeVar("T")

DEFAULT_LIMIT = 50
MAX_LIMIT = 200


@frozen
class Page(Generic[T]):
    """Some *items* of a list and the cursor that leads on, or ``None`` at the end."""

    items: tuple[T, ...]
    next_cursor: str | None


def page(rows: Sequence[T], limit: int, place: str, *filters: object) -> Page[T]:
    """Make a page of at most *limit* of *rows*, which were read with ``limit + 1``.

    *place* names the attribute of an item that the list is ordered by.
    """
    items = tuple(rows[:limit])
    more = len(rows) > limit
    return Page(items, _encode(str(getattr(items[-1], place)), filters) if more else None)


def place_of(cursor: str | None, *filters: object) -> str | None:
    """The place that *cursor* goes on from; raises ``CursorInvalid`` or ``CursorMismatch``."""
    if cursor is None:
        return None
    try:
        place, digest = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
        if not isinstance(place, str) or not isinstance(digest, str):
            raise CursorInvalid
        if not (place.isascii() and place.isprintable()):
            raise CursorInvalid
    except (ValueError, TypeError, binascii.Error, UnicodeError, RecursionError):
        raise CursorInvalid from None
    if digest != _digest(filters):
        raise CursorMismatch
    return place


def _encode(place: str, filters: tuple[object, ...]) -> str:
    return base64.urlsafe_b64encode(json.dumps([place, _digest(filters)]).encode()).decode("ascii")


def _digest(filters: tuple[object, ...]) -> str:
    return hashlib.sha256(repr(filters).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def limited(limit: int) -> int:
    """Return *limit* if it is from 1 to 200, or raise ``FormatInvalid``."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
        raise FormatInvalid(f"a limit from 1 to {MAX_LIMIT}", str(limit)[:40])
    return limit
