"""What every command has: help with an example, one line where it fails, and a status."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator

import click
import pytest

from neruba_core import Neruba
from neruba_server.cli import main


def _commands(group: click.Group, *path: str) -> Iterator[tuple[str, ...]]:
    for name, each in group.commands.items():
        yield (*path, name)
        if isinstance(each, click.Group):
            yield from _commands(each, *path, name)


COMMANDS = list(_commands(main))


def one_line(result, *words):
    assert result.exit_code != 0
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize("path", [(), *COMMANDS], ids=" ".join)
def test_help_has_an_example_and_no_secret(neruba, monkeypatch, path):
    """
    Some libraries show the variables of the moment as defaults.
    """
    monkeypatch.setenv("NERUBA_KEY_PEPPER", "0123456789abcdef0123456789abcdef")
    monkeypatch.setenv("NERUBA_DATABASE_URL", "postgresql://me:hush@h/n")

    result = neruba(*path, "--help")

    assert result.exit_code == 0
    assert f"$ neruba {' '.join(path)}".rstrip() in result.output
    assert "0123456789abcdef" not in result.output
    assert "hush" not in result.output


def test_what_is_misspelt_is_refused_in_one_line(neruba):
    """
    With the place where help is.
    """
    one_line(neruba("sevre"), "sevre", "neruba --help")
    one_line(neruba("serve", "--prot", "1"), "--prot", "neruba serve --help")
    one_line(neruba("users", "add"), "EMAIL")


def test_a_bad_setting_is_one_line(neruba, monkeypatch):
    """
    Whichever command it stops.
    """
    monkeypatch.setenv("NERUBA_PORT", "eighty")

    one_line(neruba("serve"), "NERUBA_PORT", "eighty")
    one_line(neruba("migrate", "--config", "nowhere.toml"), "nowhere.toml")


@pytest.mark.parametrize("path", [("serve",), ("migrate",), ("users", "list")], ids=" ".join)
def test_a_database_that_does_not_answer_is_one_line(neruba, path):
    """
    And its password is not in it.
    """
    result = neruba(*path, "--database", "postgresql://me:hush@127.0.0.1:1/nothing")

    one_line(result, "cannot be reached", "postgresql://me@127.0.0.1:1/nothing: ", "--database")
    assert "hush" not in result.output


@pytest.mark.parametrize("path", [("serve",), ("migrate",)], ids=" ".join)
def test_a_database_in_no_directory_is_one_line(neruba, tmp_path, path):
    """
    It names the database and the way out.
    """
    url = f"sqlite:///{tmp_path}/nowhere/x.db"

    one_line(
        neruba(*path, "--database", url),
        f"neruba: {url}: the database file cannot be opened: there is no directory {tmp_path}/nowhere; "
        "make it, or choose another with --database",
    )


def test_a_schema_of_another_time_is_one_line(neruba, tmp_path):
    """
    An existing database is upgraded when its owner says so, not because a server was started.
    """
    Neruba.open("sqlite:///neruba.db").close()
    connection = sqlite3.connect(tmp_path / "neruba.db")
    connection.execute("DELETE FROM neruba_schema WHERE version > 1")
    connection.commit()
    connection.close()

    one_line(neruba("serve"), "version 1", "neruba migrate")
    one_line(neruba("migrate", "--check"), "version 1", "neruba migrate")
    one_line(neruba("users", "list"), "sqlite:///neruba.db: ", "neruba migrate")


def test_migrate_makes_a_database_and_says_whether_it_is_current(neruba, tmp_path):
    """
    The check alone makes nothing.
    """
    one_line(neruba("migrate", "--check"), "there is no database")
    assert not list(tmp_path.iterdir())

    assert neruba("migrate").exit_code == 0
    checked = neruba("migrate", "--check", "--json")

    assert checked.exit_code == 0
    assert json.loads(checked.stdout) == {"database": "sqlite:///neruba.db", "current": True}


def test_openapi_is_the_document(neruba):
    """
    It can be piped into whatever generates clients.
    """
    document = json.loads(neruba("openapi").stdout)

    assert document["openapi"].startswith("3.1")
    assert "/ingest/usage" in document["paths"]


def test_users_are_added_listed_given_passwords_and_disabled(neruba):
    """
    The life of a user, by command.
    """
    assert (
        neruba("users", "add", "Owner@example.com", "--password-stdin", input="strong-password\n").exit_code
        == 0
    )
    added = neruba(
        "users",
        "add",
        "ops@example.com",
        "--operator",
        "--password-stdin",
        "--json",
        input="another-password\n",
    )
    changed = neruba(
        "users", "set-password", "owner@example.com", "--password-stdin", input="stronger-password"
    )
    disabled = neruba("users", "disable", "ops@example.com", "--json")
    listed = json.loads(neruba("users", "list", "--json").stdout)

    assert json.loads(added.stdout)["operator"] is True
    assert changed.exit_code == 0
    assert json.loads(disabled.stdout)["disabled"] is True
    assert [user["email"] for user in listed] == ["ops@example.com", "owner@example.com"]
    assert "ops@example.com    disabled" in neruba("users", "list").stdout
    with Neruba.open("sqlite:///neruba.db") as engine:
        assert engine.sessions.login("owner@example.com", "stronger-password").access_token


def test_users_that_cannot_be_are_refused_in_one_line(neruba):
    """
    And nobody is added.
    """
    one_line(neruba("users", "add", "a@example.com", "--password-stdin", input="short\n"), "password")
    one_line(neruba("users", "add", "nobody", "--password-stdin", input="strong-password\n"), "nobody")
    one_line(neruba("users", "add", "a@example.com", "--password-stdin", input=""), "no password")
    one_line(neruba("users", "add", "a@example.com"), "--password-stdin")
    neruba("users", "add", "a@example.com", "--password-stdin", input="strong-password\n")
    one_line(
        neruba("users", "add", "A@example.com", "--password-stdin", input="strong-password\n"),
        "exists already",
    )
    one_line(neruba("users", "disable", "b@example.com"), "b@example.com")

    assert len(json.loads(neruba("users", "list", "--json").stdout)) == 1


def test_looking_at_users_makes_no_database(neruba, tmp_path):
    """
    A misspelt name would otherwise leave an empty file and an empty list.
    """
    one_line(neruba("users", "list", "--database", "sqlite:///misspelt.db"), "there is no database")

    assert not list(tmp_path.iterdir())


def test_what_is_due_can_be_done_once(neruba):
    """
    From cron, say; what was done just now is not due again.
    """
    with Neruba.open("sqlite:///neruba.db") as engine:
        engine.projects.create(name="Acme")

    first = neruba("ticker", "--once")
    again = neruba("ticker", "--once")

    assert first.exit_code == again.exit_code == 0
    assert "prune_trail  done" in first.stdout
    assert again.stdout == "Nothing is due.\n"


def test_a_job_that_fails_is_told_with_a_status(neruba, monkeypatch):
    """
    The others are done all the same.
    """
    from neruba_core.namespaces.audit import Audit

    with Neruba.open("sqlite:///neruba.db"):
        pass

    def fails(*_: object) -> int:
        raise OSError("disk gone")

    monkeypatch.setattr(Audit, "prune", fails)
    result = neruba("ticker", "--once")

    one_line(result, "1 of ", "jobs failed")
    assert "prune_trail  failed  OSError: disk gone" in result.stdout
    assert "tell_of_expiring_keys  done" in result.stdout


def test_a_test_clock_is_left_to_the_server(neruba, monkeypatch):
    """
    Whoever moves it does what falls due on the way.
    """
    with Neruba.open("sqlite:///neruba.db"):
        pass
    monkeypatch.setenv("NERUBA_TEST_CLOCK", "2026-03-01T00:00:00Z")

    one_line(neruba("ticker", "--once"), "test clock")


def test_a_variable_that_is_no_setting_is_warned_of_by_every_command(neruba, monkeypatch):
    """
    What was meant by it was not read, and may have been another database.
    """
    monkeypatch.setenv("NERUBA_DATABSE_URL", "sqlite:///other.db")

    done = neruba("openapi")

    assert done.exit_code == 0
    assert "NERUBA_DATABSE_URL is no setting; did you mean NERUBA_DATABASE_URL?" in done.stderr
