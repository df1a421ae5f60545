"""The launcher of PostgreSQL that the storage tests stand on."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from neruba_core.testing import postgres
from neruba_core.testing.postgres import PostgresDatabases, PostgresServer, PostgresUnavailable

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


def query(url: str, text: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(text).fetchall()


def write(url: str, *texts: str) -> None:
    with psycopg.connect(url) as connection:
        for text in texts:
            connection.execute(text)


def ends_within(seconds: float, connection: psycopg.Connection) -> bool:
    """Ask until the session is gone: that of a killed server serves on until it notices."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return True
        time.sleep(0.01)
    return False


def test_two_databases_know_nothing_of_each_other(server):
    """
    Tests may run side by side, each in a database of its own.
    """
    first, second = server.create_database(), server.create_database()

    write(first, "CREATE TABLE coins (micros bigint)")

    assert query(first, "SELECT to_regclass('coins') IS NOT NULL") == [(True,)]
    assert query(second, "SELECT to_regclass('coins') IS NOT NULL") == [(False,)]


def test_a_copy_starts_as_its_template_and_goes_its_own_way(server):
    """
    One migrated template serves every test.
    """
    template = server.create_database()
    write(template, "CREATE TABLE coins (micros bigint)", "INSERT INTO coins VALUES (7)")

    copy = server.create_database(template=template)
    write(copy, "INSERT INTO coins VALUES (8)")

    assert query(copy, "SELECT micros FROM coins ORDER BY 1") == [(7,), (8,)]
    assert query(template, "SELECT micros FROM coins") == [(7,)]


def test_a_dropped_database_is_gone_whoever_is_connected(server):
    """
    A test that forgets a connection does not keep its database.
    """
    database = server.create_database()

    with psycopg.connect(database):
        server.drop_database(database)

    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(database)


@pytest.mark.parametrize("end", ["immediate stop", "kill"])
def test_what_was_committed_survives_a_crash(server, end):
    """
    The same data comes back on the same URL, and what was not committed does not.
    """
    database = server.create_database()
    write(database, "CREATE TABLE coins (micros bigint)", "INSERT INTO coins VALUES (7)")
    open_transaction = psycopg.connect(database)
    open_transaction.execute("INSERT INTO coins VALUES (8)")

    if end == "kill":
        server.kill()
    else:
        server.stop(immediate=True)
    stopped = not server.running
    ended = ends_within(20, open_transaction)
    open_transaction.close()
    server.start()

    assert stopped
    assert ended
    assert query(database, "SELECT micros FROM coins") == [(7,)]


def test_settings_reach_the_server_and_its_defaults_are_durable(server):
    """
    Whoever wants speed instead of durability has to say so.
    """
    with PostgresServer(settings={"fsync": "off"}) as quick:
        quick_fsync = query(quick.url, "SHOW fsync")

    assert quick_fsync == [("off",)]
    assert query(server.url, "SHOW fsync") == [("on",)]
    assert query(server.url, "SHOW server_encoding") == [("UTF8",)]


def test_a_setting_that_postgresql_refuses_is_named():
    """
    The end of the server's log is part of the error.
    """
    with pytest.raises(PostgresUnavailable, match="fsync"):
        PostgresServer(settings={"fsync": "perhaps"})


def test_the_programs_are_copied_when_the_servers_user_cannot_reach_them(monkeypatch):
    """
    A checkout below a closed home directory works as well, and stays closed.
    """
    monkeypatch.setattr(postgres, "_open_to_others", lambda path: "site-packages" not in path.parts)

    with PostgresServer() as server:
        database = server.create_database()

        assert query(database, "SELECT 1") == [(1,)]


def test_a_server_does_not_outlive_a_killed_owner():
    """
    A test run that is killed leaves neither processes nor data behind.
    """
    program = """
import time
from neruba_core.testing.postgres import PostgresServer
server = PostgresServer()
print(server.url, server._home, flush=True)
time.sleep(600)
"""
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    url, home = owner.stdout.readline().split()

    owner.kill()
    owner.wait()
    owner.stdout.close()

    deadline = time.monotonic() + 20
    while Path(home).exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(home).exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql+psycopg://me@db:5433/app", "postgresql://me@db:5433/other"),
        ("postgres://me:p%40ss@db/app?sslmode=require", "postgresql://me:p%40ss@db/other?sslmode=require"),
        ("postgresql:///app?host=/run/postgresql", "postgresql:///other?host=/run/postgresql"),
    ],
)
def test_another_server_is_named_by_any_usual_url(given, expected):
    """
    Driver, password and options are kept or dropped as psycopg needs it; only the database changes.
    """
    databases = PostgresDatabases(given)

    assert postgres._with_database(databases.url, "other") == expected


def test_a_url_of_another_database_is_refused_without_repeating_it():
    """
    It may hold a password.
    """
    with pytest.raises(ValueError, match="begins with postgresql://") as refusal:
        PostgresDatabases("mysql://root:hunter2@db/app")

    assert "hunter2" not in str(refusal.value)


def test_without_the_package_the_way_out_is_named(monkeypatch):
    """
    Whoever cannot install it may bring a server of their own.
    """
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(PostgresUnavailable, match="NERUBA_TEST_DATABASE_URL"):
        PostgresServer()


def test_a_failed_initialisation_repeats_what_initdb_said(monkeypatch):
    """
    A full disk or a missing library is told apart without a debugger.
    """
    monkeypatch.setattr(postgres, "SUPERUSER", "pg_reserved")

    with pytest.raises(PostgresUnavailable, match="pg_"):
        PostgresServer()


def test_a_port_that_is_taken_meanwhile_is_left_to_its_owner(server, monkeypatch):
    """
    Two test runs may start at the same moment.
    """
    free = next(postgres._free_ports())
    monkeypatch.setattr(postgres, "_free_ports", lambda: iter([server.port, free]))

    with PostgresServer() as other:
        assert other.port == free


def test_starting_and_closing_twice_changes_nothing():
    """
    A test may tidy up without keeping count.
    """
    server = PostgresServer()

    server.start()
    answered = query(server.url, "SELECT 1")
    server.close()
    server.close()

    assert answered == [(1,)]
    assert not server.running
