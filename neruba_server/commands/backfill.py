"""Files of usage: their rows, and how far an import of one has come.

A row is an event as the batch route takes it, as JSON on a line of its own or as a line of CSV, and may name
its project. How far an import has come is kept beside the file, and counts only for that file as it was then.
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from attrs import define, field, frozen

from neruba_core.errors import NerubaError
from neruba_core.usage.model import NewUsage
from neruba_server import limits
from neruba_server.commands.options import fail
from neruba_server.problems import BodyInvalid, BodyMalformed, Fault
from neruba_server.wire import converter
from neruba_server.wire.ingest import KeyedUsage

REQUIRED = ("idempotencyKey", "metricKey", "units", "timestamp")
OPTIONAL = ("eventId", "project")
PROPERTY = "properties."
LOOKED_AT = 20


@frozen
class Row:
    """An event and the id of its project."""

    line: int
    project_id: str
    new: NewUsage


@frozen
class BadRow:
    """A row that cannot be read, and why."""

    line: int
    code: str
    problem: str


Given: TypeAlias = tuple[int, Any]
"""A line, and the JSON value there or what is wrong with it."""


def rows_of(file: Path, *, csv_format: bool) -> Iterator[Given]:
    """What is in the rows of *file*, with the lines that they end on; empty lines are left aside."""
    return _csv_rows(file) if csv_format else _json_rows(file)


def need_json(file: Path) -> None:
    """End the command where *file* has several rows and none of the first is JSON."""
    first = [value for _, value in islice(_json_rows(file), LOOKED_AT)]
    if len(first) > 1 and all(isinstance(value, BodyMalformed) for value in first):
        none = "no row" if len(first) < LOOKED_AT else f"none of the first {LOOKED_AT} rows"
        fail(f"{none} of {file} is JSON; is it CSV? see --format")


def read(given: Given, known: Mapping[str, str], project_id: str | None) -> Row | BadRow:
    """The event of a row. *known* are the ids of projects by id and external key; *project_id* is that of
    rows that name none."""
    line, value = given
    try:
        if isinstance(value, NerubaError):
            raise value
        event = dict(value) if isinstance(value, dict) else value
        named = event.pop("project", None) if isinstance(value, dict) else None
        if named is not None:
            project_id = known.get(named) if isinstance(named, str) else None
            if project_id is None:
                return BadRow(line, "project.not_found", f"there is no project {named!r}, or more than one")
        if project_id is None:
            return BadRow(line, "field.missing", "names no project; name it here or as --project")
        return Row(line, project_id, converter.read(KeyedUsage, event).keyed())
    except BodyInvalid as error:
        faults = (f"{fault.path.removeprefix('/') or 'the row'}: {fault.message}" for fault in error.faults)
        return BadRow(line, error.code, "; ".join(faults))
    except NerubaError as error:
        return BadRow(line, error.code, str(error))


def count_lines(file: Path) -> int:
    """About how many rows there are, for a progress bar."""
    with file.open("rb") as opened:
        return sum(block.count(b"\n") for block in iter(lambda: opened.read(1 << 20), b""))


def _json_rows(file: Path) -> Iterator[Given]:
    with file.open("rb") as opened:
        for line, text in enumerate(opened, 1):
            if not text.strip():
                continue
            try:
                yield line, limits.parsed(text.removeprefix(b"\xef\xbb\xbf") if line == 1 else text)
            except NerubaError as error:
                yield line, error


def _csv_rows(file: Path) -> Iterator[Given]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened, strict=True)
            names = list(reader.fieldnames or ())
            _need_columns(file, names)
            for row in reader:
                yield reader.line_num, _event(row)
    except (UnicodeDecodeError, csv.Error) as error:
        fail(f"{file} cannot be read as CSV in UTF-8: {error}")


def _need_columns(file: Path, names: Sequence[str]) -> None:
    for missing in (name for name in REQUIRED if name not in names):
        fail(f"{file} has no column {missing}; its first line must name {', '.join(REQUIRED)}")
    for name in names:
        if name not in (*REQUIRED, *OPTIONAL) and not name.startswith(PROPERTY):
            fail(f"{file} has a column {name!r}, which means nothing here; a property's is {PROPERTY}{name}")
        if names.count(name) > 1:
            fail(f"{file} has the column {name!r} more than once")


def _event(row: Mapping[str | None, Any]) -> dict[str, Any] | NerubaError:
    """The row as a JSON event; an empty optional field is one that is absent."""
    if None in row or None in row.values():
        return BodyInvalid((Fault("", "format.invalid", _length(row)),))
    event: dict[str, Any] = {}
    for name, value in row.items():
        assert name is not None
        if name.startswith(PROPERTY):
            if value:
                event.setdefault("properties", {})[name.removeprefix(PROPERTY)] = value
        elif value or name in REQUIRED:
            event[name] = value
    return event


def _length(row: Mapping[str | None, Any]) -> str:
    names = [name for name in row if name is not None]
    fields = sum(row[name] is not None for name in names) + len(row.get(None, ()))
    return f"has {fields} field{'' if fields == 1 else 's'}, the header has {len(names)}"


# --- how far it came --------------------------------------------------------------------------


@define
class Progress:
    """How far the import of *file* has come: so many of its *rows* are dealt with, and ended as *counts* say.

    It is kept under *name*, what it was imported to and how; where that or the file has changed, it starts
    from the beginning.
    """

    file: Path
    name: str
    rows: int = 0
    counts: Counter[str] = field(factory=Counter)

    @classmethod
    def of(cls, file: Path, name: str) -> Progress:
        """What is kept beside *file*, if it is about the same."""
        progress = cls(file, name)
        try:
            kept = json.loads(progress.kept_at.read_text())
            if kept["of"] == progress._of():
                return cls(file, name, int(kept["rows"]), Counter(kept["counts"]))
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return progress

    @property
    def kept_at(self) -> Path:
        """The file beside *file*."""
        return self.file.with_name(f"{self.file.name}.progress")

    def keep(self) -> None:
        """Keep it, whole or not at all."""
        kept = {"of": self._of(), "rows": self.rows, "counts": dict(self.counts)}
        new = self.kept_at.with_name(f"{self.kept_at.name}.new")
        try:
            new.write_text(json.dumps(kept))
            os.replace(new, self.kept_at)
        except OSError as error:
            fail(
                f"cannot keep how far this came in {self.kept_at}: {error.strerror}; copy the file elsewhere"
            )

    def forget(self) -> None:
        """It is done."""
        self.kept_at.unlink(missing_ok=True)

    def _of(self) -> list[str | int]:
        status = self.file.stat()
        return [self.name, status.st_size, status.st_mtime_ns]
