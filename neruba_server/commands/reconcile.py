"""Our totals against those of another system, such as the one that is being replaced.

Both sides are totals per project, metric and period. Whatever differs is listed, and so is what only one
side has; a row of the file that cannot be read is named by its line, and the others are compared all the
same.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import rich_click as click
from attrs import frozen

from neruba_core import Neruba, instants, money
from neruba_core.errors import Invalid
from neruba_server.commands.options import (
    as_json_option,
    database,
    example,
    fail,
    need_existing_file,
    print_json,
)
from neruba_server.commands.progress import progress
from neruba_server.commands.projects import known_projects
from neruba_server.settings import load, open_neruba

COLUMNS = ("project", "metric", "period", "units", "amount")


@frozen
class Place:
    """What a total is of; by order of project, period and metric."""

    project_id: str
    period: str
    metric_key: str


@frozen
class Total:
    """What one side has. ``None`` is not known: an empty field of the file, usage without a price here."""

    units_micros: int | None
    amount_micros: int | None


Totals: TypeAlias = Mapping[Place, Total]


@frozen
class BadRow:
    """A row that cannot be compared, and why."""

    line: int
    problem: str


@frozen
class Theirs:
    """What the file holds; *lines* tells where each total stands."""

    totals: Totals
    lines: Mapping[Place, int]
    bad: tuple[BadRow, ...]


@frozen
class Difference:
    """A total that only one side has, or in which they differ."""

    place: Place
    line: int | None
    ours: Total | None
    theirs: Total | None

    @property
    def what(self) -> str:
        """What differs: ``missing here``, ``missing there``, ``units``, ``amount`` or both of these."""
        if self.ours is None:
            return "missing here"
        if self.theirs is None:
            return "missing there"
        return " and ".join(_differing(self.ours, self.theirs))


@click.command(
    epilog=example("neruba reconcile theirs-2026-03.csv", "neruba reconcile theirs-2026-03.csv --json")
)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE")
@as_json_option
@database
def reconcile(file: Path, as_json: bool, database_url: str | None, config: Path | None) -> None:
    """Compare our totals with another system's, and list every difference.

    FILE is a CSV with a header and the columns project (id or external key), metric, period (such as
    2026-03), units and amount; an empty units or amount is not compared. Compared are the periods that
    it names, in all projects. Exits with 0 only if nothing differs.
    """
    settings = load(config, database_url=database_url)
    need_existing_file(settings)
    with open_neruba(settings, migrate=False) as neruba:
        known, names = known_projects(neruba)
        theirs = read(_rows(file), known)
        ours = dict(_ours(neruba, names, sorted({place.period for place in theirs.totals})))
    found = differences(ours, theirs)
    compared = len(ours.keys() | theirs.totals.keys())
    if as_json:
        print_json(_as_json(found, theirs, compared, names))
    else:
        _show(found, theirs, compared, names)
    if found or theirs.bad:
        fail(f"{_count(len(found), 'difference')} and {_count(len(theirs.bad), 'unreadable row')} in {file}")


# --- the comparison ---------------------------------------------------------------------------


def differences(ours: Totals, theirs: Theirs) -> list[Difference]:
    """Every total that differs, in order of project, period and metric."""
    places = sorted(ours.keys() | theirs.totals.keys(), key=_order)
    pairs = ((place, ours.get(place), theirs.totals.get(place)) for place in places)
    return [
        Difference(place, theirs.lines.get(place), our, their)
        for place, our, their in pairs
        if our is None or their is None or _differing(our, their)
    ]


def _differing(ours: Total, theirs: Total) -> list[str]:
    compared = (
        ("units", ours.units_micros, theirs.units_micros),
        ("amount", ours.amount_micros, theirs.amount_micros),
    )
    return [what for what, our, their in compared if their is not None and our != their]


def _order(place: Place) -> tuple[str, str, str]:
    return place.project_id, place.period, place.metric_key


def _ours(
    neruba: Neruba, project_ids: Iterable[str], periods: Sequence[str]
) -> Iterator[tuple[Place, Total]]:
    """What we count and rate, whether or not it has been invoiced."""
    ids = list(project_ids)
    with progress("Comparing") as advance:
        for done, project_id in enumerate(ids, 1):
            for period in periods:
                for line in neruba.billing.overview(project_id, period=period).usage:
                    place = Place(project_id, period, line.quantity.metric.key)
                    yield place, Total(line.quantity.units_micros, line.amount_micros)
            advance(done, len(ids))


# --- the file ---------------------------------------------------------------------------------


def read(rows: Iterable[tuple[int, Mapping[str, str]]], known: Mapping[str, str]) -> Theirs:
    """The totals in *rows*, each with its line; *known* are the ids of projects by id and external key."""
    totals: dict[Place, Total] = {}
    lines: dict[Place, int] = {}
    bad = []
    for line, row in rows:
        try:
            place, total = _read(row, known)
            if place in lines:
                raise ValueError(f"repeats line {lines[place]}")
        except ValueError as problem:
            bad.append(BadRow(line, str(problem)))
        else:
            totals[place], lines[place] = total, line
    return Theirs(totals, lines, tuple(bad))


def _read(row: Mapping[str, str], known: Mapping[str, str]) -> tuple[Place, Total]:
    """Raises ``ValueError`` with what is wrong."""
    if None in row or None in row.values():
        raise ValueError(f"has not the {len(COLUMNS)} columns of the header")
    value = {name: row[name].strip() for name in COLUMNS}
    if value["project"] not in known:
        raise ValueError(f"names project {value['project']!r}, which there is not, or not only once")
    if not value["metric"]:
        raise ValueError("names no metric")
    try:
        instants.month(value["period"], "UTC")
        total = Total(*(money.parse(value[name]) if value[name] else None for name in ("units", "amount")))
    except Invalid as refusal:
        raise ValueError(str(refusal)) from None
    return Place(known[value["project"]], value["period"], value["metric"]), total


def _rows(file: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The rows of *file* with the lines that they end on."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened, strict=True)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                fail(f"{file} has no column {missing[0]}; its first line must name {', '.join(COLUMNS)}")
            for row in reader:
                yield reader.line_num, row
    except (UnicodeDecodeError, csv.Error) as error:
        fail(f"{file} cannot be read as CSV in UTF-8: {error}")


# --- telling it -------------------------------------------------------------------------------


def _show(found: Sequence[Difference], theirs: Theirs, compared: int, names: Mapping[str, str]) -> None:
    for bad in theirs.bad:
        click.echo(f"{click.style('unreadable', fg='red')}  line {bad.line} {bad.problem}")
    for each in found:
        place = each.place
        where = f"  (line {each.line})" if each.line is not None else ""
        what = click.style(each.what, fg="red")
        click.echo(f"{what}  {names[place.project_id]}  {place.metric_key}  {place.period}{where}")
        for side, total in (("ours", each.ours), ("theirs", each.theirs)):
            if total is not None:
                units, amount = _text(total.units_micros), _text(total.amount_micros)
                click.echo(f"    {side:<7} units {units}  amount {amount}")
    click.echo(f"{_count(compared, 'total')} compared, {_count(len(found), 'difference')}.")


def _as_json(
    found: Sequence[Difference], theirs: Theirs, compared: int, names: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "compared": compared,
        "differences": [
            {
                "what": each.what,
                "projectId": each.place.project_id,
                "project": names[each.place.project_id],
                "metric": each.place.metric_key,
                "period": each.place.period,
                "line": each.line,
                "ours": _total(each.ours),
                "theirs": _total(each.theirs),
            }
            for each in found
        ],
        "unreadable": [{"line": bad.line, "problem": bad.problem} for bad in theirs.bad],
    }


def _total(total: Total | None) -> dict[str, str | None] | None:
    if total is None:
        return None
    texts = (
        None if micros is None else money.text(micros) for micros in (total.units_micros, total.amount_micros)
    )
    return dict(zip(("units", "amount"), texts, strict=True))


def _text(micros: int | None) -> str:
    return "-" if micros is None else money.text(micros)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
