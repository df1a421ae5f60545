"""Pages of lists that the core gives whole, because they are short."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from neruba_core.errors import CursorInvalid
from neruba_core.pages import Page, page, place_of

T = TypeVar("T")


def sliced(rows: Sequence[T], place: str, limit: int, cursor: str | None, *filters: object) -> Page[T]:
    """The page of *rows* after the one whose *place* the cursor names.

    Raises ``CursorInvalid`` (also where that one has gone) or ``CursorMismatch``.
    """
    after = place_of(cursor, *filters)
    start = 0
    if after is not None:
        places = [str(getattr(row, place)) for row in rows]
        if after not in places:
            raise CursorInvalid
        start = places.index(after) + 1
    return page(rows[start : start + limit + 1], limit, place, *filters)
