"""Usage from a file: what another system kept, or what a queue has spilled.

Each row has an idempotency key, so a file may be imported again whatever happened: what is recorded is not
recorded twice. An import that was interrupted goes on where it stopped, and none holds more than a thousand
rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import rich_click as click
from attrs import define

from neruba_core import Neruba
from neruba_core.idempotency.model import Outcome
from neruba_core.idempotency.outcomes import Conflict, Quarantined, Rejected
from neruba_core.usage.record import Recorded
from neruba_server.commands.backfill import (
    BadRow,
    Given,
    Progress,
    Row,
    count_lines,
    need_json,
    read,
    rows_of,
)
from neruba_server.commands.options import as_json_option, database, example, fail, need_existing_file
from neruba_server.commands.progress import progress
from neruba_server.commands.projects import known_projects, not_known
from neruba_server.settings import Settings, load, open_neruba

ROWS_AT_A_TIME = 1_000
MOST_TOLD = 20
_FAILED = (Outcome.CONFLICT, Outcome.REJECTED)


@click.group(epilog=example("neruba usage import events.ndjson --project acme-prod"))
def usage() -> None:
    """Bring usage in from files."""


@usage.command(
    name="import",
    epilog=example(
        "neruba usage import events.ndjson --project acme-prod",
        "neruba usage import events.csv --check",
        "neruba usage import events.csv --json > told.ndjson",
    ),
)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE")
@click.option("--project", metavar="ID", help="Id or external key, for rows that name no project.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(["ndjson", "csv"]),
    help="What FILE is.  [default: csv if it is called so, else ndjson]",
)
@click.option("--check", is_flag=True, help="Only look whether every row can be read; write nothing.")
@click.option("--restart", is_flag=True, help="Begin with the first row, even after an interruption.")
@as_json_option
@database
def import_usage(
    file: Path,
    project: str | None,
    format_name: str | None,
    check: bool,
    restart: bool,
    as_json: bool,
    database_url: str | None,
    config: Path | None,
) -> None:
    """Record the usage events in FILE, each once, however often it is imported.

    A row is JSON as the batch route takes it (idempotencyKey, metricKey, units, timestamp, eventId,
    properties), or CSV with these columns and properties.NAME; either may name its project. An import that
    was interrupted goes on where it stopped. Rows that cannot be recorded are told with their line, and
    the exit status is then not 0.
    """
    settings = load(config, database_url=database_url)
    need_existing_file(settings)
    is_csv = (format_name or file.suffix.lower().removeprefix(".")) == "csv"
    if not is_csv:
        need_json(file)
    with open_neruba(settings, migrate=False) as neruba:
        known, _ = known_projects(neruba)
        if project is not None and project not in known:
            fail(not_known(project))
        importing = _Import(
            neruba,
            known,
            None if project is None else known[project],
            _begun(file, settings, project, check=check, restart=restart),
            _Telling(as_json),
            check,
        )
        importing.run(rows_of(file, csv_format=is_csv), count_lines(file))
    importing.telling.end(importing.progress, check=check)


def _begun(file: Path, settings: Settings, project: str | None, *, check: bool, restart: bool) -> Progress:
    name = f"{settings.database} {project or ''}"
    if check or restart:
        return Progress(file, name)
    begun = Progress.of(file, name)
    if begun.rows:
        click.echo(f"Going on after {begun.rows:,} rows of {file} (--restart begins anew).", err=True)
    return begun


@define
class _Import:
    """An import while it goes on."""

    neruba: Neruba
    known: Mapping[str, str]
    project_id: str | None
    progress: Progress
    telling: _Telling
    check: bool

    def run(self, rows: Iterator[Given], total: int) -> None:
        """Import all *rows*, of which there are about *total*."""
        with progress("Checking" if self.check else "Importing") as advance:
            waiting = islice(rows, self.progress.rows, None)
            while given := list(islice(waiting, ROWS_AT_A_TIME)):
                self._some([read(each, self.known, self.project_id) for each in given])
                self.progress.rows += len(given)
                if not self.check:
                    self.progress.keep()
                advance(min(self.progress.rows, total), total)
        if not self.check:
            self.progress.forget()

    def _some(self, rows: Sequence[Row | BadRow]) -> None:
        recorded = {} if self.check else self._recorded([row for row in rows if isinstance(row, Row)])
        for row in rows:
            if isinstance(row, BadRow):
                self._count(Outcome.REJECTED)
                self.telling.problem(row.line, Outcome.REJECTED, row.code, row.problem)
            elif not self.check:
                self._tell(row.line, recorded[row.line])

    def _recorded(self, rows: Sequence[Row]) -> dict[int, Recorded]:
        """What came of each row, by its line: one unit of work for each project."""
        recorded: dict[int, Recorded] = {}
        for project_id in sorted({row.project_id for row in rows}):
            own = [row for row in rows if row.project_id == project_id]
            outcomes = self.neruba.usage.record_many(project_id, [row.new for row in own])
            recorded.update(zip((row.line for row in own), outcomes, strict=True))
        return recorded

    def _tell(self, line: int, outcome: Recorded) -> None:
        self._count(outcome.name)
        match outcome:
            case Conflict(error) | Rejected(error):
                self.telling.problem(line, outcome.name, error.code, str(error))
            case Quarantined(waiting):
                self.telling.problem(line, outcome.name, "usage.quarantined", waiting.reason)

    def _count(self, outcome: Outcome) -> None:
        self.progress.counts[outcome.value] += 1


@define
class _Telling:
    """What is printed: each row that is not recorded, and at the end how many of each there were."""

    as_json: bool
    told: int = 0

    def problem(self, line: int, outcome: Outcome, code: str, message: str) -> None:
        """Tell of a row; in words only of the first few."""
        self.told += 1
        if self.as_json:
            told = {"line": line, "outcome": outcome.value, "code": code, "message": message}
            click.echo(json.dumps(told, ensure_ascii=False))
        elif self.told <= MOST_TOLD:
            click.echo(f"{click.style(outcome.value, fg='red')}  line {line}  {message}")

    def end(self, done: Progress, *, check: bool) -> None:
        """Tell of all; ends with status 1 where a row was not taken."""
        if self.as_json:
            counts = {outcome.value: done.counts[outcome.value] for outcome in Outcome}
            click.echo(json.dumps({"file": str(done.file), "rows": done.rows, "counts": counts}))
        else:
            if self.told > MOST_TOLD:
                click.echo(f"… and {self.told - MOST_TOLD:,} more; --json tells all of them.")
            counted = [f"{done.counts[name]:,} {name}" for name in Outcome if done.counts[name]]
            ended = ", ".join(counted) or ("all readable" if check else "nothing")
            click.echo(f"{done.rows:,} row{'' if done.rows == 1 else 's'}: {ended}.")
        failed = sum(done.counts[outcome.value] for outcome in _FAILED)
        if failed:
            done_with = "read" if check else "recorded"
            fail(f"{failed:,} of {done.rows:,} rows in {done.file} could not be {done_with}")
