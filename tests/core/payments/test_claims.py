"""Refunds and disputes claim the same money, and never more of it is booked as given than there was."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from attrs import define, evolve, field
from hypothesis import given, note, settings
from hypothesis import strategies as st

from neruba_core import money
from neruba_core.errors import NerubaError
from neruba_core.invoices.model import Invoice
from neruba_core.payments.model import (
    Allocation,
    AllocationKind,
    Claim,
    Dispute,
    DisputeStatus,
    Payment,
    PaymentStatus,
    Refund,
)
from neruba_core.storage.memory.storage import MemoryStorage
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.provider import SOUND, RehearsedProvider
from tests.core.payments.stage import Till

UNIT = 1_000_000
OPEN, WON, LOST = DisputeStatus.OPEN, DisputeStatus.WON, DisputeStatus.LOST


@define
class Counter:
    """A till and the provider that it was paid through: two invoices, and what was paid beyond them."""

    provider: RehearsedProvider = field(factory=RehearsedProvider)
    till: Till = field(init=False)
    payment: Payment = field(init=False)
    _events: Iterator[int] = field(factory=itertools.count, init=False)

    def __attrs_post_init__(self) -> None:
        self.till = Till(Rehearsal(MemoryStorage(), providers=(self.provider,)))
        self.till.billing.payments.set_method(
            self.till.id, provider="rehearsed", customer="cus_1", collects_invoices=False
        )

    def paid(self, amount: str, *owed: str) -> tuple[Payment, list[Invoice]]:
        """What is owed, and a payment of *amount* for it."""
        invoices = [self.till.owe(each) for each in owed]
        self.payment = self.till.pay(amount, invoices[0] if invoices else None, provider="rehearsed")
        assert self.payment.status is PaymentStatus.SUCCEEDED
        return self.payment, invoices

    def refund(self, amount: str, answer: str = "succeed") -> Refund:
        self.provider.then([answer])
        return self.till.refund(self.payment, amount)

    def dispute(self, amount: str, status: DisputeStatus = OPEN, **details: Any) -> None:
        self.provider.dispute(self.payment.id, money.parse(amount), status, **details)
        self.tell()

    def tell(self) -> None:
        event = self.provider.event(self.payment.id, f"evt_{next(self._events)}")
        self.till.billing.provider_events.receive("rehearsed", event, SOUND)
        while self.till.billing.provider_events.process():
            pass

    def settle(self, *answers: str) -> None:
        self.till.at(self.till.billing.clock() + timedelta(hours=2))
        self.provider.then(answers)
        self.till.billing.payments.settle_pending()

    @property
    def now(self) -> Payment:
        return self.till.billing.payments.get(self.till.id, self.payment.id)

    @property
    def claims(self) -> list[Claim]:
        payments = self.till.billing.payments
        refunds = payments.refunds(self.till.id, self.payment.id)
        return [*refunds, *payments.disputes(self.till.id, self.payment.id)]

    @property
    def books(self) -> dict[str, str]:
        """The accounts that hold anything."""
        return {name: text for name, text in self.till.accounts.items() if Decimal(text)}

    def disputed(self, invoice: Invoice) -> str:
        return money.text(self.till.billing.invoices.get(self.till.id, invoice.id).disputed_micros)


@pytest.fixture
def counter() -> Counter:
    return Counter()


def test_a_refund_that_fails_gives_nothing_back_that_the_bank_has_taken(counter):
    """
    The bank took the whole payment while the refund was under way, and so the refund's money too.
    """
    _, (invoice,) = counter.paid("100", "100")
    counter.refund("50", "drop")
    counter.dispute("100")
    assert counter.books["bad_debt"] == "50.000000"

    counter.settle("decline")

    till, now = counter.till, counter.now
    assert till.stands(invoice) == ("finalized", "100.000000")
    assert counter.disputed(invoice) == "100.000000"
    assert counter.books == {"receivable": "100.000000", "revenue:tokens": "-100.000000"}
    assert (now.refunded_micros, now.disputed_micros, now.left_micros) == (0, 100 * UNIT, 0)

    counter.dispute("100", WON)

    assert till.stands(invoice) == ("paid", "0.000000")
    assert counter.disputed(invoice) == "0.000000"
    assert counter.books == {"cash:rehearsed": "100.000000", "revenue:tokens": "-100.000000"}
    assert counter.now.left_micros == 100 * UNIT


def test_a_refund_that_was_sent_back_goes_to_the_bank_first_and_then_to_the_invoices(counter):
    """
    What exceeded the invoices stays with the bank, and what was settled first is settled again first.
    """
    _, (first, second) = counter.paid("100", "60", "30")
    refund = counter.refund("50")
    counter.dispute("70")
    assert counter.books["bad_debt"] == "20.000000"
    counter.provider.finish(refund.id, PaymentStatus.FAILED, "account closed")

    counter.tell()

    till = counter.till
    assert till.stands(first) == ("finalized", "50.000000")
    assert till.stands(second) == ("finalized", "10.000000")
    assert (counter.disputed(first), counter.disputed(second)) == ("50.000000", "10.000000")
    assert till.balance == "0.000000"
    assert "bad_debt" not in counter.books

    counter.dispute("70", WON)

    assert till.stands(first) == till.stands(second) == ("paid", "0.000000")
    assert till.balance == "10.000000"
    assert counter.books["cash:rehearsed"] == "100.000000"


def test_what_a_dispute_has_taken_over_becomes_credit_where_the_invoice_was_paid_meanwhile(counter):
    """
    Somebody paid it in hand, and then the dispute is won.
    """
    _, (invoice,) = counter.paid("40", "40")
    counter.refund("40", "wait")
    counter.dispute("40")
    counter.till.pay("40", invoice)
    counter.provider.finish(counter.claims[0].id, PaymentStatus.FAILED, "account closed")
    counter.tell()
    assert (counter.till.balance, counter.disputed(invoice)) == ("0.000000", "40.000000")

    counter.dispute("40", WON)

    assert (counter.till.balance, counter.disputed(invoice)) == ("40.000000", "0.000000")
    assert counter.till.stands(invoice) == ("paid", "0.000000")


def test_what_was_given_back_at_the_provider_beyond_the_payment_is_a_loss(counter):
    """
    A refund of ours was under way: the money is booked at once, and made good when ours fails.
    """
    _, (invoice,) = counter.paid("40", "40")
    counter.refund("25", "drop")
    counter.provider.send_back(counter.payment.id, 40 * UNIT)

    counter.tell()

    till = counter.till
    assert {each.state.value for each in till.billing.provider_events.list().items} == {"processed"}
    assert till.stands(invoice) == ("finalized", "40.000000")
    assert (counter.books["bad_debt"], counter.books["refundable"]) == ("25.000000", "-25.000000")
    assert "cash:rehearsed" not in counter.books

    counter.settle("decline")

    assert counter.books == {"receivable": "40.000000", "revenue:tokens": "-40.000000"}
    assert till.stands(invoice) == ("finalized", "40.000000")
    assert counter.now.refunded_micros == 40 * UNIT


def test_what_was_given_back_while_a_dispute_was_open_stays_given_back_when_it_is_won(counter):
    """
    And what the refund has opened is not collected by itself.
    """
    _, (invoice,) = counter.paid("40", "40")
    counter.dispute("40")
    counter.provider.send_back(counter.payment.id, 30 * UNIT)
    counter.tell()
    assert counter.books["bad_debt"] == "30.000000"

    counter.dispute("40", WON)

    till = counter.till
    assert till.stands(invoice) == ("finalized", "30.000000")
    assert counter.disputed(invoice) == "0.000000"
    assert (counter.now.refunded_micros, counter.now.disputed_micros) == (30 * UNIT, 0)
    assert counter.books["cash:rehearsed"] == "10.000000"
    assert "bad_debt" not in counter.books
    till.billing.payments.set_method(till.id, provider="rehearsed", customer="cus_1")
    assert till.billing.collection.collect_due() == []


def test_the_fee_of_a_dispute_is_booked_back_when_the_provider_gives_it_back(counter):
    """
    Once, however often it is told.
    """
    counter.paid("40")
    counter.dispute("40", fee_micros=15 * UNIT)
    assert counter.books["provider_fees"] == "15.000000"

    for _ in range(2):
        counter.dispute("40", WON, fee_back_micros=15 * UNIT)

    assert counter.books["cash:rehearsed"] == "40.000000"
    assert "provider_fees" not in counter.books
    (dispute,) = counter.claims
    assert isinstance(dispute, Dispute)
    assert (dispute.fee_micros, dispute.fee_back_micros) == (15 * UNIT, 15 * UNIT)


def test_the_fee_of_a_dispute_that_is_kept_stays_a_loss(counter):
    """
    Of a dispute that was won, too.
    """
    counter.paid("40")
    counter.dispute("40", fee_micros=15 * UNIT)

    counter.dispute("40", WON)

    assert counter.books["provider_fees"] == "15.000000"
    assert counter.books["cash:rehearsed"] == "25.000000"


def test_what_a_dispute_costs_more_later_is_booked_on_top(counter):
    """
    And what of it is given back in parts too; what is told late or twice changes nothing.
    """
    counter.paid("40")
    for fee in (15, 30, 30, 15):
        counter.dispute("40", fee_micros=fee * UNIT)
    assert counter.books["provider_fees"] == "30.000000"

    for back in (10, 25, 25, 10):
        counter.dispute("40", WON, fee_micros=30 * UNIT, fee_back_micros=back * UNIT)

    assert counter.books["provider_fees"] == "5.000000"
    assert counter.books["cash:rehearsed"] == "35.000000"
    (dispute,) = counter.claims
    assert isinstance(dispute, Dispute)
    assert (dispute.fee_micros, dispute.fee_back_micros) == (30 * UNIT, 25 * UNIT)


# --- in any order -----------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 14))
def test_whatever_order_claims_come_and_end_in_the_books_say_what_the_provider_says(seed, steps):
    """
    What was taken is the smaller of the payment and what is claimed; the rest is a loss until another claim
    ends, and in the end nothing is missing but what was lost to the bank.
    """
    chance, counter = Random(seed), Counter()
    paid = chance.choice(["60", "60", "45", "80"])
    counter.paid(paid, *chance.choice([("30", "20"), ("60",), ("10", "20", "30"), ()]))
    for _ in range(steps):
        happen(counter, chance)
        hold(counter)
    end_all(counter)
    hold(counter)

    amount = counter.payment.amount_micros
    lost = sum(each.amount_micros for each in counter.claims if each.stands)
    assert counter.now.left_micros == max(amount - lost, 0)
    assert micros(counter.books.get("cash:rehearsed")) == amount - lost
    assert micros(counter.books.get("bad_debt")) == max(lost - amount, 0) + written_off(counter)


def happen(counter: Counter, chance: Random) -> None:
    """Something, told of or not."""
    till, provider, payment_id = counter.till, counter.provider, counter.payment.id
    amount = str(chance.choice([1, 5, 20, 30, 60]))
    match chance.randrange(8):
        case 0 | 1:
            try:
                counter.refund(amount, chance.choice(["succeed", "wait", "decline", "lose", "drop"]))
            except NerubaError:
                provider.plan.clear()
        case 2:
            provider.send_back(payment_id, money.parse(amount))
        case 3 | 4:
            number = chance.randrange(1, 4)
            known = provider.disputes.get(payment_id, {}).get(f"dp_{payment_id}_{number}")
            status = chance.choice([OPEN, OPEN, WON, LOST])
            if known is None or known.status is OPEN:
                counter.provider.dispute(payment_id, money.parse(amount), status, number=number)
        case 5:
            ended = [each for each in provider.returned if provider.returned[each].status is not FAILED]
            if ended:
                provider.finish(chance.choice(ended), FAILED, "sent back")
        case 6:
            counter.settle(chance.choice(["succeed", "decline", "drop"]))
            provider.plan.clear()
        case _:
            owed = till.billing.receivables.of(till.id).invoices
            if owed and chance.random() < 0.5:
                till.pay(amount, owed[0].invoice)
            elif owed:
                till.write_off(owed[0].invoice)
    note(f"{counter.now} {counter.claims}")
    if chance.random() < 0.7:
        counter.tell()
        there = provider.cash_micros(payment_id)
        assert micros(counter.books.get("cash:rehearsed")) == there, "the till is not what the provider says"


def end_all(counter: Counter) -> None:
    """Every refund fails, and every dispute is won that was not lost."""
    provider, payment_id = counter.provider, counter.payment.id
    for refund_id in provider.returned:
        provider.finish(refund_id, FAILED, "sent back")
    while any(isinstance(each, Refund) and each.status is PENDING for each in counter.claims):
        counter.settle("decline", "decline")
    told = provider.sent_back.get(payment_id, [])
    told[:] = [evolve(each, answer=evolve(each.answer, status=FAILED)) for each in told]
    for number, each in provider.disputes.get(payment_id, {}).items():
        if each.status is OPEN:
            provider.disputes[payment_id][number] = evolve(each, status=WON)
    counter.tell()


PENDING, FAILED = PaymentStatus.PENDING, PaymentStatus.FAILED


def hold(counter: Counter) -> None:
    """What is true at every moment."""
    till, now, claims = counter.till, counter.now, counter.claims
    assert till.proved()
    standing = [each for each in claims if each.stands]
    refunds = [each for each in standing if isinstance(each, Refund)]
    disputes = [each for each in standing if isinstance(each, Dispute)]
    claimed = sum(each.amount_micros for each in standing)
    assert now.gone_micros == min(now.amount_micros, claimed)
    assert now.refunded_micros == sum(each.taken_micros for each in refunds)
    assert now.disputed_micros == sum(each.taken_micros for each in disputes)
    assert all(0 <= each.taken_micros <= each.amount_micros for each in claims)
    pending = sum(each.amount_micros for each in refunds if each.status is PENDING)
    assert micros(counter.books.get("refundable")) == -pending
    lost = claimed - now.gone_micros
    assert micros(counter.books.get("bad_debt")) == lost + written_off(counter)
    for invoice, allocations in allocated(counter):
        held = {each.id: 0 for each in claims}
        for each in allocations:
            if each.subject_id in held:
                held[each.subject_id] -= each.micros
        assert invoice.disputed_micros == sum(held[each.id] for each in disputes)
        assert all(held[each.id] >= 0 for each in standing)
        assert 0 <= invoice.paid_micros <= invoice.amount_due_micros
        assert invoice.paid_micros + invoice.open_micros == invoice.amount_due_micros
        assert invoice.paid_micros == sum(each.micros for each in allocations)


def micros(text: str | None) -> int:
    return 0 if text is None else int(Decimal(text).scaleb(money.PLACES))


def written_off(counter: Counter) -> int:
    """What finance gave up, which is in ``bad_debt`` too."""
    return sum(
        each.micros
        for _, allocations in allocated(counter)
        for each in allocations
        if each.kind is AllocationKind.WRITE_OFF
    )


def allocated(counter: Counter) -> list[tuple[Invoice, Sequence[Allocation]]]:
    """All that has changed what is open of each invoice."""
    till = counter.till
    invoices = till.billing.invoices.list(till.id).items
    with till.billing._context.storage.snapshot() as work:
        return [(each, work.payments.allocations_of_invoice(till.id, each.id)) for each in invoices]
