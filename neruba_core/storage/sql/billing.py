"""Billing periods and the records of runs: tables, queries and row mapping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, Table, UniqueConstraint, select

from neruba_core.billing.model import BillingPeriod, Run, RunState
from neruba_core.instants import Period
from neruba_core.storage.sql.bulk import insert, upsert
from neruba_core.storage.sql.codec import (
    dump_counts,
    dump_texts,
    instant,
    instant_or_none,
    load_counts,
    load_texts,
    micros,
    micros_or_none,
)
from neruba_core.storage.sql.columns import METADATA, flag, one_of, tenant, text, whole
from neruba_core.storage.sql.queries import Query, among, given
from neruba_core.storage.sql.statements import SqlStore, below

PERIODS = Table(
    "neruba_periods",
    METADATA,
    text("project_id"),
    text("name"),
    whole("span_start"),
    whole("span_end"),
    whole("invoiced_at", optional=True),
    PrimaryKeyConstraint("project_id", "name", name="neruba_periods_pk"),
    UniqueConstraint("project_id", "span_start", name="neruba_periods_start_uq"),
    tenant("neruba_periods"),
    CheckConstraint("span_start < span_end", name="neruba_periods_span_ck"),
)

RUNS = Table(
    "neruba_runs",
    METADATA,
    text("project_id"),
    text("id"),
    text("period"),
    whole("span_start"),
    whole("span_end"),
    text("state"),
    flag("dry_run"),
    flag("unchanged"),
    whole("at"),
    whole("cutoff"),
    text("input_digest"),
    text("counts"),
    text("totals"),
    text("invoice_ids"),
    text("actor"),
    text("request_id", optional=True),
    PrimaryKeyConstraint("project_id", "id", name="neruba_runs_pk"),
    tenant("neruba_runs"),
    CheckConstraint("span_start < span_end", name="neruba_runs_span_ck"),
    one_of("state", RunState, "neruba_runs_state_ck"),
    Index("neruba_runs_period_ix", "project_id", "period", "id"),
)

_PUT_PERIODS = upsert(PERIODS, "invoiced_at")
_ADD_RUNS = insert(RUNS)

_PERIODS = Query(
    lambda postgresql: (
        select(PERIODS)
        .where(among(postgresql, PERIODS.c.project_id, "project_ids"))
        .order_by(PERIODS.c.project_id, PERIODS.c.span_start)
    )
)
_RUN = Query(select(RUNS).where(RUNS.c.project_id == given("project_id"), RUNS.c.id == given("run_id")))
_RUNS_OF = Query(select(RUNS).where(RUNS.c.project_id == given("project_id")))


@frozen
class SqlBilling(SqlStore):
    """``BillingStore`` within one unit."""

    def periods(self, project_ids: Iterable[str]) -> dict[str, tuple[BillingPeriod, ...]]:
        found: dict[str, list[BillingPeriod]] = {project_id: [] for project_id in project_ids}
        for row in self._statements.ask(_PERIODS, project_ids=list(found)):
            found[row[0]].append(_period(row))
        return {project_id: tuple(periods) for project_id, periods in found.items()}

    def put_periods(self, periods: Sequence[BillingPeriod]) -> None:
        rows = [
            (
                p.project_id,
                p.name,
                micros(p.span.start),
                micros(p.span.end),
                micros_or_none(p.invoiced_at),
            )
            for p in periods
        ]
        self._statements.write(_PUT_PERIODS, rows)

    def add_runs(self, runs: Sequence[Run]) -> None:
        self._statements.write(_ADD_RUNS, [_run_row(run) for run in runs])

    def run(self, project_id: str, run_id: str) -> Run | None:
        row = self._statements.ask_one(_RUN, project_id=project_id, run_id=run_id)
        return None if row is None else _run(row)

    def runs(
        self, project_id: str, *, limit: int, before: str | None, period: str | None = None
    ) -> Sequence[Run]:
        query = select(RUNS).where(RUNS.c.project_id == project_id, *below(RUNS.c.id, before))
        if period is not None:
            query = query.where(RUNS.c.period == period)
        return [_run(row) for row in self._statements.rows(query.order_by(RUNS.c.id.desc()).limit(limit))]

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's rows of these tables."""
        yield from (("periods", period) for period in self.periods([project_id])[project_id])
        for row in self._statements.ask(_RUNS_OF, project_id=project_id):
            yield "runs", _run(row)


def _period(row: Any) -> BillingPeriod:
    project_id, name, start, end, invoiced_at = row
    return BillingPeriod(project_id, name, Period(instant(start), instant(end)), instant_or_none(invoiced_at))


def _run_row(run: Run) -> tuple[Any, ...]:
    return (
        run.project_id,
        run.id,
        run.period,
        micros(run.span.start),
        micros(run.span.end),
        run.state.value,
        run.dry_run,
        run.unchanged,
        micros(run.at),
        run.cutoff,
        run.input_digest,
        dump_counts(run.counts),
        dump_counts(run.totals),
        dump_texts(run.invoice_ids),
        run.actor,
        run.request_id,
    )


def _run(row: Any) -> Run:
    project_id, run_id, period, start, end, state, dry_run, unchanged, at, cutoff, *rest = row
    input_digest, counts, totals, invoice_ids, actor, request_id = rest
    return Run(
        project_id,
        run_id,
        period,
        Period(instant(start), instant(end)),
        RunState(state),
        bool(dry_run),
        bool(unchanged),
        instant(at),
        cutoff,
        input_digest,
        load_counts(counts),
        load_counts(totals),
        load_texts(invoice_ids),
        actor,
        request_id,
    )
