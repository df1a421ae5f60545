"""What we pack for PostgreSQL is what PostgreSQL unpacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from neruba_core.storage.sql import SqlStorage
from neruba_core.storage.sql.arrays import pack, teach

pytestmark = pytest.mark.postgres

ELEMENTS: dict[str, st.SearchStrategy[Any]] = {
    "text": st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    "int8": st.integers(-(2**63), 2**63 - 1),
    "int4": st.integers(-(2**31), 2**31 - 1),
    "bool": st.booleans(),
    "bytea": st.binary(),
}


@pytest.fixture(scope="module")
def connection(postgres_url: str) -> Iterator[Connection]:
    storage = SqlStorage(postgres_url)
    with storage.engine.connect() as connection:
        teach(connection)
        yield connection
    storage.close()


@pytest.mark.parametrize("kind", ELEMENTS)
@given(data=st.data())
def test_an_array_comes_back_as_it_was_packed(connection, kind, data):
    """
    Equal elements and missing ones take a shorter way through the packing, so both are likely here.
    """
    element = ELEMENTS[kind]
    values = data.draw(
        st.lists(element | st.none(), max_size=20)
        | st.builds(lambda value, count: [value] * count, element | st.none(), st.integers(1, 20))
    )

    [(back,)] = connection.exec_driver_sql(f"SELECT %b::{kind}[]", (pack(kind, values),)).all()

    assert back == values


@pytest.mark.parametrize(("kind", "value"), [("int8", 2**63), ("int8", -(2**63) - 1), ("int4", 2**31)])
def test_a_number_that_does_not_fit_is_refused(kind, value):
    """
    Rather than cut off.
    """
    with pytest.raises(Exception, match=r"format|range|too large"):
        pack(kind, [value])
