"""Everything that a run looks at, read for many projects at once.

What is read here is all that a run's outcome depends on: the same inputs give the same invoice to the byte.
The watermark is read first, so that whatever is recorded while the rest is read lies above it, and the next
run looks at it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from attrs import define, field, frozen

from neruba_core.billing import periods
from neruba_core.billing.model import BillingPeriod
from neruba_core.billing.priced import Asked, PricedWork, PriceList, SliceUsage, price_lists, usage_of
from neruba_core.billing.store import HasBilling
from neruba_core.instants import Instant
from neruba_core.invoices.credited import Corrected, HasCorrections
from neruba_core.invoices.model import Invoice, InvoiceKind, InvoiceState, Line, LineKind
from neruba_core.invoices.store import HasInvoices
from neruba_core.ledger.model import Charged, ChargesWanted
from neruba_core.ledger.store import HasLedger
from neruba_core.tenancy.model import LateUsagePolicy, Project
from neruba_core.usage.held import Held
from neruba_core.usage.model import LateHold, QuarantineState

_LAST_OF_DAY = periods.DAY - periods.MICROSECOND


class RunWork(PricedWork, HasBilling, HasInvoices, HasCorrections, HasLedger, Protocol):
    """What the inputs of runs are read from."""


@frozen
class LateUsage:
    """Usage of a closed period that may have changed since it was billed: what the metrics come to now, the
    lines of issued documents about that period so far, and what was corrected by hand of its own."""

    period: BillingPeriod
    usage: tuple[SliceUsage, ...]
    billed: tuple[Line, ...]
    issued: tuple[Invoice, ...]
    part: int
    corrections: tuple[Corrected, ...] = ()

    @property
    def invoice(self) -> Invoice | None:
        """The period's own invoice, if it had one. The one before may be about it too: it bills ahead."""
        name = self.period.name
        found = (each for each in self.issued if (each.kind, each.period) == (InvoiceKind.INVOICE, name))
        return next(found, None)


@frozen
class Inputs:
    """See the module.

    *part* is the number that the period's document has or will have, *draft* what is stored of it, *invoice*
    what was issued for the period already. *previous* is the last invoice issued before.
    """

    prices: PriceList
    stored: tuple[BillingPeriod, ...]
    period: BillingPeriod
    following: BillingPeriod
    cutoff: int
    part: int
    draft: Invoice | None
    invoice: Invoice | None
    previous: Invoice | None
    usage: tuple[SliceUsage, ...]
    charged: tuple[Charged, ...]
    late: tuple[LateUsage, ...]

    @property
    def project(self) -> Project:
        return self.prices.project

    @property
    def closed(self) -> bool:
        """Whether the period has been finalized, with an invoice or without."""
        return self.invoice is not None or is_closed(self.project, self.stored, self.period)

    @property
    def last(self) -> bool:
        """Whether the project is archived before the next period begins, which is then not billed."""
        return self.project.archived_before(self.following.span.start)

    @property
    def since(self) -> int:
        """The ledger's version up to which charges have been billed."""
        return 0 if self.previous is None else self.previous.ledger_version or 0


def is_closed(project: Project, stored: Sequence[BillingPeriod], period: BillingPeriod) -> bool:
    """Whether *period* takes no invoice of its own any more: it was closed, or lies before the first one
    that was."""
    for each in stored:
        if each.span.start == period.span.start:
            return each.invoiced_at is not None
    return project.invoiced_until is not None and period.span.end <= project.invoiced_until


def issued_of(documents: Iterable[Invoice]) -> list[Invoice]:
    """Those that have been issued and not voided."""
    return [each for each in documents if each.state in (InvoiceState.FINALIZED, InvoiceState.PAID)]


