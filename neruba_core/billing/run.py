"""Billing runs: from what was used, charged and subscribed in a period to its invoice.

A run is one unit of work under the heads of its projects: it reads everything, decides purely, and writes in
bulk, so a crash leaves nothing and running again gives the same bytes. A dry run goes the same way and stops
before it writes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeAlias

from attrs import define, evolve, field, frozen

from neruba_core import instants
from neruba_core.audit.model import Origin
from neruba_core.billing import periods
from neruba_core.billing.assemble import Assembled, Statement, assemble
from neruba_core.billing.due import due_at
from neruba_core.billing.inputs import Inputs, RunWork, is_closed, read_inputs
from neruba_core.billing.model import BillingPeriod, Run, RunState
from neruba_core.billing.results import RunResult
from neruba_core.errors import (
    NerubaError,
    PeriodEarlierOpen,
    PeriodNotBegun,
    PeriodOpen,
    ProjectArchived,
    ProjectNotFound,
)
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.invoices.answer import render
from neruba_core.invoices.model import Invoice, InvoiceKind, InvoiceState, Line, LineKind
from neruba_core.invoices.names import document_digits
from neruba_core.invoices.posting import Due, credit_for, due, due_back, finalization, net_of
from neruba_core.ledger.chart import Chart
from neruba_core.outbox.model import MessageType
from neruba_core.outbox.store import HasOutbox
from neruba_core.tenancy.model import Project
from neruba_core.tenancy.store import HasTenancy
from neruba_core.wallets.book import Book
from neruba_core.wallets.booking import Booking, Cause, open_books
from neruba_core.wallets.model import GrantKind
from neruba_core.wallets.store import HasWallets

OPERATION = "invoice"

Answer: TypeAlias = "RunResult | NerubaError | None"


class BillingWork(RunWork, HasTenancy, HasWallets, HasOutbox, Protocol):
    """What runs read and write."""


@frozen
class Options:
    """What a run is asked for; see ``neruba.billing.run``. *only_billable* leaves a period alone that has
    nothing to bill."""

    dry_run: bool = False
    finalize: bool | None = None
    ignore_unpriced: bool = False
    only_billable: bool = False


def run(
    work: BillingWork,
    project_ids: Sequence[str],
    period: str,
    options: Options,
    *,
    at: Instant,
    ids: Ids,
    chart: Chart,
    origin: Origin,
) -> list[Answer]:
    """Run *period* for each of the projects; one answer each, in order.

    A refusal is an answer: ``ProjectNotFound``, ``ProjectArchived`` (before the period began),
    ``PeriodNotBegun``, ``PeriodOpen`` or ``PeriodEarlierOpen``; ``None`` is that of a period that was left
    alone. Raises ``FormatInvalid`` for a period that is no month, and ``AmountOverflow``, which undoes all of
    them.
    """
    if options.dry_run:
        projects = work.tenancy.projects(project_ids)
        heads = work.ledger.heads(sorted(projects))
    else:
        # Heads first, as everybody who takes both.
        heads = work.ledger.lock_heads(sorted(set(project_ids)))
        projects = work.tenancy.lock_projects(project_ids)
    answers: dict[str, Answer] = {each: ProjectNotFound(each) for each in project_ids if each not in projects}
    inputs = read_inputs(work, projects, period)
    runs = _Runs(
        work=work,
        options=options,
        at=at,
        ids=ids,
        chart=chart,
        origin=origin,
        books=open_books(work, projects, heads, chart, at=at),
        numbers={} if options.dry_run else work.invoices.last_numbers(sorted(projects)),
        booking=Booking(at),
    )
    for each in projects:
        answers[each] = runs.run(inputs[each])
    if not options.dry_run:
        runs.write()
    return [answers[each] for each in project_ids]


@define
class _Runs:
    """The runs of one unit of work, and what they are going to write."""

    work: BillingWork
    options: Options
    at: Instant
    ids: Ids
    chart: Chart
    origin: Origin
    books: Mapping[str, Book]
    numbers: dict[str, int]
    booking: Booking
    periods: list[BillingPeriod] = field(factory=list)
    drafts: list[Invoice] = field(factory=list)
    dropped: list[Invoice] = field(factory=list)
    issued: list[Invoice] = field(factory=list)
    settled: list[Invoice] = field(factory=list)
    records: list[Run] = field(factory=list)
    until: dict[str, Instant | None] = field(factory=dict)

    def run(self, inputs: Inputs) -> Answer:
        """Decide about one project's period, and note what is to be written. What began before the project
        was archived is billed as ever."""
        if inputs.project.archived_before(inputs.period.span.start) and not self.options.dry_run:
            return ProjectArchived(inputs.project.id)
        assembled = assemble(inputs, chart=self.chart, ignore_unpriced=self.options.ignore_unpriced)
        if inputs.closed:
            return self._rerun(inputs, assembled)
        statement = assembled.statement
        if self.options.only_billable and not statement.lines and not statement.blockers:
            return None
        project, period = inputs.project, inputs.period
        if self.at < period.span.start:
            return PeriodNotBegun(period.name, instants.text(period.span.start))
        if self.options.finalize and self.at < period.span.end:
            return PeriodOpen(period.name, instants.text(period.span.end))
        finalizing = self._is_time(project, period) and not statement.blockers
        if finalizing:
            earlier = self._earlier_open(inputs)
            if earlier is not None:
                return PeriodEarlierOpen(period.name, earlier)
        return self._bill(inputs, assembled, finalizing=finalizing)

    def write(self) -> None:
        """Write everything, in bulk."""
        work = self.work
        if self.periods:
            work.billing.put_periods(self.periods)
        for dropped in self.dropped:
            work.invoices.remove_draft(dropped.project_id, dropped.id)
        if self.drafts:
            work.invoices.put_drafts(self.drafts)
        self.booking.write(work, list(self.books.values()))
        if self.issued:
            work.invoices.finalize(self.issued)
        for settled in self.settled:
            work.invoices.set_state(settled)
        if self.records:
            work.billing.add_runs(self.records)
        if self.until:
            work.tenancy.note_invoiced(self.until)
        for type, invoices in (
            (MessageType.INVOICE_DRAFT, self.drafts),
            (MessageType.INVOICE_FINALIZED, self.issued),
            (MessageType.INVOICE_PAID, [each for each in self.settled if each.state is InvoiceState.PAID]),
        ):
            for invoice in invoices:
                project = self.books[invoice.project_id].project
                self.booking.telling.tell(project, type, partial(render, invoice))
        self.booking.telling.write(work, at=self.at, ids=self.ids)

    # --- what to do ---------------------------------------------------------------------------

    def _is_time(self, project: Project, period: BillingPeriod) -> bool:
        if self.options.finalize is None:
            return self.at >= due_at(project, period)
        return self.options.finalize

    def _earlier_open(self, inputs: Inputs) -> str | None:
        """The first earlier period that is open and has something to bill. Before the first invoice any
        period may come first, but for a draft that would be lost: usage is found again, fees are not."""
        if all(row.invoiced_at is None for row in inputs.stored):
            return self._draft_to_lose(inputs)
        for period in _open_before(inputs):
            earlier = read_inputs(self.work, {inputs.project.id: inputs.project}, period.name)
            statement = assemble(
                earlier[inputs.project.id], chart=self.chart, ignore_unpriced=self.options.ignore_unpriced
            ).statement
            if statement.lines or statement.blockers:
                return period.name
        return None

    def _draft_to_lose(self, inputs: Inputs) -> str | None:
        project_id = inputs.project.id
        for row in inputs.stored:
            if row.span.end <= inputs.period.span.start:
                documents = self.work.invoices.of_period([project_id], row.name)[project_id]
                drafts = (each for each in documents if each.state is InvoiceState.DRAFT)
                if any(_is_of_its_period_alone(line) for each in drafts for line in each.lines):
                    return row.name
        return None

    def _rerun(self, inputs: Inputs, assembled: Assembled) -> Answer:
        """A period that is closed answers as it did, and issues what late usage asks for."""
        late = [] if self.options.finalize is False else self._issue_late(inputs, assembled)
        documents = ([] if inputs.invoice is None else [inputs.invoice]) + late
        if self.options.only_billable and not late:
            return None
        return self._result(inputs, assembled, documents, RunState.FINALIZED, unchanged=not late)

    def _bill(self, inputs: Inputs, assembled: Assembled, *, finalizing: bool) -> RunResult:
        issuing = finalizing and not self.options.dry_run
        documents: list[Invoice] = []
        unchanged = False
        if assembled.statement.lines:
            invoice = self._document(inputs, assembled.statement, assembled.digest, issuing=issuing)
            if inputs.draft is not None and not issuing:
                unchanged = _same(invoice, inputs.draft)
                invoice = inputs.draft if unchanged else invoice
            if not issuing and not unchanged:
                self.drafts.append(invoice)
            documents.append(invoice)
        elif inputs.draft is not None:
            self.dropped.append(inputs.draft)
        elif not finalizing:
            unchanged = self._found_nothing_before(inputs, assembled)
        if finalizing:
            documents += self._issue_late(inputs, assembled)
            self._close(inputs)
        elif not unchanged:
            self.periods += _missing_rows(inputs)
        state = RunState.FINALIZED if issuing else RunState.DRAFT
        return self._result(inputs, assembled, documents, state, unchanged=unchanged)

    def _issue_late(self, inputs: Inputs, assembled: Assembled) -> list[Invoice]:
        return [
            self._document(inputs, statement, assembled.digest, issuing=not self.options.dry_run)
            for statement in assembled.late
        ]

    # --- documents ----------------------------------------------------------------------------

    def _document(self, inputs: Inputs, statement: Statement, digest: str, *, issuing: bool) -> Invoice:
        project, period, book = inputs.project, statement.period, self.books[inputs.project.id]
        digits = document_digits(project.id, period.name, statement.part, period.span.end)
        settled = self._settle(book, statement)
        draft = inputs.draft if statement.kind is InvoiceKind.INVOICE else None
        invoice = Invoice(
            project_id=project.id,
            id=f"inv_{digits}",
            kind=statement.kind,
            period=period.name,
            span=period.span,
            part=statement.part,
            number=None,
            state=InvoiceState.DRAFT,
            currency=project.currency,
            lines=statement.lines,
            tax_rate=statement.tax_rate,
            subtotal_micros=statement.subtotal_micros,
            tax_micros=statement.tax_micros,
            total_micros=statement.total_micros,
            already_drawn_micros=statement.already_drawn_micros,
            credit_applied_micros=settled.credit_applied_micros,
            overdraft_billed_micros=settled.overdraft_billed_micros,
            credit_granted_micros=settled.credit_granted_micros,
            rounding_micros=settled.rounding_micros,
            amount_due_micros=settled.amount_due_micros,
            paid_micros=0,
            blockers=statement.blockers,
            input_digest=digest,
            cutoff=inputs.cutoff,
            ledger_version=None,
            transaction_id=None,
            project_name=project.name,
            timezone=project.timezone_at(period.span.start),
            created_at=self.at if draft is None else draft.created_at,
        )
        if not issuing:
            return invoice
        issued = self._issue(book, invoice, settled)
        if statement.original is not None:
            self._take_off(statement.original, issued)
        return issued

    def _settle(self, book: Book, statement: Statement) -> Due:
        net, currency = net_of(statement.lines), book.project.currency
        if statement.kind is InvoiceKind.CREDIT_NOTE and net <= 0:
            open_micros = 0 if statement.original is None else statement.original.open_micros
            return due_back(net, open_micros=open_micros, currency=currency)
        return due(
            net,
            credit_micros=sum(micros for _, micros in credit_for(book, statement.lines, self.at)),
            overdraft_micros=book.overdraft_micros,
            currency=currency,
        )

    def _issue(self, book: Book, invoice: Invoice, settled: Due) -> Invoice:
        """Number the document and book what it comes to."""
        project_id, version = book.project.id, book.version
        self.numbers[project_id] = number = self.numbers[project_id] + 1
        is_note = invoice.kind is InvoiceKind.CREDIT_NOTE
        decision = finalization(
            book,
            invoice.lines,
            settled,
            digits=invoice.id.removeprefix("inv_"),
            description=f"{'Credit note' if is_note else 'Invoice'} {number}, {invoice.period}",
            grants=GrantKind.GOODWILL if is_note else GrantKind.PAID,
            at=self.at,
        )
        if decision is not None:
            cause = Cause(
                OPERATION,
                f"{invoice.period}/{invoice.part}",
                bytes.fromhex(invoice.input_digest),
                self.origin,
            )
            self.booking.book(book, decision, cause)
        issued = evolve(
            invoice,
            number=number,
            state=InvoiceState.FINALIZED,
            # A credit note is settled by being issued.
            paid_micros=min(invoice.amount_due_micros, 0),
            ledger_version=version,
            transaction_id=None if decision is None else decision.transaction_id,
            finalized_at=self.at,
        )
        self.issued.append(issued)
        return issued

    def _take_off(self, original: Invoice, note: Invoice) -> None:
        taken = -min(note.amount_due_micros, 0)
        if taken:
            reduced = evolve(original, paid_micros=original.paid_micros + taken)
            paid = reduced.open_micros == 0
            self.settled.append(evolve(reduced, state=InvoiceState.PAID if paid else original.state))

    # --- closing ------------------------------------------------------------------------------

    def _close(self, inputs: Inputs) -> None:
        """Close the period, and with it the earlier ones that have nothing to bill."""
        if self.options.dry_run:
            return
        end = inputs.period.span.end
        rows = [*inputs.stored, *_missing_rows(inputs)]
        closing = [row for row in rows if row.span.end <= end and row.invoiced_at is None]
        later = [row for row in _missing_rows(inputs) if row.span.end > end]
        self.periods += [evolve(row, invoiced_at=self.at) for row in closing] + later
        for row in closing:
            if row.span != inputs.period.span and row in inputs.stored:
                documents = self.work.invoices.of_period([row.project_id], row.name)[row.project_id]
                self.dropped += [each for each in documents if each.state is InvoiceState.DRAFT]
        until = inputs.project.invoiced_until
        self.until[inputs.project.id] = end if until is None else max(until, end)

    # --- the record ---------------------------------------------------------------------------

    def _result(
        self,
        inputs: Inputs,
        assembled: Assembled,
        documents: Sequence[Invoice],
        state: RunState,
        *,
        unchanged: bool,
    ) -> RunResult:
        main = next((each for each in documents if each.kind is InvoiceKind.INVOICE), None)
        record = self._earlier_record(inputs) if unchanged else None
        if record is None:
            record = Run(
                project_id=inputs.project.id,
                id=self.ids.new("run"),
                period=inputs.period.name,
                span=inputs.period.span,
                state=state,
                dry_run=self.options.dry_run,
                unchanged=unchanged,
                at=self.at,
                cutoff=inputs.cutoff,
                input_digest=assembled.digest if inputs.invoice is None else inputs.invoice.input_digest,
                counts=assembled.counts,
                totals=_totals(main),
                invoice_ids=tuple(each.id for each in documents),
                actor=self.origin.actor,
                request_id=self.origin.request_id,
            )
            if not unchanged and not self.options.dry_run:
                self.records.append(record)
        return RunResult(record, main, tuple(documents))

    def _found_nothing_before(self, inputs: Inputs, assembled: Assembled) -> bool:
        """Whether the last run of the period found as little to bill, of the same inputs."""
        earlier = self._earlier_record(inputs)
        return (
            earlier is not None
            and earlier.input_digest == assembled.digest
            and (earlier.state, earlier.invoice_ids) == (RunState.DRAFT, ())
        )

    def _earlier_record(self, inputs: Inputs) -> Run | None:
        """What the run that left things as they are has recorded."""
        found = self.work.billing.runs(inputs.project.id, limit=1, before=None, period=inputs.period.name)
        return evolve(found[0], unchanged=True, dry_run=self.options.dry_run) if found else None


def _same(invoice: Invoice, stored: Invoice) -> bool:
    return evolve(invoice, cutoff=stored.cutoff, created_at=stored.created_at) == stored


def _totals(invoice: Invoice | None) -> dict[str, int]:
    if invoice is None:
        names = ("subtotal", "tax", "total", "alreadyDrawn", "amountDue")
        return dict.fromkeys(names, 0)
    return {
        "subtotal": invoice.subtotal_micros,
        "tax": invoice.tax_micros,
        "total": invoice.total_micros,
        "alreadyDrawn": invoice.already_drawn_micros,
        "creditApplied": invoice.credit_applied_micros,
        "overdraftBilled": invoice.overdraft_billed_micros,
        "creditGranted": invoice.credit_granted_micros,
        "rounding": invoice.rounding_micros,
        "amountDue": invoice.amount_due_micros,
    }


def _open_before(inputs: Inputs) -> Iterator[BillingPeriod]:
    """The open periods between the first that was ever billed and the inputs' own."""
    project, stored, start = inputs.project, inputs.stored, inputs.period.span.start
    for period in periods.covering(project, stored, stored[0].span.start, start):
        if not is_closed(project, stored, period):
            yield period


def _is_of_its_period_alone(line: Line) -> bool:
    """Whether no later invoice would have the line; of usage they have an adjustment."""
    fees = (LineKind.CHARGE, LineKind.SUBSCRIPTION, LineKind.PRORATION)
    return line.kind in fees or (line.kind is LineKind.MINIMUM and line.metric_key is None)


def _missing_rows(inputs: Inputs) -> list[BillingPeriod]:
    """The rows to store so that the inputs' period is stored and all rows stay contiguous."""
    stored, own = inputs.stored, inputs.period
    if not stored:
        return [own]
    if own.span.start >= stored[-1].span.end:
        return periods.covering(inputs.project, stored, stored[-1].span.end, own.span.end)
    if own.span.end <= stored[0].span.start:
        return periods.covering(inputs.project, stored, own.span.start, stored[0].span.start)
    return []
