"""Refunds: a payment is undone from its end."""

from __future__ import annotations

import pytest

from neruba_core.errors import (
    AmountNotPayable,
    KeyReused,
    PaymentNotFound,
    RefundExceedsPayment,
    StorageUnavailable,
)
from neruba_core.idempotency.outcomes import Replayed
from neruba_core.storage.memory.storage import MemoryStorage
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.failing import failing
from tests.core.payments.stage import Till


def test_a_refunded_invoice_is_open_again(acme):
    """
    By what went back, and the till has as much less.
    """
    invoice = acme.owe("12")
    payment = acme.pay("12", invoice)

    refund = acme.refund(payment, "5")

    assert refund.payment_id == payment.id
    assert acme.stands(invoice) == ("finalized", "5.000000")
    assert acme.accounts["receivable"] == "5.000000"
    assert acme.accounts["cash:manual"] == "7.000000"
    assert acme.accounts.get("refundable", "0.000000") == "0.000000"
    booked = acme.billing.ledger.transaction(acme.id, refund.transaction_id)
    assert (booked.type.value, booked.description) == ("refund", "asked for")
    assert acme.proved()

    acme.pay("5", invoice)
    assert acme.stands(invoice) == ("paid", "0.000000")


def test_what_a_top_up_granted_is_clawed_back(acme):
    """
    From its own grant.
    """
    payment = acme.pay("30")
    acme.charge("10")

    acme.refund(payment, "15")

    assert acme.balance == "5.000000"
    assert acme.proved()


def test_a_refund_takes_nothing_from_credit_for_some_metrics(acme):
    """
    What has been spent of the top-up becomes overdraft instead.
    """
    payment = acme.pay("30")
    acme.charge("10")
    acme.credit("50", metric_keys=["tokens"])

    acme.refund(payment, "30")

    (grant,) = acme.billing.wallets.get(acme.id).grants
    assert (grant.metric_keys, str(grant.remaining)) == (("tokens",), "50.000000")
    assert acme.accounts["overdraft"] == "10.000000"
    assert acme.proved()


def test_what_has_been_spent_of_a_top_up_becomes_overdraft(acme):
    """
    After other credit, and even beyond the limit.
    """
    payment = acme.pay("30")
    acme.charge("30")
    acme.credit("4")

    acme.refund(payment, "30")

    assert acme.balance == "-26.000000"
    assert acme.accounts["overdraft"] == "26.000000"
    assert acme.proved()


def test_credit_goes_back_before_invoices_and_the_last_paid_before_the_named_one(acme):
    """
    Newest first, so that the invoice that was meant is the last to be open again.
    """
    named, other = acme.owe("10"), acme.owe("20")
    payment = acme.pay("36", named)

    acme.refund(payment, "5")
    assert (acme.balance, acme.stands(other)[1]) == ("1.000000", "0.000000")
    acme.refund(payment, "11")
    assert (acme.balance, acme.stands(other)[1], acme.stands(named)[1]) == (
        "0.000000",
        "10.000000",
        "0.000000",
    )
    acme.refund(payment, "20")

    assert (acme.stands(other)[1], acme.stands(named)[1]) == ("20.000000", "10.000000")
    assert acme.allocated(payment) == {}
    assert acme.billing.payments.get(acme.id, payment.id).refunded_micros == 36_000_000
    assert len(acme.billing.payments.refunds(acme.id, payment.id)) == 3
    assert acme.proved()


def test_a_payment_gives_back_what_it_was_at_most(acme):
    """
    All refunds together.
    """
    payment = acme.pay("10")
    acme.refund(payment, "8")

    with pytest.raises(RefundExceedsPayment, match=r"only 2\.000000"):
        acme.refund(payment, "2.01")
    with pytest.raises(AmountNotPayable):
        acme.refund(payment, "0.001")
    with pytest.raises(PaymentNotFound):
        acme.billing.payments.refund(acme.id, "pay_none", amount="1", reason="?", idempotency_key="k")


def test_the_same_key_refunds_once(acme):
    """
    The same request gives the same refund.
    """
    payment = acme.pay("10")
    fields = {"amount": "4", "reason": "asked for", "idempotency_key": "back"}

    first = acme.billing.payments.refund(acme.id, payment.id, **fields)
    again = acme.billing.payments.refund(acme.id, payment.id, **fields)
    with pytest.raises(KeyReused):
        acme.billing.payments.refund(acme.id, payment.id, **fields | {"reason": "another"})

    assert again == Replayed(first.value)
    assert acme.balance == "6.000000"


def test_a_crash_at_any_point_refunds_once_or_not_at_all():
    """
    And the retry ends in exactly one.
    """

    def prepared() -> Till:
        till = Till(Rehearsal(MemoryStorage()))
        invoice = till.owe("12")
        till.pay("20", invoice)
        return till

    def back(storage, till):
        engine = Rehearsal(storage, clock=till.billing.clock, seed=7)
        payment = engine.payments.list(till.id).items[0]
        engine.payments.refund(till.id, payment.id, amount="15", reason="asked for", idempotency_key="back")

    till = prepared()
    counted = failing(till.billing._context.storage, at=None)
    back(counted, till)
    expected = till.accounts
    for at in range(1, counted.calls + 1):
        till = prepared()
        storage = till.billing._context.storage
        with pytest.raises(StorageUnavailable):
            back(failing(storage, at=at), till)
        back(storage, till)
        assert till.accounts == expected
        assert till.proved()
