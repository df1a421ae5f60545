"""Usage from a file, from the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from attrs import define

from neruba_core import Neruba, money
from neruba_server.commands import usage as importing
from neruba_server.commands.backfill import Progress
from tests.server.cli.conftest import SECONDS, command, environment

EVENT = {"metricKey": "tokens", "units": "2", "timestamp": "2026-03-17T10:15:00Z"}
CSV = "timestamp,units,metricKey,idempotencyKey,eventId,properties.region,project\n"


@define
class Stage:
    """Two projects in a database, and files of usage."""

    directory: Path
    acme: str
    other: str

    @property
    def database(self) -> str:
        return f"sqlite:///{self.directory}/billing.db"

    @property
    def options(self) -> tuple[str, ...]:
        return "--database", self.database

    def ndjson(self, *events: object, name: str = "events.ndjson") -> str:
        """A file with an event a line; text as it is."""
        rows = [each if isinstance(each, str) else json.dumps(each) for each in events]
        return self.file(name, "".join(f"{row}\n" for row in rows))

    def file(self, name: str, text: str) -> str:
        (self.directory / name).write_text(text, encoding="utf-8")
        return str(self.directory / name)

    def units(self, project_id: str) -> dict[str, str]:
        """What each metric comes to in March."""
        with Neruba.open(self.database) as engine:
            found = engine.billing.overview(project_id, period="2026-03").usage
            return {line.quantity.metric.key: money.text(line.quantity.units_micros) for line in found}


@pytest.fixture
def stage(neruba, tmp_path: Path, sqlite_template: Path) -> Stage:
    """
    With nothing used yet.
    """
    shutil.copy(sqlite_template, tmp_path / "billing.db")
    with Neruba.open(f"sqlite:///{tmp_path}/billing.db") as engine:
        ids = [engine.projects.create(name=name, external_key=name).id for name in ("acme", "other")]
    return Stage(tmp_path, *ids)


def event(key: str, **changes: object) -> dict[str, object]:
    return {"idempotencyKey": key, **EVENT, **changes}


def told(result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_file_may_be_imported_again(neruba, stage):
    """
    Each event is recorded once, by its own key.
    """
    file = stage.ndjson(event("a"), event("b", units="3", project="other"), "", event("c"))

    first = neruba("usage", "import", file, "--project", "acme", *stage.options)
    second = neruba("usage", "import", file, "--project", stage.acme, "--json", *stage.options)

    assert first.exit_code == second.exit_code == 0, first.output
    assert first.stdout == "3 rows: 3 accepted.\n"
    (counted,) = told(second)
    assert (counted["rows"], counted["counts"]["replayed"], counted["counts"]["accepted"]) == (3, 3, 0)
    assert stage.units(stage.acme) == {"tokens": "4.000000"}
    assert stage.units(stage.other) == {"tokens": "3.000000"}
    assert not Path(f"{file}.progress").exists()


def test_csv_means_the_same(neruba, stage):
    """
    In any order of columns, with a byte order mark or without, and quotes where there is a comma inside.
    """
    rows = (
        "2026-03-17T10:15:00Z,2,tokens,a,,,acme\n"
        '2026-03-17T10:15:00+01:00,"1.5",tokens,b,first,"eu, west",acme\n'
        "2026-03-17T10:15:00Z,4,tokens,c,,,other\n"
    )
    file = stage.file("events.CSV", f"\ufeff{CSV}{rows}")

    result = neruba("usage", "import", file, *stage.options)

    assert (result.exit_code, result.stdout) == (0, "3 rows: 3 accepted.\n"), result.output
    assert stage.units(stage.acme) == {"tokens": "3.500000"}
    with Neruba.open(stage.database) as engine:
        properties = {each.event_id: each.properties for each in engine.usage.events(stage.acme).items}
    assert properties == {"a": None, "first": {"region": "eu, west"}}


def test_what_cannot_be_recorded_is_told_with_its_line(neruba, stage):
    """
    And holds up no other row.
    """
    file = stage.ndjson(
        event("a"),
        {"metricKey": "tokens"},
        [1],
        "nope",
        event("a", units="9"),
        event("b", units=1.5),
        event("c", project="nobody"),
        event("d", timestamp="2999-01-01T00:00:00Z"),
        event("e", colour="red"),
        event("f"),
    )

    words = neruba("usage", "import", file, "--project", "acme", *stage.options)
    result = neruba("usage", "import", file, "--project", "acme", "--json", *stage.options)

    *problems, counted = told(result)
    assert [(each["line"], each["outcome"], each["code"]) for each in problems] == [
        (2, "rejected", "body.invalid"),
        (3, "rejected", "body.invalid"),
        (4, "rejected", "body.malformed"),
        (5, "conflict", "idempotency.key_reused"),
        (6, "rejected", "body.invalid"),
        (7, "rejected", "project.not_found"),
        (8, "rejected", "usage.timestamp_in_future"),
        (9, "rejected", "body.invalid"),
    ]
    assert counted["counts"] == {
        "accepted": 0, "replayed": 2, "deduped": 0, "conflict": 1, "quarantined": 0, "rejected": 7
    }  # fmt: skip
    assert words.exit_code == result.exit_code == 1
    assert words.stderr == f"neruba: 8 of 10 rows in {file} could not be recorded\n"
    assert "rejected  line 6  units: a float" in words.stdout
    assert stage.units(stage.acme) == {"tokens": "4.000000"}


def test_many_problems_are_told_in_part(neruba, stage):
    """
    All of them only as JSON.
    """
    file = stage.ndjson(*[{}] * 25)

    words = neruba("usage", "import", file, *stage.options)

    assert len(words.stdout.splitlines()) == importing.MOST_TOLD + 2
    assert "… and 5 more; --json tells all of them." in words.stdout
    assert len(told(neruba("usage", "import", file, "--json", *stage.options))) == 26


def test_a_strict_project_quarantines_what_it_does_not_know(neruba, stage):
    """
    That waits for support, and is no failure.
    """
    with Neruba.open(stage.database) as engine:
        engine.projects.update(stage.acme, metric_policy="strict")

    result = neruba("usage", "import", stage.ndjson(event("a", project="acme")), *stage.options)

    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "1 row: 1 quarantined."


def test_a_check_writes_nothing(neruba, stage):
    """
    It tells what cannot be read before anything is recorded.
    """
    good, bad = stage.ndjson(event("a")), stage.ndjson(event("a"), "nope", name="bad.ndjson")

    fine = neruba("usage", "import", good, "--project", "acme", "--check", *stage.options)
    faulty = neruba("usage", "import", bad, "--project", "acme", "--check", *stage.options)

    assert (fine.exit_code, fine.stdout) == (0, "1 row: all readable.\n")
    assert faulty.exit_code == 1
    assert "1 of 2 rows" in faulty.stderr
    assert stage.units(stage.acme) == {}


@pytest.mark.parametrize(
    ("name", "text", "options", "says"),
    [
        ("a.csv", "idempotencyKey,metricKey,units\n", (), "has no column timestamp"),
        ("a.csv", CSV.replace("eventId", "colour"), (), "a column 'colour', which means nothing here"),
        ("a.csv", CSV.replace("eventId", "units"), (), "the column 'units' more than once"),
        ("a.csv", f'{CSV}"open\n', (), "cannot be read as CSV"),
        ("a.txt", f"{CSV}2,tokens\n", (), "a.txt is JSON; is it CSV? see --format"),
        ("a.txt", "nope\n" * 25, ("--json",), "none of the first 20 rows of "),
        ("a.txt", CSV, ("--format", "csv", "--project", "nobody"), "there is no project 'nobody'"),
    ],
)
def test_what_cannot_be_an_import_is_refused_in_a_line(neruba, stage, name, text, options, says):
    """
    Before a row is recorded.
    """
    result = neruba("usage", "import", stage.file(name, text), *options, *stage.options)

    assert result.exit_code == 1
    assert result.stdout == ""
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_short_row_of_csv_is_told(neruba, stage):
    """
    So is a long one, with how many fields there are.
    """
    file = stage.file("a.csv", f"{CSV}2026-03-17T10:15:00Z,2,tokens\n2026-03-17T10:15:00Z,2,tokens,a,,,,,\n")

    result = neruba("usage", "import", file, "--project", "acme", *stage.options)

    assert "line 2  the row: has 3 fields, the header has 7" in result.stdout
    assert "line 3  the row: has 9 fields, the header has 7" in result.stdout


def test_an_interrupted_import_goes_on_where_it_stopped(neruba, stage, monkeypatch):
    """
    What came of the rows before is counted with the rest; with another project or a changed file it begins
    anew.
    """
    monkeypatch.setattr(importing, "ROWS_AT_A_TIME", 2)
    file = stage.ndjson(event("a"), "nope", event("c"), event("d"), event("e"))
    record = importing._Import._some
    done: list[object] = []

    def interrupted(self, rows):
        if done:
            raise KeyboardInterrupt
        done.append(rows)
        record(self, rows)

    monkeypatch.setattr(importing._Import, "_some", interrupted)
    first = neruba("usage", "import", file, "--project", "acme", *stage.options)
    monkeypatch.setattr(importing._Import, "_some", record)
    again = neruba("usage", "import", file, "--project", "acme", *stage.options)

    assert (first.exit_code, first.stderr.strip()) == (130, "neruba: interrupted")
    assert again.stderr.startswith(f"Going on after 2 rows of {file}")
    assert again.stdout == "5 rows: 4 accepted, 1 rejected.\n"
    assert again.exit_code == 1
    assert stage.units(stage.acme) == {"tokens": "8.000000"}


def test_a_changed_file_begins_anew(neruba, stage, monkeypatch):
    """
    As does one that is asked to.
    """
    file = stage.ndjson(event("a"), event("b"))
    begun = Progress.of(Path(file), f"{stage.database} acme")
    begun.rows = 1
    begun.keep()

    restarted = neruba("usage", "import", file, "--project", "acme", "--restart", *stage.options)
    begun.keep()
    stage.ndjson(event("a"), event("b"), event("c"))
    changed = neruba("usage", "import", file, "--project", "acme", *stage.options)

    assert restarted.stdout == "2 rows: 2 accepted.\n"
    assert changed.stdout == "3 rows: 1 accepted, 2 replayed.\n"


def test_a_killed_import_loses_and_doubles_nothing(stage):
    """
    Whatever it had come to, the next one does the rest.
    """
    file = stage.ndjson(*(event(f"k{number}", project="acme") for number in range(6_000)))
    arguments = command("usage", "import", file, *stage.options)
    killed = subprocess.Popen(arguments, env=environment(), stdout=subprocess.DEVNULL)
    kept = Path(f"{file}.progress")
    until = time.monotonic() + SECONDS
    while not kept.exists() and killed.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()

    assert kept.exists()
    finished = subprocess.run(arguments, env=environment(), capture_output=True, text=True, check=True)

    assert finished.stdout.startswith("6,000 rows: ")
    assert stage.units(stage.acme) == {"tokens": "12000.000000"}
