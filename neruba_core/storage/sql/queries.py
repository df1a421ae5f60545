"""Queries that are put together and compiled once, when they are first asked.

SQLAlchemy takes ten times as long to put a query together, and to find it in its own cache, as SQLite
takes to answer it. What is asked again and again is therefore kept as the text that the driver gets.
Values are given by name; a list of texts is one value, however many they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from attrs import define, field
from sqlalchemy import (
    ARRAY,
    BindParameter,
    ColumnElement,
    Dialect,
    FromClause,
    Text,
    any_,
    bindparam,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import SQLCoreOperations
from sqlalchemy.sql.selectable import Join

from neruba_core.storage.sql.arrays import pack

_TEXTS = ARRAY(Text)

# A SELECT of SQLAlchemy, whose type parameters differ from version to version.
Select = Any


@define(eq=False)
class Query:
    """A SELECT, or how to build it for PostgreSQL (True) or SQLite (False)."""

    _build: Select | Callable[[bool], Select]
    _compiled: dict[bool, tuple[str, list[str], dict[str, Any]]] = field(factory=dict, init=False)

    def on(self, dialect: Dialect, given: dict[str, Any]) -> tuple[str, Any]:
        """The text and the parameters for *dialect*."""
        postgresql = dialect.name == "postgresql"
        compiled = self._compiled.get(postgresql)
        if compiled is None:
            compiled = self._compiled[postgresql] = self._compile(dialect, postgresql)
        text, places, fixed = compiled
        values = fixed | given
        for name, value in given.items():
            if isinstance(value, (list, tuple, set)):
                values[name] = pack("text", list(value)) if postgresql else json.dumps(list(value))
        return text, values if postgresql else tuple([values[name] for name in places])

    def _compile(self, dialect: Dialect, postgresql: bool) -> tuple[str, list[str], dict[str, Any]]:
        query = self._build(postgresql) if callable(self._build) else self._build
        compiled = query.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
        return str(compiled), list(compiled.positiontup or ()), dict(compiled.params)


def given(name: str) -> BindParameter[Any]:
    """A value that is given when the query is asked."""
    return bindparam(name)


def among(postgresql: bool, column: SQLCoreOperations[Any], name: str) -> ColumnElement[bool]:
    """*column* is one of the texts given as *name*."""
    if postgresql:
        return column == any_(bindparam(name, type_=_TEXTS))
    texts = func.json_each(bindparam(name, type_=Text())).table_valued("value")
    return column.in_(select(texts.c.value))


def each(query: Select, column: SQLCoreOperations[Any], name: str) -> Callable[[bool], Select]:
    """*query*, which is over one table, for the rows whose *column* is one of the texts given as *name*.

    Goes once through the texts, which must differ, and never through the table. Both are made to (on
    PostgreSQL OFFSET 0 keeps the inner query together): while they know nothing about a young table, they
    take a project for small and read all of it. The plan is the same for any number of texts; PostgreSQL,
    which plans anew for each list that it can look into, is given one that it cannot.
    """

    def build(postgresql: bool) -> Select:
        if not postgresql:
            texts = func.json_each(bindparam(name, type_=Text())).table_valued("value")
            (table,) = query.get_final_froms()
            return query.select_from(_InOrder(texts, table)).where(column == texts.c.value)
        unseen = select(bindparam(name, type_=_TEXTS)).scalar_subquery()
        asked = func.unnest(unseen).table_valued("key").render_derived()
        found = query.where(column == asked.c.key).offset(literal_column("0")).lateral()
        return select(*found.c).select_from(asked.join(found, true()))

    return build


class _InOrder(Join):
    """A join that SQLite makes in the order in which it is written: the right side for each row of the left.

    An IN is answered by way of a sorted copy of the list, which takes as long as looking up what is in it.
    """

    inherit_cache = False

    def __init__(self, left: FromClause, right: FromClause) -> None:
        super().__init__(left, right, true())


@compiles(_InOrder)
def _in_order(join: Join, compiler: SQLCompiler, **options: Any) -> str:
    left, right = (compiler.process(side, **options) for side in (join.left, join.right))
    return f"{left} CROSS JOIN {right}"