def read_inputs(work: RunWork, projects: Mapping[str, Project], name: str) -> dict[str, Inputs]:
    """The inputs of the runs of period *name* for each of the *projects*.

    Whoever is going to write holds their heads. Raises ``FormatInvalid`` for a name that is no month.
    """
    ids = sorted(projects)
    cutoff = work.usage.mark()
    stored = work.billing.periods(ids)
    prices = price_lists(work, projects)
    own = {each: periods.named(projects[each], stored[each], name) for each in ids}
    previous = _previous(work, projects, stored, own)
    documents = work.invoices.of_period(ids, name)
    readings = []
    for project_id in ids:
        project, period, parts = projects[project_id], own[project_id], documents[project_id]
        main = [each for each in parts if each.kind is InvoiceKind.INVOICE]
        invoice = next(iter(issued_of(main)), None)
        draft = next((each for each in main if each.state is InvoiceState.DRAFT), None)
        readings.append(
            _Reading(
                prices=prices[project_id],
                stored=stored[project_id],
                period=period,
                following=periods.following(project, stored[project_id], period),
                documents=parts,
                draft=draft,
                invoice=invoice,
                previous=previous.get(project_id),
                closed=invoice is not None or is_closed(project, stored[project_id], period),
            )
        )
    _read_late(work, readings)
    _read_usage(work, readings)
    _read_charges(work, readings)
    return {reading.project.id: reading.inputs(cutoff) for reading in readings}


@define
class _Late:
    period: BillingPeriod
    metric_keys: set[str] = field(factory=set)
    issued: tuple[Invoice, ...] = ()
    part: int = 1
    usage: tuple[SliceUsage, ...] = ()
    corrections: tuple[Corrected, ...] = ()

    def done(self) -> LateUsage:
        billed = tuple(line for each in self.issued for line in each.lines if line.period == self.period.name)
        return LateUsage(self.period, self.usage, billed, self.issued, self.part, self.corrections)


@define
class _Reading:
    """One project's inputs while they are read."""

    prices: PriceList
    stored: tuple[BillingPeriod, ...]
    period: BillingPeriod
    following: BillingPeriod
    documents: Sequence[Invoice]
    draft: Invoice | None
    invoice: Invoice | None
    previous: Invoice | None
    closed: bool
    usage: tuple[SliceUsage, ...] = ()
    charged: list[Charged] = field(factory=list)
    late: list[_Late] = field(factory=list)
    held: Held = field(factory=Held)

    @property
    def project(self) -> Project:
        return self.prices.project

    @property
    def looks_back(self) -> bool:
        """Whether it also bills what has changed of earlier periods: there are closed ones."""
        return not self.closed and self.project.invoiced_until is not None

    def inputs(self, cutoff: int) -> Inputs:
        part = self.draft.part if self.draft else next_part(self.documents)
        return Inputs(
            prices=self.prices,
            stored=self.stored,
            period=self.period,
            following=self.following,
            cutoff=cutoff,
            part=part,
            draft=self.draft,
            invoice=self.invoice,
            previous=self.previous,
            usage=self.usage,
            charged=tuple(self.charged),
            late=tuple(late.done() for late in self.late),
        )


def next_part(documents: Iterable[Invoice]) -> int:
    """The part that the next document of a period has."""
    return max((each.part for each in documents), default=0) + 1


def _previous(
    work: RunWork,
    projects: Mapping[str, Project],
    stored: Mapping[str, tuple[BillingPeriod, ...]],
    own: Mapping[str, BillingPeriod],
) -> dict[str, Invoice]:
    """The last invoice issued before each period, where there is one: nearly always that of the period
    just before."""
    neighbours: dict[str, list[str]] = {}
    for project_id, project in projects.items():
        if project.invoiced_until is not None:
            for row in stored[project_id]:
                if row.span.end == own[project_id].span.start:
                    neighbours.setdefault(row.name, []).append(project_id)
    found: dict[str, Invoice] = {}
    for name, ids in sorted(neighbours.items()):
        for project_id, documents in work.invoices.of_period(ids, name).items():
            for document in issued_of(documents):
                if document.kind is InvoiceKind.INVOICE:
                    found[project_id] = document
    for project_id, project in sorted(projects.items()):
        if project.invoiced_until is None or project_id in found:
            continue
        start = own[project_id].span.start
        earlier = [
            each
            for each in work.invoices.issued(project_id)
            if each.kind is InvoiceKind.INVOICE and each.span.end <= start
        ]
        if earlier:
            found[project_id] = max(earlier, key=lambda each: each.span.end)
    return found


