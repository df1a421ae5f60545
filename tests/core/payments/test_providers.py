"""Payments through a provider: written down before it is asked, booked once whatever it does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from neruba_core.audit.model import SYSTEM
from neruba_core.errors import (
    NerubaError,
    PaymentInsideUnit,
    PaymentMethodMissing,
    PaymentMethodNotFound,
    ProjectArchived,
    ProviderUnknown,
    TextInvalid,
)
from neruba_core.idempotency.outcomes import Accepted, Replayed
from neruba_core.namespaces.desks import desk_of
from neruba_core.payments import settling
from neruba_core.payments.model import Payment, PaymentStatus, Refund
from neruba_core.payments.provider import Answer
from neruba_core.storage.memory.storage import MemoryStorage
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.provider import RehearsedProvider
from tests.core.payments.stage import Till

HOUR = timedelta(hours=1)


@pytest.fixture
def provider() -> RehearsedProvider:
    return RehearsedProvider()


@pytest.fixture
def card(provider: RehearsedProvider) -> Till:
    """A project that pays through the provider."""
    return carded(Till(Rehearsal(MemoryStorage(), providers=(provider,))))


def carded(till: Till) -> Till:
    till.billing.payments.set_method(till.id, provider="rehearsed", customer="cus_1", method="pm_1")
    return till


def pay(till: Till, amount: str = "12", *args: Any, **fields: Any) -> Payment:
    return till.pay(amount, *args, provider="rehearsed", **fields)


def settle(till: Till, after: timedelta = HOUR) -> list[str]:
    """What has become of the pending payments a while later."""
    till.at(till.billing.clock() + after)
    return [payment.status.value for payment in till.billing.payments.settle_pending()]


def test_what_the_provider_takes_is_booked(card, provider):
    """
    On an account of the provider's own.
    """
    invoice = card.owe("12")

    payment = pay(card, "12", invoice)

    assert (payment.status.value, payment.tries, payment.due_at) == ("succeeded", 1, None)
    assert payment.provider_id == f"re_{payment.digits}"
    (ask,) = provider.asked
    assert (ask.payment_id, ask.customer, ask.method, ask.currency) == (payment.id, "cus_1", "pm_1", "USD")
    assert card.stands(invoice) == ("paid", "0.000000")
    assert card.accounts["cash:rehearsed"] == "12.000000"
    assert card.proved()


def test_a_declined_payment_fails_with_its_reason(card, provider):
    """
    Nothing is booked, the invoice stays open, and another attempt is another payment.
    """
    invoice = card.owe("12")
    provider.then(["decline"])

    failed = pay(card, "12", invoice)
    second = pay(card, "12", invoice)

    assert (failed.status.value, failed.failure, failed.transaction_id) == ("failed", "card_declined", None)
    assert second.status.value == "succeeded"
    change = [each.action for each in card.billing.audit.changes(card.id).items]
    assert change[1] == "payment.failed"
    assert card.proved()


@pytest.mark.parametrize("plan", [["lose"], ["drop"], ["drop", "drop", "lose"], ["wait"]])
def test_what_nobody_knows_stays_pending_until_it_is_known(card, provider, plan):
    """
    However the answer was lost, the money is taken once and booked once.
    """
    provider.then(plan)

    payment = pay(card, "12")
    assert payment.status.value == "pending"
    assert card.balance == "0.000000"
    if plan == ["wait"]:
        assert settle(card) == ["pending"]
        provider.finish(payment.id, PaymentStatus.SUCCEEDED)
    while card.billing.payments.get(card.id, payment.id).status is PaymentStatus.PENDING:
        settle(card)

    assert list(provider.charged) == [payment.id]
    assert card.balance == "12.000000"
    assert settle(card) == []
    assert card.proved()


def test_asking_again_says_the_same(card, provider):
    """
    A new card counts for new payments: under an old id the provider would refuse another question.
    """
    provider.then(["drop"])
    pay(card, "12")
    card.billing.payments.set_method(card.id, provider="rehearsed", customer="cus_2")

    settle(card)
    pay(card, "1")

    assert [ask.customer for ask in provider.asked] == ["cus_1", "cus_1", "cus_2"]
    assert provider.asked[0] == provider.asked[1]


def test_what_was_never_heard_of_is_given_up_and_not_asked_for_again(card, provider):
    """
    Once the provider may have forgotten our id, asking again might take the money twice.
    """
    provider.then(["drop"])
    payment = pay(card, "12")

    assert settle(card, timedelta(hours=24)) == ["failed"]

    assert len(provider.asked) == 1
    assert card.billing.payments.get(card.id, payment.id).failure == "the provider never heard of it"


def test_money_that_comes_after_all_is_booked(card, provider):
    """
    A payment that was given up and paid is paid; a payment that was paid is never given up.
    """
    provider.then(["wait"])
    payment = pay(card, "12")
    provider.finish(payment.id, PaymentStatus.FAILED, "expired")
    assert settle(card) == ["failed"]
    engine = card.billing.payments

    for status in (PaymentStatus.SUCCEEDED, PaymentStatus.SUCCEEDED, PaymentStatus.FAILED):
        answered(card, payment, Answer(status))

    settled = engine.get(card.id, payment.id)
    assert (settled.status.value, settled.failure) == ("succeeded", None)
    assert card.balance == "12.000000"
    assert card.proved()


def answered(till: Till, asked: Payment | Refund, answer: Answer) -> None:
    """As if the provider had just said so."""
    write: Any = settling.settle if isinstance(asked, Payment) else settling.settle_refund
    context = till.billing.payments._context
    context.write(lambda work: write(desk_of(context, work, till.id, SYSTEM), asked.id, answer))


def test_a_fee_is_booked_once_however_late_it_is_told(card):
    """
    With the money or after it.
    """
    payment = pay(card, "12")

    for fee in (0, 650_000, 650_000):
        answered(card, payment, Answer(PaymentStatus.SUCCEEDED, fee_micros=fee))

    assert card.accounts["provider_fees"] == "0.650000"
    assert card.accounts["cash:rehearsed"] == "11.350000"
    assert card.billing.payments.get(card.id, payment.id).fee_micros == 650_000
    assert card.proved()


def test_inside_a_unit_nobody_is_asked(card, provider):
    """
    The payment is pending and due; whoever asks does so when it is committed.
    """
    with card.billing.work() as bound:
        pending = bound.payments.pay(
            card.id, amount="12", provider="rehearsed", idempotency_key="inside"
        ).value
        with pytest.raises(PaymentInsideUnit):
            bound.payments.resolve(card.id, pending.id)
        with pytest.raises(PaymentInsideUnit):
            bound.payments.settle_pending()
    assert (pending.status.value, provider.asked) == ("pending", [])

    (settled,) = card.billing.payments.settle_pending()

    assert (settled.id, settled.status.value) == (pending.id, "succeeded")


def test_of_two_who_resolve_a_payment_one_asks(card, provider):
    """
    Whoever has set out is given time.
    """
    provider.then(["drop"])
    payment = pay(card, "12")

    again = card.billing.payments.resolve(card.id, payment.id)

    assert again.status.value == "pending"
    assert len(provider.asked) == 1


def test_the_same_key_asks_once(card, provider):
    """
    A replay tells how the payment stands now.
    """
    first = card.billing.payments.pay(card.id, amount="12", provider="rehearsed", idempotency_key="k")
    again = card.billing.payments.pay(card.id, amount="12", provider="rehearsed", idempotency_key="k")

    assert (type(first), type(again)) == (Accepted, Replayed)
    assert again.value == first.value
    assert len(provider.asked) == 1


def test_a_refund_is_owed_until_the_provider_has_paid_it_out(card, provider):
    """
    However the answer was lost, the money leaves once.
    """
    payment = pay(card, "12")
    provider.then(["lose"])

    refund = card.refund(payment, "5")

    assert (refund.status.value, refund.due_at is not None) == ("pending", True)
    assert card.accounts["refundable"] == "-5.000000"
    assert card.billing.payments.get(card.id, payment.id).refunded_micros == 5_000_000
    assert settle(card) == ["succeeded"]
    assert "refundable" not in card.accounts
    assert card.accounts["cash:rehearsed"] == "7.000000"
    assert list(provider.returned) == [refund.id]
    assert settle(card) == []
    assert card.proved()


@pytest.mark.parametrize("paid_meanwhile", [False, True])
def test_a_refund_that_fails_gives_the_project_its_money_again(card, provider, paid_meanwhile):
    """
    The invoice is settled again where it is open still; the rest is credit.
    """
    invoice = card.owe("12")
    payment = pay(card, "20", invoice)
    provider.then(["wait"])
    refund = card.refund(payment, "15")
    assert card.stands(invoice) == ("finalized", "7.000000")
    if paid_meanwhile:
        card.pay("7", invoice)
    provider.finish(refund.id, PaymentStatus.FAILED, "account closed")

    assert settle(card) == ["failed"]

    assert card.stands(invoice) == ("paid", "0.000000")
    assert card.balance == ("15.000000" if paid_meanwhile else "8.000000")
    assert card.billing.payments.get(card.id, payment.id).refunded_micros == 0
    assert card.refund(payment, "20").status.value == "succeeded"
    assert card.accounts.get("cash:rehearsed", "0.000000") == "0.000000"
    assert card.proved()


def test_money_that_a_bank_sends_back_is_in_the_till_again(card, provider):
    """
    Even after the refund had succeeded; twice told is once booked.
    """
    payment = pay(card, "12")
    refund = card.refund(payment, "5")

    for status in (PaymentStatus.FAILED, PaymentStatus.FAILED, PaymentStatus.SUCCEEDED):
        answered(card, refund, Answer(status, failure="account closed"))

    assert card.accounts["cash:rehearsed"] == "12.000000"
    assert card.balance == "12.000000"
    assert card.proved()


def test_a_project_says_how_it_pays(card):
    """
    One method at a time; removing it twice is removing it.
    """
    payments = card.billing.payments
    assert payments.method(card.id).method == "pm_1"

    payments.set_method(card.id, provider="rehearsed", customer="cus_2", collects_invoices=False)

    named = payments.method(card.id)
    assert (named.customer, named.method, named.collects) == ("cus_2", None, False)
    payments.remove_method(card.id)
    payments.remove_method(card.id)
    with pytest.raises(PaymentMethodNotFound):
        payments.method(card.id)
    with pytest.raises(PaymentMethodMissing):
        pay(card, "1")
    actions = [each.action for each in card.billing.audit.changes(card.id).items][:3]
    assert actions == ["payment_method.removed", "payment_method.set", "payment_method.set"]


def test_what_no_method_can_be_is_refused(card):
    """
    Nobody pays by a provider that is not here, and money in hand needs no method.
    """
    payments = card.billing.payments
    refused: list[tuple[type[NerubaError], dict[str, Any]]] = [
        (ProviderUnknown, {"provider": "piggybank", "customer": "cus_1"}),
        (ProviderUnknown, {"provider": "manual", "customer": "cus_1"}),
        (TextInvalid, {"provider": "rehearsed", "customer": ""}),
    ]
    for error, fields in refused:
        with pytest.raises(error):
            payments.set_method(card.id, **fields)

    card.billing.projects.archive(card.id)
    with pytest.raises(ProjectArchived):
        payments.set_method(card.id, provider="rehearsed", customer="cus_1")


def test_one_payment_in_trouble_does_not_hold_up_the_others(card, provider, caplog):
    """
    It is logged and stays pending.
    """
    provider.then(["drop", "drop", "break"])
    first, second = pay(card, "1"), pay(card, "2")

    assert settle(card) == ["succeeded"]

    assert card.billing.payments.get(card.id, second.id).status.value == "succeeded"
    assert card.billing.payments.get(card.id, first.id).status.value == "pending"
    assert first.id in caplog.text
