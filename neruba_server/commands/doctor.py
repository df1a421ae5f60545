"""Looking for what is wrong with a database: whether it answers, its schema, its books, its rollups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import rich_click as click
from attrs import asdict, frozen

from neruba_core.errors import SchemaOutdated, StorageError
from neruba_core.tenancy.model import Project
from neruba_server.commands.options import (
    as_json_option,
    database,
    example,
    fail,
    need_existing_file,
    print_json,
)
from neruba_server.commands.projects import projects
from neruba_server.settings import Settings, load, open_neruba

SAMPLED_DAYS = 10


@frozen
class Check:
    """One thing that was looked at; *subject* is a project's id, or the database."""

    name: str
    subject: str
    fault: str | None


@click.command(epilog=example("neruba doctor", "neruba doctor --whole --json"))
@click.option(
    "--whole",
    is_flag=True,
    help=f"Compare every hour of usage.  [default: {SAMPLED_DAYS} days of each metric, chosen at random]",
)
@as_json_option
@database
def doctor(whole: bool, as_json: bool, database_url: str | None, config: Path | None) -> None:
    """Look for faults, and change nothing.

    Does the database answer and take writes, is its schema current, do the books of every project balance
    and agree with what is kept of them, and do the rollups of usage say what their events say? Exits with 0
    only if no fault was found.
    """
    settings = load(config, database_url=database_url)
    need_existing_file(settings)
    checks = list(_examined(settings, None if whole else SAMPLED_DAYS))
    faults = [check for check in checks if check.fault is not None]
    if as_json:
        print_json(
            {"healthy": not faults, "checks": len(checks), "findings": [asdict(check) for check in faults]}
        )
    else:
        _show(checks)
    if faults:
        fail(f"{len(faults)} of {len(checks)} checks found a fault")


def _examined(settings: Settings, days: int | None) -> Iterator[Check]:
    name = settings.database
    try:
        neruba = open_neruba(settings, migrate=False)
    except StorageError as error:
        yield Check("schema" if isinstance(error, SchemaOutdated) else "readiness", name, str(error))
        return
    with neruba:
        yield Check("readiness", name, None)
        yield Check("schema", name, None)
        for project in projects(neruba):
            yield from _found("ledger", project, neruba.ledger.sweep(project.id).faults)
            yield from _found("rollups", project, neruba.usage.rollup_faults(project.id, days=days))


def _found(name: str, project: Project, faults: Sequence[str]) -> Iterator[Check]:
    for fault in faults or (None,):
        yield Check(name, project.id, fault)


def _show(checks: list[Check]) -> None:
    for name in dict.fromkeys(check.name for check in checks):
        of_name = [check for check in checks if check.name == name]
        found = [check for check in of_name if check.fault is not None]
        state = click.style("fault", fg="red") if found else click.style("sound", fg="green")
        click.echo(f"{name:<10} {state}  {len(of_name)} checked")
        for check in found:
            click.echo(f"  {check.subject}: {check.fault}")
