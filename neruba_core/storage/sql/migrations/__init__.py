"""The schema's versions, and the way from one to the next.

``upgrade`` runs on the caller's connection and in the caller's transaction where there is one, so a host
can call it inside a migration of its own: both then happen together or not at all. Several processes may
upgrade at once; one does it while the others wait. Each version is a module of frozen statements, never
derived from today's tables: what a release has made once, it makes for ever.

A newer schema than this release knows is left alone and accepted: changes are made in two steps, so that
the release before goes on working while a new one is rolled out.
"""

from __future__ import annotations

from importlib import import_module

from sqlalchemy import Connection, inspect

from neruba_core.errors import SchemaOutdated
from neruba_core.storage.sql.driver import driver_of
from neruba_core.storage.sql.migrations.foresight import foretell

# Imported when they are needed: Alembic takes a quarter of a second, and most starts have nothing to do.
_VERSIONS = (
    "v0001_people",
    "v0002_usage",
    "v0003_ledger",
    "v0004_pricing",
    "v0005_rollups",
    "v0006_late",
    "v0007_platform",
    "v0008_outbox",
    "v0009_holds",
    "v0010_payments",
)

_TABLE = (
    "CREATE TABLE IF NOT EXISTS neruba_schema (version INTEGER PRIMARY KEY NOT NULL, made_by TEXT NOT NULL)"
)
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('neruba schema', 0))"


def latest() -> int:
    """The schema version that this release works with."""
    return len(_VERSIONS)


def current(connection: Connection) -> int:
    """The schema version of the database; 0 where there is none of ours."""
    if not inspect(connection).has_table("neruba_schema"):
        return 0
    return int(connection.exec_driver_sql("SELECT coalesce(max(version), 0) FROM neruba_schema").scalar_one())


def check(connection: Connection) -> None:
    """Raise ``SchemaOutdated`` unless the schema is one that this release works with."""
    version = current(connection)
    if version < latest():
        raise SchemaOutdated(f"the database's schema is version {version}, this release needs {latest()}")


def upgrade(connection: Connection, to: int | None = None) -> None:
    """Bring the schema to version *to*, or to the latest; never goes back.

    Inside a transaction of the caller's it is the caller who commits; otherwise it is done here.
    """
    target = latest() if to is None else to
    if not 0 <= target <= latest():
        raise ValueError(f"there is no schema version {target}; this release knows 1 to {latest()}")
    if connection.in_transaction():
        _upgrade(connection, target)
    else:
        with connection.begin():
            _upgrade(connection, target)


def _upgrade(connection: Connection, target: int) -> None:
    _lock(connection)
    connection.exec_driver_sql(_TABLE)
    missing = range(current(connection) + 1, target + 1)
    for version in missing:
        name = _VERSIONS[version - 1]
        _run(connection, name)
        made = f"INSERT INTO neruba_schema (version, made_by) VALUES ({version}, '{name}')"
        connection.exec_driver_sql(made)
    if missing:
        foretell(connection)


def _run(connection: Connection, name: str) -> None:
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    step = import_module(f"{__name__}.{name}")
    step.upgrade(Operations(MigrationContext.configure(connection)))


def _lock(connection: Connection) -> None:
    """Keep others out until the transaction ends, and make sure that there is one."""
    driver = driver_of(connection)
    if connection.dialect.name == "sqlite":
        if not driver.in_transaction:
            # Python's driver would begin at the first write of rows, too late for tables.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        return
    if driver.info.transaction_status.name == "IDLE" and driver.autocommit:
        connection.exec_driver_sql("BEGIN")
    connection.exec_driver_sql(_LOCK)
