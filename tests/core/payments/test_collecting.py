"""Collecting invoices: at once, again by the dunning days, and then they are past due."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from neruba_core import money
from neruba_core.errors import NerubaError, PaymentInsideUnit, PaymentMethodNotFound
from neruba_core.payments.model import PaymentStatus
from neruba_core.storage.memory.storage import MemoryStorage
from neruba_core.storage.port import Storage
from neruba_core.storage.sql.storage import SqlStorage
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.failing import failing
from neruba_core.testing.provider import SOUND, RehearsedProvider
from tests.core.payments.stage import Till


@pytest.fixture
def provider() -> RehearsedProvider:
    return RehearsedProvider()


@pytest.fixture
def card(provider: RehearsedProvider) -> Till:
    return paying(MemoryStorage(), provider)


def paying(storage: Storage, provider: RehearsedProvider, **options: Any) -> Till:
    till = Till(Rehearsal(storage, providers=(provider,), **options))
    till.billing.payments.set_method(till.id, provider="rehearsed", customer="cus_1")
    return till


def collect(till: Till, **later: float) -> list[str]:
    """What has become of the payments that are collected a while later."""
    till.at(till.billing.clock() + timedelta(**later))
    return [payment.status.value for payment in till.billing.collection.collect_due()]


def test_an_issued_invoice_is_paid_by_itself(card):
    """
    Once, and what was paid by hand before is not collected.
    """
    invoice = card.owe("12")
    card.pay("5", invoice)

    assert collect(card) == ["succeeded"]
    assert collect(card) == []

    payment = card.billing.payments.list(card.id).items[0]
    assert (payment.amount_micros, payment.invoice_id) == (7_000_000, invoice.id)
    assert re.fullmatch(r"Invoice \d+", str(payment.reference))
    assert card.stands(invoice) == ("paid", "0.000000")
    assert card.proved()


def test_what_cannot_be_collected_is_collected_again_and_then_past_due(card, provider):
    """
    After each of the dunning days; paying it by hand clears the mark.
    """
    invoice = card.owe("12")
    provider.then(["decline"] * 5)

    assert collect(card) == ["failed"]
    for days in (1, 3, 5, 7):
        assert collect(card, days=days, minutes=-1) == []
        assert collect(card, minutes=1) == ["failed"]
    assert card.billing.invoices.get(card.id, invoice.id).past_due_at is None
    assert collect(card, days=1) == []
    past_due = card.billing.invoices.get(card.id, invoice.id)
    assert past_due.past_due_at == card.billing.clock()
    assert collect(card, days=365) == []

    actions = [change.action for change in card.billing.audit.changes(card.id).items]
    assert actions.count("payment.failed") == 5
    assert actions[0] == "invoice.past_due"
    card.pay("12", invoice)
    assert card.billing.invoices.get(card.id, invoice.id).past_due_at is None
    assert card.proved()


def test_the_dunning_days_are_the_deployments(provider):
    """
    None at all: one attempt, and a day later it is past due.
    """
    till = paying(MemoryStorage(), provider, dunning_days=())
    invoice = till.owe("12")
    provider.then(["decline"])

    assert collect(till) == ["failed"]
    assert collect(till, days=1) == []

    assert till.billing.invoices.get(till.id, invoice.id).past_due_at is not None


def test_a_payment_that_is_under_way_is_waited_for(card, provider):
    """
    However long it takes: two would pay twice.
    """
    card.owe("12")
    provider.then(["wait"])
    assert collect(card) == ["pending"]

    assert collect(card, days=20) == []
    (pending,) = card.billing.payments.list(card.id).items
    provider.finish(pending.id, PaymentStatus.FAILED, "no funds")
    card.billing.payments.settle_pending()

    assert collect(card) == ["succeeded"]
    assert card.proved()


def test_only_who_says_so_is_collected_from(card, provider):
    """
    Not without a method, not with one that does not collect, and not with a provider that has gone.
    """
    card.owe("12")
    payments = card.billing.payments
    payments.set_method(card.id, provider="rehearsed", customer="cus_1", collects_invoices=False)
    assert collect(card) == []
    payments.remove_method(card.id)
    assert collect(card) == []

    payments.set_method(card.id, provider="rehearsed", customer="cus_1")
    gone = Rehearsal(payments._context.storage, clock=card.billing.clock, seed=3)
    assert gone.collection.collect_due() == []

    assert collect(card, minutes=59) == []
    assert collect(card, minutes=1) == ["succeeded"]
    with card.billing.work() as bound, pytest.raises(PaymentInsideUnit):
        bound.collection.collect_due()


def test_a_clock_that_is_moved_by_hand_collects_on_its_way(provider):
    """
    Within a minute, on each of the dunning days, and a day after the last the invoice is past due.
    """
    card = paying(MemoryStorage(), provider, runs_due=True)
    provider.then(["decline"] * 5)
    invoice = card.owe("12")
    issued = card.billing.clock()

    card.billing.clock.set(issued + timedelta(days=20))

    tried = [each.created_at - issued for each in card.billing.payments.list(card.id).items[::-1]]
    minute = timedelta(minutes=1)
    assert tried == [minute + timedelta(days=days) for days in (0, 1, 4, 9, 16)]
    found = card.billing.invoices.get(card.id, invoice.id)
    assert found.past_due_at == issued + minute + timedelta(days=17)
    assert card.billing.collection.next_collection(card.billing.clock()) is None


def test_what_cannot_be_tried_keeps_nobody_waiting(provider):
    """
    Neither an archived project nor one whose provider has gone, however many of them come first.
    """
    other = RehearsedProvider(name="other")
    billing = Rehearsal(MemoryStorage(), providers=(provider, other))
    tills = [Till(billing) for _ in range(5)]
    for till, name in zip(tills, ["rehearsed", "other", "rehearsed", "other", "rehearsed"], strict=True):
        billing.payments.set_method(till.id, provider=name, customer="cus_1")
        till.owe("12")
    for till in (tills[0], tills[2]):
        billing.projects.archive(till.id)
    left = Rehearsal(billing._context.storage, clock=billing.clock, seed=3, providers=(provider,))

    assert left.collection.collect_due(at_most=2) == []
    (paid,) = left.collection.collect_due(at_most=2)

    assert paid.project_id == tills[4].id
    billing.clock.advance(timedelta(hours=1))
    assert len(billing.collection.collect_due()) == 2


def test_an_archived_project_can_forget_how_it_pays(card):
    """
    What takes a permission away is always allowed.
    """
    card.billing.projects.archive(card.id)

    card.billing.payments.remove_method(card.id)

    with pytest.raises(PaymentMethodNotFound):
        card.billing.payments.method(card.id)


@pytest.mark.parametrize("how", ["collected", "by_hand", "at_the_provider"])
def test_what_was_given_back_is_not_collected_again(card, provider, how):
    """
    Nor any other invoice that the refund opened; somebody may still ask for it.
    """
    first, second = card.owe("12"), card.owe("5")
    if how == "by_hand":
        paid = [card.pay("17", second)]
    else:
        paid = list(card.billing.collection.collect_due())
    for payment in paid:
        if how == "at_the_provider":
            provider.send_back(payment.id, payment.amount_micros)
            card.billing.provider_events.receive("rehearsed", provider.event(payment.id, payment.id), SOUND)
            card.billing.provider_events.process()
        else:
            card.refund(payment, money.text(payment.amount_micros))
    assert (card.stands(first)[1], card.stands(second)[1]) == ("12.000000", "5.000000")

    assert collect(card, days=1) == collect(card, days=30) == []

    card.pay("12", first, provider="rehearsed")
    assert card.stands(first) == ("paid", "0.000000")
    assert card.proved()


def test_of_two_who_collect_one_asks(card, provider):
    """
    Whoever wrote the payment down.
    """
    card.owe("12")
    inner = card.billing.collection
    (found,) = inner._context.read(lambda work: work.payments.collectable(card.billing.clock(), limit=9))

    assert inner._collect(*found) is not None
    assert inner._collect(*found) is None


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_crash_at_any_call_collects_once(kind):
    """
    Of the store; whoever collects next finishes what was begun.
    """

    def prepared(provider: RehearsedProvider) -> Till:
        if kind == "memory":
            storage: Storage = MemoryStorage()
        else:
            sql = SqlStorage("sqlite://")
            sql.migrate()
            storage = sql
        till = paying(storage, provider)
        till.owe("12")
        return till

    def act(till: Till, storage: Any, provider: RehearsedProvider) -> None:
        billing = Rehearsal(storage, clock=till.billing.clock, seed=7, providers=(provider,))
        billing.collection.collect_due()

    provider = RehearsedProvider()
    till = prepared(provider)
    counted = failing(till.billing._context.storage, at=None)
    act(till, counted, provider)
    expected = till.accounts
    # Every one in memory; on SQLite, where each needs a schema, every fifth.
    for at in range(1, counted.calls + 1, 1 if kind == "memory" else 5):
        provider = RehearsedProvider()
        till = prepared(provider)
        storage = till.billing._context.storage
        with pytest.raises(NerubaError):
            act(till, failing(storage, at=at), provider)
        till.at(till.billing.clock() + timedelta(hours=1))
        till.billing.payments.settle_pending()
        till.billing.collection.collect_due()
        assert len(provider.charged) == 1
        assert till.accounts == expected
        assert till.proved()
        storage.close()