def _read_usage(work: RunWork, readings: Sequence[_Reading]) -> None:
    asked: list[Asked] = []
    takers: list[_Reading | _Late] = []
    for reading in readings:
        if not reading.closed and reading.prices.metrics:
            asked.append(Asked(reading.prices, reading.period.span, frozenset(reading.prices.metrics)))
            takers.append(reading)
        for late in reading.late:
            asked.append(Asked(reading.prices, late.period.span, frozenset(late.metric_keys), reading.held))
            takers.append(late)
    for taker, usage in zip(takers, usage_of(work, asked), strict=True):
        taker.usage = _billable(taker, usage) if isinstance(taker, _Reading) else usage


def _billable(reading: _Reading, usage: Iterable[SliceUsage]) -> tuple[SliceUsage, ...]:
    """The metrics that have usage in the period, or cost something without."""
    usage = tuple(usage)
    keys = {each.metric.key for each in usage if each.events or each.drawn_micros}
    keys |= reading.prices.with_minimum(reading.period.span)
    return tuple(each for each in usage if each.metric.key in keys)


def _read_charges(work: RunWork, readings: Sequence[_Reading]) -> None:
    open_ones = {reading.project.id: reading for reading in readings if not reading.closed}
    wanted = [
        ChargesWanted(
            project_id,
            reading.period.span.start,
            reading.period.span.end,
            0 if reading.previous is None else reading.previous.ledger_version or 0,
        )
        for project_id, reading in open_ones.items()
    ]
    for charged in work.ledger.charges(wanted):
        open_ones[charged.project_id].charged.append(charged)
    for reading in open_ones.values():
        if any(charged.reverses for charged in reading.charged):
            counted = _reversals_counted(work, reading.project.id)
            reading.charged = [each for each in reading.charged if each.id not in counted]


def _reversals_counted(work: RunWork, project_id: str) -> set[str]:
    """The reversals that documents in force have counted. Only once invoices have been voided and periods run
    again may they be among those that a run finds."""
    return {
        reversal_id
        for invoice in work.invoices.issued(project_id)
        for line in invoice.lines
        if line.kind is LineKind.CHARGE
        for reversal_id in line.workings.get("reversals", ())
    }


# --- late usage -------------------------------------------------------------------------------


def _read_late(work: RunWork, readings: Sequence[_Reading]) -> None:
    """Which closed periods have usage that may not be billed as it is now.

    Those of events recorded or voided since the invoice before, those that were closed without an invoice,
    what void documents had adjusted, and whatever lies before the first period that was billed. The run of a
    closed period looks at that period alone, and only where the project's late usage has documents of its
    own.
    """
    for reading in readings:
        if reading.closed:
            if reading.project.late_usage_policy is LateUsagePolicy.CREDIT_NOTE:
                reading.late.append(_Late(reading.period))
        elif reading.looks_back:
            _note_changed(work, reading)
            _note_without_invoice(work, reading)
    _note_void(work, readings)
    _note_before_the_first(work, readings)
    _note_held(work, readings)
    for reading in readings:
        _read_issued(work, reading)


def _note_changed(work: RunWork, reading: _Reading) -> None:
    if reading.previous is None:
        return
    since, before = reading.previous.cutoff, reading.previous.span.end
    for day in work.usage.changed_days(reading.project.id, since=since, before=before):
        _note(reading, day.metric_key, day.day, day.day + _LAST_OF_DAY)


def _note_without_invoice(work: RunWork, reading: _Reading) -> None:
    """Closed periods later than the last that has an invoice. Its cutoff tells nothing about them: it may be
    of a later time, if that period was run again."""
    project_id, end = reading.project.id, reading.period.span.start
    start = None if reading.previous is None else reading.previous.span.end
    if start == end:
        return
    for day in work.usage.active_days([project_id], start=start, end=end):
        _note(reading, day.metric_key, day.day, day.day + _LAST_OF_DAY)
    names: list[str] | None = None
    if start is not None:
        # Only stored periods can have documents; the others may be many, up to a period far ahead.
        names = [each.name for each in reading.stored if start <= each.span.start < end]
    if names is None or names:
        _note_adjusted(reading, work.invoices.issued(project_id, names))


def _note_adjusted(reading: _Reading, documents: Iterable[Invoice]) -> None:
    """Add what the documents adjust."""
    for document in documents:
        for line in document.lines:
            if line.kind is LineKind.ADJUSTMENT:
                period = periods.named(reading.project, reading.stored, line.period)
                if period.span.end <= reading.period.span.start:
                    _note_period(reading, period, line.metric_key)


