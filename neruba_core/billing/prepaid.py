"""Prepaid metering: usage is paid for from the wallet in the unit of work that records it.

An event draws what its slice of the period comes to with it, less what the slice has drawn before. So the
draws of a slice add up to its invoice line to the micro-unit, whatever the model and the order of events. A
difference below zero (a volume tier, a void) goes back to the draws it was taken by, newest first. A
minimum is not drawn; the run adds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from attrs import define, evolve, field

from neruba_core import money
from neruba_core.audit.model import Origin
from neruba_core.billing.model import BillingPeriod
from neruba_core.billing.periods import containing
from neruba_core.billing.store import HasBilling
from neruba_core.errors import AmountOverflow, NerubaError
from neruba_core.ids import Ids
from neruba_core.instants import Instant, Period
from neruba_core.ledger.chart import OVERDRAFT, WALLET, Chart
from neruba_core.ledger.model import Entry, Transaction, TransactionType
from neruba_core.metering.model import Aggregation, Metric
from neruba_core.money import MICROS
from neruba_core.outbox.emit import Telling
from neruba_core.pricing.meters import Meter
from neruba_core.pricing.model import Price
from neruba_core.pricing.rate import rate
from neruba_core.pricing.store import HasPricing
from neruba_core.pricing.timeline import Slice, slices
from neruba_core.subscriptions.fees import planned_prices
from neruba_core.subscriptions.model import Plan, SubscriptionDecision
from neruba_core.subscriptions.store import HasSubscriptions
from neruba_core.tenancy.model import BillingMode, LateUsagePolicy, OnEmpty, Project
from neruba_core.tenancy.store import HasTenancy
from neruba_core.usage.model import UsageEvent, Wanted
from neruba_core.usage.store import HasUsage
from neruba_core.wallets.book import Book, Decision
from neruba_core.wallets.booking import Booking, BookingWork, Cause, open_books
from neruba_core.wallets.model import Grant
from neruba_core.wallets.spend import Claim, hand_back, spend

DRAW = "usage.draw"
VOID = "usage.void"

_ADDITIVE = (Aggregation.SUM, Aggregation.COUNT)
_WALLET_PREFIX = f"{WALLET}:"
_TRANSACTIONS_AT_A_TIME = 100


class PrepaidWork(BookingWork, HasTenancy, HasUsage, HasPricing, HasSubscriptions, HasBilling, Protocol):
    """What drawing needs of a unit of work."""


@define
class Draws:
    """The prepaid usage of one unit, under the locked heads of its projects."""

    work: PrepaidWork
    chart: Chart
    ids: Ids
    at: Instant
    books: dict[str, Book]
    booking: Booking
    _periods: dict[str, tuple[BillingPeriod, ...]]
    _own: dict[str, dict[str, tuple[Price, ...]]]
    _shared: dict[str, tuple[Price, ...]]
    _decisions: dict[str, tuple[SubscriptionDecision, ...]]
    _plans: dict[str, Plan]
    _slices: dict[tuple[str, str, Instant], tuple[Slice, ...]] = field(factory=dict)
    _meters: dict[tuple[str, str, Instant], Meter] = field(factory=dict)
    _changed: set[tuple[str, str, Instant]] = field(factory=set)

    @classmethod
    def open(
        cls,
        work: PrepaidWork,
        project_ids: Iterable[str],
        *,
        at: Instant,
        ids: Ids,
        chart: Chart,
        telling: Telling,
    ) -> Draws:
        """Lock the heads of the projects, in their order, and read what drawing looks at. What there is to
        tell goes to *telling*."""
        heads = work.ledger.lock_heads(sorted(set(project_ids)))
        # Only now, so that nobody is judged by settings from before the wait for the lock.
        projects = work.tenancy.projects(heads)
        decisions = work.subscriptions.decisions(heads)
        plan_ids = {each.plan_id for taken in decisions.values() for each in taken if each.plan_id}
        return cls(
            work=work,
            chart=chart,
            ids=ids,
            at=at,
            books=open_books(work, projects, heads, chart, at=at),
            booking=Booking(at, telling),
            periods=work.billing.periods(heads),
            own=work.pricing.prices(heads),
            shared=work.pricing.shared_prices(),
            decisions=decisions,
            plans=work.subscriptions.plans(plan_ids) if plan_ids else {},
        )

    def draw(self, event: UsageEvent, metric: Metric, origin: Origin) -> NerubaError | None:
        """Pay for an event that is about to be recorded, or say why it cannot be: ``InsufficientCredit``
        where the project refuses what its wallet cannot pay, or ``AmountOverflow``."""
        part = self._part(event, metric)
        if part is None:
            return None
        project = self.books[event.project_id].project
        return self._move(
            event,
            metric,
            part,
            1,
            Cause(DRAW, event.idempotency_key, event.fingerprint, origin),
            beyond_limit=project.on_empty is OnEmpty.RECORD,
        )

    def undo(self, event: UsageEvent, metric: Metric, origin: Origin) -> None:
        """Let an event that was voided count no more. What its slice then costs more, if anything, is
        drawn even beyond the credit limit: a void is never refused."""
        part = self._part(event, metric)
        if part is not None:
            cause = Cause(VOID, event.id, event.fingerprint, origin)
            error = self._move(event, metric, part, -1, cause, beyond_limit=True)
            if error is not None:
                raise error

    def write(self) -> None:
        """Write what was drawn."""
        self.booking.write(self.work, list(self.books.values()))
        if self._changed:
            self.work.pricing.write_meters([self._meters[name] for name in sorted(self._changed)])

    # --- what an event belongs to -------------------------------------------------------------

    def _part(self, event: UsageEvent, metric: Metric) -> Slice | None:
        """The slice that *event* draws in; None where it is not drawn at all."""
        project = self.books[event.project_id].project
        late = project.invoiced_until is not None and event.timestamp < project.invoiced_until
        if (
            project.billing_mode_at(event.timestamp) is not BillingMode.PREPAID
            or metric.aggregation not in _ADDITIVE
            or (late and project.late_usage_policy is LateUsagePolicy.QUARANTINE)
        ):
            return None
        period = containing(project, self._periods[project.id], event.timestamp).span
        for part in self._cut(project, metric, period):
            if event.timestamp in part.span:
                return part if part.price is not None else None
        raise AssertionError("slices cover their period")

    def _cut(self, project: Project, metric: Metric, period: Period) -> tuple[Slice, ...]:
        name = (project.id, metric.key, period.start)
        if name not in self._slices:
            planned = planned_prices(self._decisions[project.id], self._plans, period)
            self._slices[name] = slices(
                period,
                own=self._own[project.id].get(metric.key, ()),
                planned=planned.get(metric.key, ()),
                shared=self._shared.get(metric.key, ()),
                currency=project.currency,
                additive=True,
            )
        return self._slices[name]

    def _meter(self, event: UsageEvent, part: Slice) -> Meter:
        assert part.price is not None, "only priced slices have meters"
        name = (event.project_id, event.metric_key, part.span.start)
        meter = self._meters.get(name)
        if meter is None:
            found = self.work.pricing.meters(event.project_id, [name[1:]])
            meter = found.get(name[1:]) or self._begun(event, part.span, part.price)
        return evolve(meter, end=part.span.end, price_id=part.price.id)

    def _begun(self, event: UsageEvent, span: Period, price: Price) -> Meter:
        """A meter that begins with what was recorded before there was a price or prepaid billing."""
        wanted = Wanted(event.project_id, event.metric_key, span.start, span.end)
        (totals,) = self.work.usage.totals_of([wanted])
        return Meter(
            project_id=event.project_id,
            metric_key=event.metric_key,
            start=span.start,
            end=span.end,
            price_id=price.id,
            units_micros=totals.sum_micros,
            events=totals.count,
            drawn_micros=0,
        )

    # --- moving money -------------------------------------------------------------------------

    def _move(
        self,
        event: UsageEvent,
        metric: Metric,
        part: Slice,
        direction: int,
        cause: Cause,
        *,
        beyond_limit: bool,
    ) -> NerubaError | None:
        assert part.price is not None, "only priced slices are drawn"
        before = self._meter(event, part)
        after = evolve(
            before,
            units_micros=before.units_micros + direction * event.units_micros,
            events=before.events + direction,
        )
        counted = after.units_micros if metric.aggregation is Aggregation.SUM else after.events * MICROS
        book = self.books[event.project_id]
        try:
            due = rate(part.price.tariff, counted, share=part.share).amount_micros - before.drawn_micros
            if due:
                decision = self._decision(book, event, due, beyond_limit=beyond_limit)
                if isinstance(decision, NerubaError):
                    return decision
                self.booking.book(book, decision, cause)
        except AmountOverflow as error:
            return error
        name = (event.project_id, event.metric_key, part.span.start)
        self._meters[name] = evolve(after, drawn_micros=before.drawn_micros + due)
        self._changed.add(name)
        return None

    def _decision(
        self, book: Book, event: UsageEvent, due: int, *, beyond_limit: bool
    ) -> Decision | NerubaError:
        account = self.chart.usage_of(event.metric_key)
        description = f"{event.metric_key}: {money.text(event.units_micros)}"
        metadata = {"metricKey": event.metric_key, "usageId": event.id}
        if due > 0:
            return spend(
                book,
                due,
                towards=account,
                type=TransactionType.USAGE,
                description=description,
                metadata=metadata,
                metric_key=event.metric_key,
                beyond_limit=beyond_limit,
                at=self.at,
                ids=self.ids,
            )
        claims = list(self._claims(book, event.metric_key, -due))
        for claim in claims:
            # A grant that was emptied is not in the book.
            book.want(claim.grant)
        return hand_back(
            book,
            -due,
            claims,
            source=account,
            type=TransactionType.USAGE,
            description=description,
            metadata=metadata,
            at=self.at,
            ids=self.ids,
        )

    def _claims(self, book: Book, metric_key: str, micros: int) -> Iterator[Claim]:
        """What the metric's draws took from which grants and have not got back, newest first, up to
        *micros* in all; credit for some metrics no more than is left once newer draws, of the overdraft
        too, have got back theirs."""
        returned: dict[str, int] = {}
        common, for_scoped = 0, micros
        for drawn_at, entries in self._history(book.project.id, metric_key):
            for entry in reversed(entries):
                on_wallet = entry.account.startswith(_WALLET_PREFIX)
                if not on_wallet and entry.account != OVERDRAFT:
                    continue
                grant = self._grant(book, entry.account.removeprefix(_WALLET_PREFIX)) if on_wallet else None
                if grant is None or not grant.metric_keys:
                    # What is given back of these repays the overdraft first, so they are one pot.
                    for_scoped -= min(max(0, entry.debit_micros - common), for_scoped)
                    common = entry.credit_micros + max(0, common - entry.debit_micros)
                if grant is None:
                    continue
                owner = grant.succeeds or grant.id
                back = returned.get(owner, 0)
                returned[owner] = entry.credit_micros + max(0, back - entry.debit_micros)
                share = min(max(0, entry.debit_micros - back), for_scoped if grant.metric_keys else micros)
                if share:
                    yield Claim(grant, share, drawn_at)
                    micros = max(micros - share, 0)
                    for_scoped -= share if grant.metric_keys else 0
            if not micros and not for_scoped:
                return

    def _history(self, project_id: str, metric_key: str) -> Iterator[tuple[Instant, Sequence[Entry]]]:
        """When the metric's draws were made, newest first, and their entries in order."""
        for transaction in reversed(self.booking.transactions):
            if transaction.project_id == project_id and _is_of(transaction, metric_key):
                yield transaction.effective_at, transaction.entries
        before = None
        while True:
            page = self.work.ledger.transactions(
                project_id, limit=_TRANSACTIONS_AT_A_TIME, before=before, type=TransactionType.USAGE
            )
            for transaction in page:
                if _is_of(transaction, metric_key):
                    yield transaction.effective_at, transaction.entries
            if len(page) < _TRANSACTIONS_AT_A_TIME:
                return
            before = page[-1].place

    def _grant(self, book: Book, grant_id: str) -> Grant:
        lot = book.lots.get(grant_id)
        return lot.grant if lot else self.work.wallets.grants(book.project.id, [grant_id])[grant_id]


def _is_of(transaction: Transaction, metric_key: str) -> bool:
    return transaction.metadata is not None and transaction.metadata.get("metricKey") == metric_key
