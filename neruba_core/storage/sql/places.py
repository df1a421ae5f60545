"""Where a usage event or a void stands among all others, in the words of each database.

On PostgreSQL the *place* of a row is the number of the transaction that wrote it, on SQLite its rowid; a
void on SQLite has the rowid that the next event will have. The *horizon* is the place below which nothing
is added any more: on PostgreSQL all transactions below ``pg_snapshot_xmin`` have ended, and on SQLite there
is one writer at a time.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen
from sqlalchemy import text

from neruba_core.storage.sql.queries import Query


@frozen
class Words:
    """What the two databases say differently."""

    postgresql: bool

    @property
    def event(self) -> str:
        """The place of an event ``e``."""
        return "e.xact" if self.postgresql else "e.rowid"

    @property
    def void(self) -> str:
        """The place of a void ``v``."""
        return "v.xact" if self.postgresql else "v.place"

    @property
    def horizon(self) -> str:
        """Below it nothing is added any more."""
        if self.postgresql:
            return "pg_snapshot_xmin(pg_current_snapshot())"
        return "(SELECT coalesce(max(rowid), 0) + 1 FROM neruba_usage_events)"

    def place(self, number: str) -> str:
        """The *number* as a place."""
        return f"CAST(CAST({number} AS text) AS xid8)" if self.postgresql else number

    def number(self, place: str) -> str:
        """The *place* as a number."""
        return f"CAST(CAST({place} AS text) AS bigint)" if self.postgresql else place

    def rows(self, name: str, **columns: str) -> str:
        """What is given as *name*, a JSON array of arrays, as a table; columns by their types."""
        if not self.postgresql:
            values = [f"json_extract(j.value, '$[{n}]') AS {column}" for n, column in enumerate(columns)]
            return f"(SELECT {', '.join(values)} FROM json_each(:{name}) j)"
        values = [
            f"CAST(j.value ->> {n} AS {'xid8' if kind == 'place' else kind}) AS {column}"
            for n, (column, kind) in enumerate(columns.items())
        ]
        return f"(SELECT {', '.join(values)} FROM jsonb_array_elements(CAST(:{name} AS jsonb)) j)"


def asked(write: Callable[[Words], str]) -> Query:
    """A query whose text *write* puts together."""
    return Query(lambda postgresql: text(write(Words(postgresql))))


def each(words: Words, table: str, alias: str, where: str, *, order: str = "", index: str = "") -> str:
    """Join to what stands before it the rows of *table* that it finds *where*, by an index.

    Neither database knows how short a tail is, and PostgreSQL takes a young table for small and reads all
    of it. So both are told to go from row to row (OFFSET 0 keeps the inner query together), and where
    several indexes would do, which one: by the *order* on PostgreSQL, by name on SQLite. What is said about
    the rows has to say something about those before them too, or SQLite reads the whole table beforehand to
    make a Bloom filter of it.
    """
    if not words.postgresql:
        return f"CROSS JOIN {table} {alias} {index and f'INDEXED BY {index}'} ON {where}"
    order = order and f"ORDER BY {order}"
    return f"CROSS JOIN LATERAL (SELECT * FROM {table} {alias} WHERE {where} {order} OFFSET 0) {alias}"
