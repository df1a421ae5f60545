"""Bringing a schema up to date: alone, all at once, and inside a host's own transaction."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Engine, create_engine, inspect, text

from neruba_core.errors import SchemaOutdated
from neruba_core.storage.sql import SqlStorage, migrations
from neruba_core.storage.sql.engine import normalised
from neruba_core.storage.sql.migrations import v0003_ledger


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names())


def test_an_empty_database_comes_up_to_date(empty_url, host):
    """
    ``check`` says what to do before, and is content after.
    """
    storage = SqlStorage(empty_url)
    with pytest.raises(SchemaOutdated, match="neruba migrate"):
        storage.check()

    storage.migrate()

    storage.check()
    storage.close()
    with host.connect() as connection:
        assert migrations.current(connection) == migrations.latest()


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(empty_url, host):
    """
    Every start of a server may ask for one.
    """
    storage = SqlStorage(empty_url)
    storage.migrate()
    before = tables(host)

    storage.migrate()

    storage.close()
    assert tables(host) == before


def test_an_upgrade_may_stop_on_the_way(host):
    """
    A host may take the versions one by one.
    """
    for version in range(1, migrations.latest() + 1):
        with host.begin() as connection:
            migrations.upgrade(connection, to=version)
        with host.connect() as connection:
            assert migrations.current(connection) == version


def test_versions_are_numbered_by_their_place():
    """
    The number in the database and the one in the module's name are the same.
    """
    numbers = [int(name[1:5]) for name in migrations._VERSIONS]

    assert numbers == list(range(1, migrations.latest() + 1))


def test_a_version_that_nobody_knows_is_refused(host):
    """
    A host that asks for more than this release has would wait for it in vain.
    """
    with host.begin() as connection, pytest.raises(ValueError, match="no schema version 99"):
        migrations.upgrade(connection, to=99)


def test_a_newer_schema_is_left_alone(empty_url, host):
    """
    While a release is rolled out, the one before it goes on working.
    """
    storage = SqlStorage(empty_url)
    storage.migrate()
    with host.begin() as connection:
        connection.execute(text("INSERT INTO neruba_schema (version, made_by) VALUES (99, 'v0099_future')"))

    storage.migrate()

    storage.check()
    storage.close()


def test_an_upgrade_without_a_transaction_commits_by_itself(host):
    """
    A plain connection will do.
    """
    with host.connect() as connection:
        migrations.upgrade(connection)

    with host.connect() as connection:
        assert migrations.current(connection) == migrations.latest()


@pytest.mark.parametrize("level", ["default", "AUTOCOMMIT"])
def test_the_host_decides_whether_the_upgrade_stays(host, level):
    """
    Its own rows and our tables are made together or not at all, also where the driver commits by itself.
    """
    if level != "default":
        host = host.execution_options(isolation_level=level)

    with host.connect() as connection:
        transaction = connection.begin()
        migrations.upgrade(connection)
        transaction.rollback()
    undone = tables(host)
    with host.connect() as connection:
        transaction = connection.begin()
        migrations.upgrade(connection)
        transaction.commit()

    assert undone == set()
    assert "neruba_entries" in tables(host)


def test_a_host_calls_it_in_a_revision_of_its_own(host):
    """
    Alembic's own context around it neither commits early nor notices anything.
    """

    def revision(revision_id: Any, context: MigrationContext) -> Any:
        class Step:
            is_upgrade = True
            insert_version = True

            def migration_fn(self) -> None:
                operations = Operations(context)
                operations.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
                assert context.connection is not None
                migrations.upgrade(context.connection)

        Step().migration_fn()
        return []

    with host.connect() as connection:
        context = MigrationContext.configure(connection, opts={"fn": revision})
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()

    assert {"orders", "neruba_entries"} <= tables(host)
    with host.connect() as connection:
        assert migrations.current(connection) == migrations.latest()


def test_four_processes_at_once_make_one_schema(empty_url, host):
    """
    Every worker of a server may upgrade as it starts; one does it, the others wait and find it done.
    """
    code = (
        "import sys; from neruba_core.storage.sql import SqlStorage;"
        "storage = SqlStorage(sys.argv[1]); sys.stdin.read(); storage.migrate(); storage.check()"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, empty_url],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    with ThreadPoolExecutor(4) as together:
        said = list(together.map(lambda process: process.communicate()[1], running))

    assert [(process.returncode, error) for process, error in zip(running, said, strict=True)] == [
        (0, "")
    ] * 4
    with host.connect() as connection:
        versions = (
            connection.execute(text("SELECT version FROM neruba_schema ORDER BY version")).scalars().all()
        )
    assert versions == list(range(1, migrations.latest() + 1))


def test_a_failed_upgrade_leaves_nothing(empty_url, host, monkeypatch):
    """
    Also tables that were made before the failure are gone again.
    """

    def fail(_: Operations) -> None:
        raise RuntimeError("half-way")

    storage = SqlStorage(empty_url)
    with monkeypatch.context() as patch:
        patch.setattr(v0003_ledger, "upgrade", fail)
        with pytest.raises(RuntimeError, match="half-way"):
            storage.migrate()
    left = tables(host)

    storage.migrate()

    storage.close()
    assert left == set()
    assert "neruba_entries" in tables(host)


def test_a_database_in_memory_is_upgraded_too():
    """
    Its only connection is the database.
    """
    storage = SqlStorage("sqlite://")

    storage.migrate()

    storage.check()
    storage.close()


def test_the_url_of_a_host_is_as_good_as_ours(empty_url):
    """
    Whatever SQLAlchemy takes ``postgresql://`` for, we take it for psycopg 3.
    """
    engine = create_engine(normalised(empty_url))

    with engine.begin() as connection:
        migrations.upgrade(connection)
        assert migrations.current(connection) == migrations.latest()
    engine.dispose()
