"""Which URLs we take, and what our connections are like."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, event, make_url

from neruba_core.storage.sql import SqlStorage
from neruba_core.storage.sql.engine import file_of, normalised


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://u:p@h/d", "postgresql+psycopg"),
        ("postgres://u:p@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg://u:p@h/d", "postgresql+psycopg"),
        ("sqlite:///billing.db", "sqlite+pysqlite"),
        ("sqlite://", "sqlite+pysqlite"),
    ],
)
def test_a_url_gets_the_driver_that_we_speak_to(url, driver):
    """
    What SQLAlchemy takes ``postgresql://`` for depends on its version.
    """
    assert normalised(url).drivername == driver


@pytest.mark.parametrize("url", ["mysql://u:p@h/d", "postgresql+psycopg2://u:p@h/d", "sqlite+aiosqlite://"])
def test_other_databases_are_refused_without_their_password(url):
    """
    The message goes into logs.
    """
    with pytest.raises(ValueError, match="is not supported") as caught:
        SqlStorage(url)

    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sqlite:////data/billing.db", "/data/billing.db"),
        ("sqlite:///file:/data/billing.db?mode=ro&uri=true", "/data/billing.db"),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("sqlite:///file:shared?mode=memory&cache=shared&uri=true", None),
    ],
)
def test_a_database_in_memory_is_told_from_a_file(url, name):
    """
    It is treated in other ways: its connection is the database.
    """
    assert file_of(make_url(url)) == name


def test_a_sqlite_file_is_written_as_safely_as_it_can_be(tmp_path):
    """
    A commit is on disk when it returns, and foreign keys hold.
    """
    storage = SqlStorage(f"sqlite:///{tmp_path / 'billing.db'}")
    wanted = {
        "journal_mode": "wal",
        "synchronous": 2,
        "wal_autocheckpoint": 4_000,
        "foreign_keys": 1,
        "recursive_triggers": 1,
        "busy_timeout": 5000,
    }

    with storage.engine.connect() as connection:
        settings = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in wanted}

    assert settings == wanted
    storage.close()


@pytest.mark.postgres
def test_a_host_sees_our_questions_on_its_own_engine(postgres_url):
    """
    Its hooks and its log are told of them, as of its own.
    """
    host = create_engine(normalised(postgres_url))
    seen: list[str] = []
    event.listen(host, "before_cursor_execute", lambda *execution: seen.append(execution[2]))
    storage = SqlStorage(host)

    with storage.snapshot() as work:
        assert work.tenancy.project("prj_none") is None

    assert any("FROM neruba_projects" in statement for statement in seen)
    host.dispose()


def test_whoever_shares_a_database_in_memory_sees_our_questions():
    """
    Its engine is there to be used by others.
    """
    storage = SqlStorage("sqlite://")
    storage.migrate()
    seen: list[str] = []
    event.listen(storage.engine, "before_cursor_execute", lambda *execution: seen.append(execution[2]))

    with storage.snapshot() as work:
        assert work.tenancy.project("prj_none") is None

    assert any("FROM neruba_projects" in statement for statement in seen)
    storage.close()


def test_a_hosts_engine_on_a_file_is_left_alone(tmp_path):
    """
    We open connections of our own on the same file: the host may not want our settings on its own.
    """
    host = create_engine(f"sqlite:///{tmp_path / 'billing.db'}")
    storage = SqlStorage(host)

    storage.migrate()
    storage.check()

    with host.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 0
    storage.close()
    storage.close()
    host.dispose()


@pytest.mark.parametrize("driver", ["psycopg2", "pg8000"])
def test_a_hosts_engine_with_another_driver_is_refused(driver):
    """
    Bulk statements are written for psycopg 3.
    """
    host = create_engine("sqlite://")
    host.dialect.driver = driver

    with pytest.raises(ValueError, match=f"{driver} is not supported"):
        SqlStorage(host)
    host.dispose()


def test_a_unit_that_outlives_its_store_leaves_no_connection_open(postgres_url):
    """
    A thread may still be at work when a server closes; what it then gives back, nobody would ever close.
    """
    storage = SqlStorage(postgres_url)
    with storage.snapshot() as work:
        driver = work._statements.connection.connection.driver_connection
        storage.close()

    assert driver is not None
    assert driver.closed
    storage.close()


def test_what_comes_back_while_the_store_closes_is_closed_as_well(postgres_url):
    """
    The pool that takes it may have been emptied the moment before.
    """
    storage = SqlStorage(postgres_url)
    event.listen(storage.engine, "checkin", lambda *_: storage.close())

    with storage.snapshot() as work:
        driver = work._statements.connection.connection.driver_connection

    assert driver is not None
    assert driver.closed
