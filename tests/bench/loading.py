"""Usage in bulk, written by SQL: millions of events in a minute, past everything that ingest does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.bench.conftest import Database

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 90
METRICS = ("api_tokens", "requests", "storage")

_COLUMNS = """project_id, id, metric_key, units_micros, timestamp, event_id, properties, idempotency_key,
    fingerprint, fingerprint_version, received_at, late, actor, request_id, render_version"""
_START_MICROS = int(START.timestamp()) * 1_000_000
_AT = f"{_START_MICROS} + (n * 7919 % (DAYS * 86400)) * 1000000 + n % 1000000"
_METRIC = "CASE n % 3 " + " ".join(f"WHEN {n} THEN '{key}'" for n, key in enumerate(METRICS)) + " END"

_POSTGRESQL = f"""
    INSERT INTO neruba_usage_events ({_COLUMNS})
    SELECT %s, 'use_' || lpad(to_hex(n), 32, '0'), {_METRIC}, n %% 1000 * 1000, {{at}}, 'evt_' || n, NULL,
        'evt_' || n, decode(md5(n::text), 'hex'), 1, {{at}}, false, 'key:key_bench', NULL, 1
    FROM generate_series(%s::bigint, %s::bigint) AS n
"""
_SQLITE = f"""
    WITH RECURSIVE counted(n) AS (SELECT ? UNION ALL SELECT n + 1 FROM counted WHERE n < ?)
    INSERT INTO neruba_usage_events ({_COLUMNS})
    SELECT ?, printf('use_%032x', n), {_METRIC}, n % 1000 * 1000, {_AT}, 'evt_' || n, NULL,
        'evt_' || n, zeroblob(32), 1, {_AT}, 0, 'key:key_bench', NULL, 1
    FROM counted
"""
_PIECE = 20_000


def load(database: Database, project_id: str, events: int, days: int = DAYS) -> None:
    """Write *events* events of three metrics, spread over the first *days* days of the year."""
    connection = database.bare()
    for first in range(0, events, _PIECE):
        last = min(first + _PIECE, events) - 1
        _load(database.name, connection, project_id, first, last, days)
    connection.close()


def _load(name: str, connection: Any, project_id: str, first: int, last: int, days: int) -> None:
    if name == "sqlite":
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_SQLITE.replace("DAYS", str(days)), (first, last, project_id))
        connection.execute("COMMIT")
        return
    statement = _POSTGRESQL.replace(_METRIC, _METRIC.replace("%", "%%"))
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(
            statement.replace("{at}", _AT.replace("%", "%%")).replace("DAYS", str(days)),
            (project_id, first, last),
        )


def fold(database: Database) -> None:
    """Fold all of it."""
    while database.neruba.usage.fold(at_most=50_000):
        pass


def settle(database: Database) -> None:
    """Let the database look at what it has, as it does by itself after a while."""
    connection = database.bare()
    connection.execute("ANALYZE" if database.name == "sqlite" else "VACUUM (ANALYZE)")
    connection.close()
