"""Serving HTTP, and what is needed around it."""

from __future__ import annotations

import sys
from pathlib import Path

import rich_click as click

from neruba_core import instants
from neruba_core.errors import SchemaOutdated
from neruba_server.commands.options import (
    as_json_option,
    database,
    example,
    fail,
    hint_to_add_users,
    need_existing_file,
    print_json,
)
from neruba_server.settings import Settings, load, open_neruba


@click.command(
    epilog=example(
        "neruba serve",
        "neruba serve --database postgresql://me@db/billing --workers 2",
        "neruba serve --test-clock 2026-03-01T00:00:00Z",
    )
)
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", metavar="PORT", help="Port to listen on, 0 for a free one.  [default: 8080]")
@click.option("--workers", metavar="N", help="Processes that share the port; PostgreSQL only.  [default: 1]")
@click.option(
    "--test-clock",
    metavar="INSTANT",
    help="For tests: stand still at this instant until POST /test-clock moves it.",
)
@database
def serve(
    host: str | None,
    port: str | None,
    workers: str | None,
    test_clock: str | None,
    database_url: str | None,
    config: Path | None,
) -> None:
    """Serve the HTTP interface until a signal ends it.

    An empty database is given its schema. SIGTERM or Ctrl-C answers what was taken, then ends.
    """
    from neruba_server import serving

    settings = load(
        config, host=host, port=port, workers=workers, test_clock=test_clock, database_url=database_url
    )
    try:
        serving.serve(settings, lambda address: _announce(settings, address))
    except serving.CannotServe as error:
        fail(str(error))


def _announce(settings: Settings, address: str) -> None:
    with open_neruba(settings, migrate=False) as neruba:
        nobody = not neruba.users.list(1).items
    processes = f", {settings.workers} workers" if settings.workers > 1 else ""
    click.echo(f"Neruba answers at {click.style(address, bold=True)} ({settings.database}{processes})")
    if nobody:
        click.echo(f"There is no user yet: {hint_to_add_users(settings)}")
    elif settings.expose_docs:
        click.echo(f"The API is described at {address}/docs")
    if settings.test_clock is not None:
        click.echo(f"Its clock stands at {instants.text(settings.test_clock)}; POST /test-clock moves it.")
    click.echo("Ctrl-C ends it.")
    sys.stdout.flush()


@click.command(
    epilog=example("neruba migrate --database postgresql://me@db/billing", "neruba migrate --check")
)
@click.option(
    "--check", is_flag=True, help="Change nothing; exit with status 1 if the schema is not current."
)
@as_json_option
@database
def migrate(check: bool, as_json: bool, database_url: str | None, config: Path | None) -> None:
    """Bring the database's schema up to date.

    Several at once are safe, and one that is interrupted leaves the schema as it was.
    """
    settings = load(config, database_url=database_url)
    need_existing_file(settings, check)
    current, problem = True, None
    try:
        open_neruba(settings, migrate=not check).close()
    except SchemaOutdated as error:
        current, problem = False, str(error)
    if as_json:
        print_json({"database": settings.database, "current": current})
    elif current:
        click.echo(f"The schema of {settings.database} is current.")
    if problem:
        fail(problem)


@click.command(epilog=example("neruba openapi > openapi.json"))
def openapi() -> None:
    """Print the OpenAPI 3.1 document of the HTTP interface."""
    from neruba_server.openapi import document

    print_json(document())
