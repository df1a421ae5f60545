"""PostgreSQL finds rows by the index that was made for the question, from the first row on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql

from neruba_core.storage.sql import journal, tenancy, usage, wallet_holds
from neruba_core.storage.sql.storage import SqlStorage
from neruba_core.testing.postgres import PostgresDatabases

pytestmark = pytest.mark.postgres

_FOREIGN_KEYS = """
SELECT k.conname, k.confrelid::regclass::text, array(
    SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY key(number, place)
    JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = key.number ORDER BY key.place)
FROM pg_constraint k WHERE k.contype = 'f' AND starts_with(k.conname, 'neruba_')
"""


@pytest.fixture(scope="module")
def driver(postgres_server: PostgresDatabases) -> Iterator[Any]:
    """
    The driver's connection to a database that has the schema and has never had a row.
    """
    storage = SqlStorage(postgres_server.create_database())
    storage.migrate()
    with storage.engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        if driver.info.server_version < 180_000:
            pytest.skip("before PostgreSQL 18 the planner cannot be told; autovacuum helps within minutes")
        yield driver
    storage.close()


def planned(driver: Any, statement: str) -> str:
    """The plan that is kept for *statement*, whose parameters are written ``$1`` and so on."""
    # Past the extended protocol, which would want values for them.
    result = driver.pgconn.exec_(f"EXPLAIN (GENERIC_PLAN) {statement}".encode())
    assert not result.error_message, result.error_message.decode()
    return "\n".join(result.get_value(row, 0).decode() for row in range(result.ntuples))


def whole(plan: str, columns: Sequence[str]) -> bool:
    """Whether all *columns* lead to the rows, and none only sorts them out afterwards."""
    condition = re.search("Index Cond: (.*)", plan)
    return condition is not None and all(column in condition[1] for column in columns)


def test_each_foreign_key_is_looked_up_by_its_whole_key(driver):
    """
    Or each entry would read all transactions of its project.
    """
    keys = driver.execute(_FOREIGN_KEYS).fetchall()
    assert len(keys) > 50
    for name, table, columns in keys:
        same = " AND ".join(f"{column} = ${place}" for place, column in enumerate(columns, 1))
        plan = planned(driver, f"SELECT 1 FROM ONLY {table} x WHERE {same} FOR KEY SHARE OF x")
        assert whole(plan, columns), (name, plan)


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        pytest.param(usage._BY_ID, ["project_id", "id"], id="usage by id"),
        pytest.param(usage._BY_KEYS, ["project_id", "idempotency_key"], id="usage by key"),
        pytest.param(usage._BY_EVENT_IDS, ["project_id", "event_id"], id="usage by event"),
        pytest.param(journal._BY_ID, ["project_id", "id"], id="transaction by id"),
        pytest.param(journal._BY_KEYS, ["project_id", "idempotency_key"], id="transaction by key"),
        pytest.param(journal._REVERSALS, ["project_id", "reverses"], id="reversals"),
        pytest.param(wallet_holds._HOLDS, ["project_id", "id"], id="hold by id"),
    ],
)
def test_a_row_is_found_by_its_whole_name(driver, query, columns):
    """
    A replay would otherwise read all usage of its project.
    """
    text, _ = query.on(postgresql.dialect(paramstyle="pyformat"), {})
    places: dict[str, str] = {}
    numbered = re.sub(r"%\((\w+)\)s", lambda name: places.setdefault(name[1], f"${len(places) + 1}"), text)
    plan = planned(driver, numbered)
    assert whole(plan, columns), plan


def test_a_query_for_a_list_of_texts_is_planned_once(driver):
    """
    However many there are; planning takes longer than finding a project.
    """
    text, _ = tenancy._PROJECTS.on(postgresql.dialect(paramstyle="pyformat"), {})
    for number in range(12):
        driver.execute(text, {"project_ids": ["prj_x"] * (1 + number % 3)}, prepare=True)

    asked = "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement LIKE %s"
    custom, generic = driver.execute(asked, ["%unnest%neruba_projects%"], prepare=False).fetchone()
    assert (custom, generic) == (5, 7)
