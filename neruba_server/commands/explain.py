"""Why an invoice says what it says, from the command line."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from neruba_core import Neruba
from neruba_core.errors import InvoiceNotFound, ProjectNotFound
from neruba_server.commands.options import (
    as_json_option,
    database,
    example,
    fail,
    need_existing_file,
    print_json,
)
from neruba_server.commands.projects import PAGE, projects, the_project
from neruba_server.settings import load, open_neruba


@click.command(
    epilog=example(
        "neruba billing explain inv_019d4b0e7c00…",
        "neruba billing explain 17 --project acme-prod",
        "neruba billing explain inv_019d4b0e7c00… --line lin_5f0c…",
    )
)
@click.argument("invoice", metavar="INVOICE")
@click.option("--project", metavar="ID", help="The invoice's project, by id or external key.")
@click.option("--line", "line_id", metavar="LINE", help="Only this line, with the events behind it.")
@click.option("--cursor", metavar="CURSOR", help="Go on with the events from here.")
@as_json_option
@database
def explain(
    invoice: str,
    project: str | None,
    line_id: str | None,
    cursor: str | None,
    as_json: bool,
    database_url: str | None,
    config: Path | None,
) -> None:
    """Tell why an invoice says what it says, in words that can be read out.

    INVOICE is its id (inv_…), or with --project its number. From each line to the quantity, the price, its
    parts and the rounding, and to what was booked.
    """
    from neruba_core.invoices.spoken import spoken

    settings = load(config, database_url=database_url)
    need_existing_file(settings)
    with open_neruba(settings, migrate=False) as neruba:
        if project is None:
            project_id, invoice_id = _project_of(neruba, invoice), invoice
        else:
            project_id = the_project(neruba, project)
            invoice_id = _numbered(neruba, project_id, invoice)
        found = neruba.invoices.explain(project_id, invoice_id, line_id=line_id, limit=PAGE, cursor=cursor)
    if as_json:
        from neruba_server.wire import converter
        from neruba_server.wire.invoices import Explanation

        print_json(converter.written(Explanation.of(found)))
    else:
        click.echo(spoken(found), nl=False)


def _project_of(neruba: Neruba, invoice_id: str) -> str:
    """The project that has this invoice: every table is kept by project, so each is asked."""
    if _is_number(invoice_id):
        fail(f"every project has numbers of its own: name that of invoice {invoice_id} as --project")
    for project in projects(neruba):
        try:
            return neruba.invoices.get(project.id, invoice_id).project_id
        except (InvoiceNotFound, ProjectNotFound):
            continue
    raise InvoiceNotFound(invoice_id)


def _numbered(neruba: Neruba, project_id: str, named: str) -> str:
    """The id of the invoice that is *named* by id or number; ends the command where none has the number."""
    if not _is_number(named):
        return named
    number, cursor = int(named), None
    while True:
        page = neruba.invoices.list(project_id, limit=PAGE, cursor=cursor)
        for each in page.items:
            if each.number == number:
                return each.id
        cursor = page.next_cursor
        if cursor is None:
            fail(f"project {project_id} has no invoice {number}; give its id (inv_…) or number")


def _is_number(named: str) -> bool:
    return named.isascii() and named.isdigit() and len(named) < 20
