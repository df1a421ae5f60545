"""Why an invoice says what it says.

From each line to the quantity, the price, its parts and the rounding; from a line of usage on to its events,
a page at a time; from the invoice to the postings of its transaction and the credit that they drew. Nothing
is computed anew but sums: the explanation reads what the run wrote down, and every sum in it can be added up
again. ``spoken`` puts it into words that can be read out to a customer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from attrs import frozen

from neruba_core.audit.store import HasAudit
from neruba_core.errors import LineNotFound
from neruba_core.instants import Instant
from neruba_core.invoices.model import Invoice, InvoiceState, Line, LineKind
from neruba_core.invoices.store import HasInvoices
from neruba_core.invoices.workings import Reading, reading
from neruba_core.ledger.chart import WALLET
from neruba_core.ledger.model import Entry
from neruba_core.ledger.store import HasLedger
from neruba_core.pages import Page, limited, page, place_of
from neruba_core.usage.held import LET_GO, Held
from neruba_core.usage.model import QuarantineState, UsageEvent, UsageVoid
from neruba_core.usage.store import HasUsage
from neruba_core.wallets.model import GrantKind
from neruba_core.wallets.store import HasWallets

_OF_EVENTS = frozenset({LineKind.USAGE, LineKind.ADJUSTMENT})
_CHANGES_AT_A_TIME = 200


class ExplainWork(HasInvoices, HasLedger, HasWallets, HasUsage, HasAudit, Protocol):
    """What explaining an invoice reads."""


@frozen
class LineExplained:
    """A line, the addends of its amount and its rounding. *number* is its place on the invoice, from 1."""

    number: int
    line: Line
    reading: Reading


@frozen
class Drawn:
    """What the invoice's transaction took out of one grant."""

    grant_id: str
    kind: GrantKind
    amount_micros: int


@frozen
class EventExplained:
    """An event of a line. *counted* tells whether the line's quantity includes it: what was voided before the
    invoice, arrived after it, or waited for support, does not count in it."""

    event: UsageEvent
    voided_at: Instant | None
    counted: bool

    @property
    def id(self) -> str:
        """The event's own id."""
        return self.event.id


@frozen
class Explanation:
    """See the module. *postings* and *drawn* are empty until the invoice is issued; *events* are those of
    the one line that was asked for."""

    invoice: Invoice
    lines: tuple[LineExplained, ...]
    postings: tuple[Entry, ...]
    drawn: tuple[Drawn, ...]
    events: Page[EventExplained] | None = None


def explanation(
    work: ExplainWork,
    invoice: Invoice,
    *,
    line_id: str | None = None,
    limit: int,
    cursor: str | None = None,
) -> Explanation:
    """Explain *invoice*, or of its lines only *line_id* with a page of the events behind it.

    Raises ``LineNotFound``, ``FormatInvalid`` (limit), ``CursorInvalid`` or ``CursorMismatch``.
    """
    lines = tuple(
        LineExplained(number, line, reading(line))
        for number, line in enumerate(invoice.lines, 1)
        if line_id is None or line.id == line_id
    )
    if line_id is not None and not lines:
        raise LineNotFound(line_id)
    postings: tuple[Entry, ...] = ()
    if invoice.transaction_id is not None:
        booked = work.ledger.transaction(invoice.project_id, invoice.transaction_id)
        assert booked is not None, "an invoice names its transaction"
        postings = booked.entries
    # A cursor goes on with the events of its line, so without one it belongs to nothing.
    filters = ("explain", invoice.project_id, invoice.id, line_id)
    before = place_of(cursor, *filters)
    events = None
    if line_id is not None:
        most = limited(limit)
        rows = _events(work, invoice, lines[0].line, limit=most + 1, before=before)
        events = page(rows, most, "id", *filters)
    return Explanation(invoice, lines, postings, tuple(_drawn(work, postings)), events)


def _drawn(work: HasWallets, postings: tuple[Entry, ...]) -> Iterator[Drawn]:
    taken = [entry for entry in postings if entry.account.startswith(f"{WALLET}:") and entry.debit_micros]
    if not taken:
        return
    ids = [entry.account.partition(":")[2] for entry in taken]
    grants = work.wallets.grants(taken[0].project_id, ids)
    for entry, grant_id in zip(taken, ids, strict=True):
        yield Drawn(grant_id, grants[grant_id].kind, entry.debit_micros)


# --- events -----------------------------------------------------------------------------------


def _events(
    work: ExplainWork, invoice: Invoice, line: Line, *, limit: int, before: str | None
) -> list[EventExplained]:
    if line.kind not in _OF_EVENTS or line.metric_key is None:
        return []
    rows = work.usage.events(
        invoice.project_id,
        limit=limit,
        before=before,
        metric_key=line.metric_key,
        start=line.service.start,
        end=line.service.end,
    )
    voids = work.usage.voids(invoice.project_id, [event.id for event in rows])
    held = _held(work, invoice, {event.id for event in rows})
    return [_explained(event, voids.get(event.id), invoice, line, held) for event in rows]


def _held(work: ExplainWork, invoice: Invoice, usage_ids: set[str]) -> Held:
    """Which of these events, or voids of them, the invoice left out because they waited for support."""
    holds = [hold for hold in work.usage.holds([invoice.project_id]) if hold.usage_id in usage_ids]
    released = any(hold.state is QuarantineState.REPLAYED for hold in holds)
    since = _let_go_since(work, invoice) if released else set()
    return Held(
        tuple(hold for hold in holds if hold.state is not QuarantineState.REPLAYED or hold.usage_id in since)
    )


def _let_go_since(work: HasAudit, invoice: Invoice) -> set[str]:
    """The events that support let go when the invoice had been issued."""
    found: set[str] = set()
    before = None
    while invoice.finalized_at is not None:
        rows = work.audit.changes(invoice.project_id, limit=_CHANGES_AT_A_TIME, before=before)
        later = [each for each in rows if each.at > invoice.finalized_at]
        found |= {each.subject for each in later if each.action == LET_GO}
        if len(later) < _CHANGES_AT_A_TIME:
            break
        before = rows[-1].id
    return found


def _explained(
    event: UsageEvent, void: UsageVoid | None, invoice: Invoice, line: Line, held: Held
) -> EventExplained:
    voided_at = None if void is None else void.voided_at
    if invoice.state is InvoiceState.DRAFT:
        # A draft is what the last run saw; the next one sees what is there now.
        return EventExplained(event, voided_at, counted=held.counts(event, voided=void is not None))
    at = invoice.finalized_at or invoice.created_at
    known = event.received_at <= at
    if event.late and line.kind is LineKind.USAGE and invoice.part == 1:
        # It arrived when the period had been invoiced, which is what this document did.
        known = False
    # Made at the very instant of the invoice, a void came first if it knows of no such number.
    voided = void is not None and void.voided_at <= at and void.last_number < (invoice.number or 0)
    return EventExplained(event, voided_at, counted=known and held.counts(event, voided=voided))
