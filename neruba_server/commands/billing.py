"""Billing runs from the command line, and why an invoice says what it says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import rich_click as click

from neruba_core import Neruba, money
from neruba_core.billing.results import ProjectRun, RunResult
from neruba_core.errors import InvoiceNotFound, NerubaError, ProjectNotFound
from neruba_core.invoices.model import Invoice, InvoiceState
from neruba_core.tenancy.model import Project
from neruba_server.commands.options import (
    as_json_option,
    database,
    example,
    fail,
    need_existing_file,
    print_json,
)
from neruba_server.commands.progress import progress
from neruba_server.settings import load, open_neruba

PAGE = 200


@click.group(
    epilog=example("neruba billing run --period 2026-03", "neruba billing explain inv_019d4b0e7c00…")
)
def billing() -> None:
    """Bill periods, and explain invoices."""


# --- runs -------------------------------------------------------------------------------------


@billing.command(
    epilog=example(
        "neruba billing run --period 2026-03 --dry-run",
        "neruba billing run --period 2026-03",
        "neruba billing run --period 2026-03 --project prj_019d4b0e7c00… --finalize --json",
    )
)
@click.option("--period", required=True, metavar="MONTH", help="The period to bill, such as 2026-03.")
@click.option("--project", "project_id", metavar="ID", help="Only this project.  [default: all of them]")
@click.option("--dry-run", is_flag=True, help="Write nothing; show what would be billed.")
@click.option("--finalize", is_flag=True, help="Issue the invoices without waiting for the grace to end.")
@click.option("--draft", is_flag=True, help="Leave drafts, even after the grace.")
@click.option("--ignore-unpriced", is_flag=True, help="Issue invoices although usage has no price.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per project.")
@database
def run(
    period: str,
    project_id: str | None,
    dry_run: bool,
    finalize: bool,
    draft: bool,
    ignore_unpriced: bool,
    as_json: bool,
    database_url: str | None,
    config: Path | None,
) -> None:
    """Bill one period of every project, or of one.

    May be repeated at any time: what is unchanged stays as it is. A project that cannot be billed is
    reported and holds up no other; the exit status is then not 0.
    """
    if finalize and draft:
        raise click.UsageError("--finalize and --draft contradict each other")
    settings = load(config, database_url=database_url)
    need_existing_file(settings)
    with open_neruba(settings, migrate=False) as neruba:
        runs = neruba.billing.run_all(
            period,
            project_ids=None if project_id is None else [neruba.projects.get(project_id).id],
            dry_run=dry_run,
            finalize=True if finalize else False if draft else None,
            ignore_unpriced=ignore_unpriced,
        )
        ended = list(_reported(runs, as_json))
    failed = sum(each.error is not None for each in ended)
    if not as_json:
        _summary(ended, dry_run)
    if failed:
        fail(f"{failed} of {len(ended)} projects could not be billed")


def _reported(runs: Iterable[ProjectRun], as_json: bool) -> Iterator[ProjectRun]:
    """Each run as it comes, told; what it made is not kept in memory."""
    with progress("Billing") as advance:
        for each in runs:
            advance(each.done, each.total)
            if as_json:
                click.echo(json.dumps(_as_json(each), ensure_ascii=False))
            else:
                click.echo(_as_line(each))
            yield ProjectRun(each.project_id, each.period, each.done, each.total, None, each.error)


def _as_line(run: ProjectRun) -> str:
    if run.result is None:
        return f"{run.project_id}  {click.style('failed', fg='red')}  {_problem(run)[1]}"
    invoice = run.result.invoice
    if invoice is None:
        return f"{run.project_id}  nothing to bill{_without_price(run.result)}"
    amount = (
        f"{invoice.currency} {money.text(invoice.total_micros)}, due {money.text(invoice.amount_due_micros)}"
    )
    blocked = f", kept back by {', '.join(invoice.blockers)}" if invoice.blockers else ""
    return f"{run.project_id}  {_name(invoice)}  {amount}{blocked}{_changed(run.result)}"


def _name(invoice: Invoice) -> str:
    if invoice.state is InvoiceState.DRAFT:
        return f"draft {invoice.id}"
    return f"invoice {invoice.number} ({invoice.id})"


def _without_price(result: RunResult) -> str:
    metrics = result.run.counts.get("unpriced", 0)
    if not metrics:
        return ""
    return f": {metrics} metric{' has' if metrics == 1 else 's have'} usage, but no price"


def _changed(result: RunResult) -> str:
    more = len(result.documents) - 1
    also = f", and {more} more document{'s' if more > 1 else ''}" if more > 0 else ""
    return f"{also}, unchanged" if result.run.unchanged else also


def _as_json(run: ProjectRun) -> dict[str, Any]:
    told: dict[str, Any] = {"projectId": run.project_id, "period": run.period}
    if run.result is None:
        code, message = _problem(run)
        return {**told, "error": {"code": code, "message": message}}
    invoice, record = run.result.invoice, run.result.run
    return {
        **told,
        "runId": record.id,
        "state": record.state.value,
        "dryRun": record.dry_run,
        "unchanged": record.unchanged,
        "inputDigest": record.input_digest,
        "invoice": None if invoice is None else _invoice(invoice),
        "documents": [each.id for each in run.result.documents],
        "error": None,
    }


def _invoice(invoice: Invoice) -> dict[str, Any]:
    return {
        "id": invoice.id,
        "number": invoice.number,
        "state": invoice.state.value,
        "currency": invoice.currency,
        "total": money.text(invoice.total_micros),
        "amountDue": money.text(invoice.amount_due_micros),
        "blockers": list(invoice.blockers),
    }


def _problem(run: ProjectRun) -> tuple[str, str]:
    """The code and the words of what stopped a run."""
    if isinstance(run.error, NerubaError):
        return run.error.code, str(run.error)
    return "server.error", f"{type(run.error).__name__}: {run.error}"


def _summary(ended: list[ProjectRun], dry_run: bool) -> None:
    failed = sum(each.error is not None for each in ended)
    what = "would be billed" if dry_run else "billed"
    click.echo(f"{len(ended) - failed:,} of {len(ended):,} projects {what}.")


# --- explanations -----------------------------------------------------------------------------


@billing.command(
    epilog=example(
        "neruba billing explain inv_019d4b0e7c00…",
        "neruba billing explain inv_019d4b0e7c00… --line lin_5f0c…",
    )
)
@click.argument("invoice_id", metavar="INVOICE")
@click.option("--project", "project_id", metavar="ID", help="The invoice's project, if it is known.")
@click.option("--line", "line_id", metavar="LINE", help="Only this line, with the events behind it.")
@click.option("--cursor", metavar="CURSOR", help="Go on with the events from here.")
@as_json_option
@database
def explain(
    invoice_id: str,
    project_id: str | None,
    line_id: str | None,
    cursor: str | None,
    as_json: bool,
    database_url: str | None,
    config: Path | None,
) -> None:
    """Tell why an invoice says what it says, in words that can be read out.

    From each line to the quantity, the price, its parts and the rounding, and to what was booked.
    """
    from neruba_core.invoices.spoken import spoken

    settings = load(config, database_url=database_url)
    need_existing_file(settings)
    with open_neruba(settings, migrate=False) as neruba:
        project_id = project_id or _project_of(neruba, invoice_id)
        found = neruba.invoices.explain(project_id, invoice_id, line_id=line_id, limit=PAGE, cursor=cursor)
    if as_json:
        from neruba_server.wire import converter
        from neruba_server.wire.invoices import Explanation

        print_json(converter.written(Explanation.of(found)))
    else:
        click.echo(spoken(found), nl=False)


def _project_of(neruba: Neruba, invoice_id: str) -> str:
    """The project that has this invoice: every table is kept by project, so each is asked."""
    for project in projects(neruba):
        try:
            return neruba.invoices.get(project.id, invoice_id).project_id
        except (InvoiceNotFound, ProjectNotFound):
            continue
    raise InvoiceNotFound(invoice_id)


def projects(neruba: Neruba) -> Iterator[Project]:
    """All projects of the deployment, a page at a time."""
    cursor = None
    while True:
        page = neruba.projects.list(PAGE, cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return
