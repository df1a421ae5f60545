"""Pages and the cursors between them."""

from __future__ import annotations

import base64
import json

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from neruba_core.errors import CursorInvalid, CursorMismatch, FormatInvalid
from neruba_core.pages import limited, page, place_of


@frozen
class Row:
    id: str


@given(st.integers(0, 30), st.integers(1, 7))
def test_pages_together_are_the_list(count, limit):
    """
    Each row once, in order, and the last page says that it is the last.
    """
    rows = [Row(f"{number:04}") for number in range(count, 0, -1)]

    seen: list[Row] = []
    cursor: str | None = None
    while True:
        before = place_of(cursor, "rows", 7)
        left = [row for row in rows if before is None or row.id < before]
        part = page(left[: limit + 1], limit, "id", "rows", 7)
        seen += part.items
        cursor = part.next_cursor
        if cursor is None:
            break

    assert seen == rows


def test_a_cursor_is_opaque():
    """
    Nobody is tempted to read an id from it.
    """
    cursor = page([Row("0002"), Row("0001")], 1, "id", "rows").next_cursor

    assert cursor is not None
    assert "0002" not in cursor
    assert cursor.isascii()


@pytest.mark.parametrize("filters", [(), ("rows",), ("rows", "prj_2"), ("rows", "prj_1", None)])
def test_a_cursor_of_other_filters_is_told_apart(filters):
    """
    Carried over to another list it would skip or repeat rows unnoticed.
    """
    cursor = page([Row("0002"), Row("0001")], 1, "id", "rows", "prj_1").next_cursor

    with pytest.raises(CursorMismatch):
        place_of(cursor, *filters)

    assert place_of(cursor, "rows", "prj_1") == "0002"


def _made(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "????",
        "ü",
        "\ud800",
        "AAAA",
        _made(7),
        _made(None),
        _made([]),
        _made(["a"]),
        _made(["a", "b", "c"]),
        _made([1, "b"]),
        _made(["a", 1]),
        _made(["ä", "b"]),
        _made(["\x00", "b"]),
        _made("[" * 40),
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
        base64.urlsafe_b64encode(b"9" * 10_000).decode(),
    ],
    ids=range(18),
)
def test_an_unreadable_cursor_is_refused(cursor):
    """
    Whatever was sent, it is the sender's mistake and not ours.
    """
    with pytest.raises(CursorInvalid):
        place_of(cursor, "rows")


@pytest.mark.parametrize("limit", [0, -1, 201, True, "50", 1.0, None])
def test_other_limits_are_refused(limit):
    """
    From 1 to 200.
    """
    with pytest.raises(FormatInvalid, match="a limit from 1 to 200"):
        limited(limit)

    assert limited(1) == 1
    assert limited(200) == 200
