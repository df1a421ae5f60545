"""The doctor finds what is wrong, says where, and changes nothing."""

from __future__ import annotations

import json
import shutil
import sqlite3
from datetime import timedelta
from typing import Any

import pytest

from neruba_core import Neruba
from neruba_core.testing.clock import NOON


@pytest.fixture
def database(tmp_path, sqlite_template):
    """
    A database with credit, with folded usage, and with some that is not folded.
    """
    file = shutil.copy(sqlite_template, tmp_path / "neruba.db")
    with Neruba.open(f"sqlite:///{file}", password_effort="testing") as neruba:
        project = neruba.projects.create(name="Acme")
        neruba.wallets.credit(project.id, amount="10", description="d", idempotency_key="c")
        for number in range(30):
            timestamp = NOON - timedelta(days=20) + number * timedelta(hours=1)
            usage: dict[str, Any] = {"metric_key": "m", "units": number, "timestamp": timestamp}
            neruba.usage.record(project.id, **usage, idempotency_key=str(number))
            if number == 20:
                neruba.usage.fold()
    return file


def altered(database, statement):
    """
    A change past everything that forbids it.
    """
    with sqlite3.connect(database) as connection:
        assert connection.execute(statement).rowcount > 0
    connection.close()


def test_a_sound_database_is_called_sound(neruba, database):
    """
    For people and for programs.
    """
    url = f"sqlite:///{database}"

    shown = neruba("doctor", "--database", url)
    told = neruba("doctor", "--whole", "--json", "--database", url)

    assert shown.exit_code == told.exit_code == 0
    assert [line.split()[:2] for line in shown.stdout.splitlines()] == [
        [name, "sound"] for name in ("readiness", "schema", "ledger", "rollups")
    ]
    assert json.loads(told.stdout) == {"healthy": True, "checks": 4, "findings": []}


@pytest.mark.parametrize(
    ("statement", "name", "words"),
    [
        ("UPDATE neruba_usage_rollups SET events = events + 1 WHERE hours = 24", "rollups", "m from 1970"),
        ("UPDATE neruba_usage_rollups SET sum_low = 0 WHERE hours = 1", "rollups", "sum 0"),
        ("DELETE FROM neruba_usage_rollups", "rollups", "rollups 9 events"),
        ("UPDATE neruba_heads SET balance_micros = 1", "ledger", "head balance"),
        ("DELETE FROM neruba_schema WHERE version > 1", "schema", "version"),
    ],
    ids=["a day", "an hour", "all rollups", "a balance", "the schema"],
)
def test_what_is_wrong_is_named(neruba, database, statement, name, words):
    """
    With a status that a script notices.
    """
    altered(database, statement)

    told = neruba("doctor", "--whole", "--json", "--database", f"sqlite:///{database}")
    shown = neruba("doctor", "--whole", "--database", f"sqlite:///{database}")

    findings = json.loads(told.stdout)["findings"]
    assert told.exit_code == shown.exit_code == 1
    assert {finding["name"] for finding in findings} == {name}
    assert words in findings[0]["fault"]
    assert words in shown.stdout


def test_folding_anew_mends_rollups(neruba, database):
    """
    What was kept for speed is made again from what happened.
    """
    url = f"sqlite:///{database}"
    altered(database, "UPDATE neruba_usage_rollups SET events = events + 1")
    with Neruba.open(url) as opened:
        (project,) = opened.projects.list().items
        opened.usage.refold(project.id)
        assert neruba("doctor", "--whole", "--database", url).exit_code == 0
        while opened.usage.fold():
            pass

    assert neruba("doctor", "--whole", "--database", url).exit_code == 0
