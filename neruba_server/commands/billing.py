"""Billing runs from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import rich_click as click
from attrs import frozen

from neruba_core import money
from neruba_core.billing.results import ProjectRun, RunResult
from neruba_core.errors import NerubaError
from neruba_core.invoices.model import Invoice, InvoiceState
from neruba_server.commands.explain import explain
from neruba_server.commands.options import (
    database,
    example,
    fail,
    need_existing_file,
)
from neruba_server.commands.progress import progress
from neruba_server.commands.projects import the_project
from neruba_server.settings import load, open_neruba


@click.group(
    epilog=example("neruba billing run --period 2026-03", "neruba billing explain inv_019d4b0e7c00…")
)
def billing() -> None:
    """Bill periods, and explain invoices."""


billing.add_command(explain)


# --- runs -------------------------------------------------------------------------------------


@billing.command(
    epilog=example(
        "neruba billing run --period 2026-03 --dry-run",
        "neruba billing run --period 2026-03",
        "neruba billing run --period 2026-03 --project acme-prod --finalize --json",
    )
)
@click.option("--period", required=True, metavar="MONTH", help="The period to bill, such as 2026-03.")
@click.option("--project", metavar="ID", help="Only this one, by id or external key.  [default: all of them]")
@click.option("--dry-run", is_flag=True, help="Write nothing; show what would be billed.")
@click.option("--finalize", is_flag=True, help="Issue the invoices without waiting for the grace to end.")
@click.option("--draft", is_flag=True, help="Leave drafts, even after the grace.")
@click.option("--ignore-unpriced", is_flag=True, help="Issue invoices although usage has no price.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON per project.")
@database
def run(
    period: str,
    project: str | None,
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
            project_ids=None if project is None else [the_project(neruba, project)],
            dry_run=dry_run,
            finalize=True if finalize else False if draft else None,
            ignore_unpriced=ignore_unpriced,
        )
        ended = list(_reported(runs, as_json))
    failed = sum(each.failed for each in ended)
    if not as_json:
        _summary(ended, dry_run, ignore_unpriced)
    if failed:
        fail(f"{failed} of {len(ended)} projects could not be billed")


@frozen
class _Ended:
    """What the summary needs of a run; what it made is not kept in memory."""

    failed: bool
    billed: bool
    unpriced: bool

    @classmethod
    def of(cls, run: ProjectRun) -> _Ended:
        result = run.result
        if result is None:
            return cls(failed=True, billed=False, unpriced=False)
        return cls(failed=False, billed=bool(result.documents), unpriced=_unpriced(result) > 0)


def _reported(runs: Iterable[ProjectRun], as_json: bool) -> Iterator[_Ended]:
    """Each run as it comes, told."""
    with progress("Billing") as advance:
        for each in runs:
            advance(each.done, each.total)
            if as_json:
                click.echo(json.dumps(_as_json(each), ensure_ascii=False))
            else:
                click.echo(_as_line(each))
            yield _Ended.of(each)


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


def _unpriced(result: RunResult) -> int:
    """How many metrics have usage without a price."""
    return result.run.counts.get("unpriced", 0)


def _without_price(result: RunResult) -> str:
    metrics = _unpriced(result)
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
        "unpriced": _unpriced(run.result),
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


def _summary(ended: list[_Ended], dry_run: bool, ignore_unpriced: bool) -> None:
    billed = sum(each.billed for each in ended)
    what = "would be billed" if dry_run else "billed"
    told = f"{billed:,} of {len(ended):,} projects {what}"
    unpriced = 0 if ignore_unpriced else sum(each.unpriced for each in ended)
    if unpriced:
        has, it, metric = ("has", "it", "metric") if unpriced == 1 else ("have", "each", "metrics")
        told += f"; {unpriced:,} {has} usage without a price: give {it} a price, or declare the {metric} free"
    click.echo(f"{told}.")