def _note_void(work: RunWork, readings: Sequence[_Reading]) -> None:
    """What a void document had billed of a closed period counts as not billed, however long ago its usage
    was recorded."""
    by_id = {each.project.id: each for each in readings if each.looks_back}
    for document in work.invoices.voided(sorted(by_id)) if by_id else ():
        _note_adjusted(by_id[document.project_id], [document])


def _note_before_the_first(work: RunWork, readings: Sequence[_Reading]) -> None:
    firsts: dict[Instant, list[_Reading]] = {}
    later = [reading for reading in readings if reading.previous is not None and not reading.closed]
    for reading, first in zip(later, _first_invoiced(work, later), strict=True):
        firsts.setdefault(first, []).append(reading)
    for first, group in sorted(firsts.items(), key=lambda item: item[0]):
        by_id = {reading.project.id: reading for reading in group}
        for day in work.usage.active_days(sorted(by_id), end=first):
            _note(by_id[day.project_id], day.metric_key, day.day, day.day + _LAST_OF_DAY)


def _first_invoiced(work: RunWork, readings: Sequence[_Reading]) -> list[Instant]:
    """When the first period begins that an invoice was issued for: nearly always the first that is stored."""
    found: dict[str, Instant] = {}
    rows = {reading.project.id: list(reading.stored) for reading in readings}
    while waiting := {each: left.pop(0) for each, left in rows.items() if each not in found}:
        for name in sorted({row.name for row in waiting.values()}):
            asked = [each for each, row in waiting.items() if row.name == name]
            for project_id, documents in work.invoices.of_period(asked, name).items():
                if any(each.kind is InvoiceKind.INVOICE for each in issued_of(documents)):
                    found[project_id] = waiting[project_id].span.start
    return [found[reading.project.id] for reading in readings]


def _note_held(work: RunWork, readings: Sequence[_Reading]) -> None:
    """What support has let go was recorded long ago: its days are looked at again."""
    by_id = {each.project.id: each for each in readings if each.project.invoiced_until is not None}
    holds: dict[str, list[LateHold]] = {}
    for hold in work.usage.holds(sorted(by_id)) if by_id else ():
        holds.setdefault(hold.project_id, []).append(hold)
        reading = by_id[hold.project_id]
        if hold.state is QuarantineState.REPLAYED and reading.looks_back:
            _note(reading, hold.metric_key, hold.timestamp, hold.timestamp)
    for project_id, found in holds.items():
        by_id[project_id].held = Held.of(found)


def _note(reading: _Reading, metric_key: str, first: Instant, last: Instant) -> None:
    """Add the metric to the closed periods between two moments, both included."""
    end = min(last + periods.MICROSECOND, reading.period.span.start)
    for period in periods.covering(reading.project, reading.stored, first, end):
        _note_period(reading, period, metric_key)


def _note_period(reading: _Reading, period: BillingPeriod, metric_key: str | None) -> None:
    """Add the metric to *period*, if that is closed; where there is none, what is missing to the plan's
    commitment."""
    if not is_closed(reading.project, reading.stored, period):
        return
    late = next((each for each in reading.late if each.period == period), None)
    if late is None:
        late = _Late(period)
        reading.late.append(late)
    if metric_key is not None:
        late.metric_keys.add(metric_key)


def _read_issued(work: RunWork, reading: _Reading) -> None:
    if not reading.late:
        return
    reading.late.sort(key=lambda late: late.period.span.start)
    project_id = reading.project.id
    issued = work.invoices.issued(project_id, [late.period.name for late in reading.late])
    for late in reading.late:
        name = late.period.name
        late.issued = tuple(
            each for each in issued if each.period == name or any(line.period == name for line in each.lines)
        )
        if reading.project.late_usage_policy is LateUsagePolicy.CREDIT_NOTE:
            late.part = next_part(work.invoices.of_period([project_id], name)[project_id])
            own = [each.id for each in late.issued if each.period == name]
            late.corrections = tuple(work.payments.corrections(project_id, own))
        if not late.metric_keys:
            span = late.period.span
            days = work.usage.active_days([project_id], start=span.start, end=span.end)
            late.metric_keys = {day.metric_key for day in days} | {
                line.metric_key
                for each in late.issued
                for line in each.lines
                if line.period == name and line.metric_key is not None
            }
