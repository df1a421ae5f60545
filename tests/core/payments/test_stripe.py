"""Stripe, spoken to by its own library: what we ask, and what becomes of each kind of answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from neruba_core.payments.model import Payment
from neruba_core.payments.stripe import StripeProvider, micros_of, minor_units
from neruba_core.storage.memory.storage import MemoryStorage
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.stripe import StripeStandIn
from tests.core.payments.stage import Till


@pytest.fixture
def stripe() -> Iterator[StripeStandIn]:
    with StripeStandIn() as stand_in:
        stand_in.add_customer("cus_1", usual_method="pm_usual")
        yield stand_in


@pytest.fixture
def card(stripe: StripeStandIn) -> Till:
    return carded(stripe)


def carded(stripe: StripeStandIn, method: str | None = "pm_card_visa", seed: int = 0, **details: Any) -> Till:
    provider = StripeProvider("sk_test_1", api_base=stripe.url, seconds=5)
    till = Till(Rehearsal(MemoryStorage(), seed=seed, providers=(provider,)), **details)
    till.billing.payments.set_method(till.id, provider="stripe", customer="cus_1", method=method)
    return till


def pay(till: Till, amount: str = "12", *args: Any) -> Payment:
    return till.pay(amount, *args, provider="stripe")


def later(till: Till, **by: float) -> list[str]:
    till.at(till.billing.clock() + timedelta(**(by or {"hours": 1})))
    return [each.status.value for each in till.billing.payments.settle_pending()]


def test_a_saved_card_is_charged_and_the_fee_booked(card, stripe):
    """
    Confirmed at once and without the customer, under the id of our payment.
    """
    invoice = card.owe("12")

    payment = pay(card, "12", invoice)

    (intent,) = stripe.intents.values()
    assert (intent["amount"], intent["currency"], intent["payment_method"]) == (1200, "usd", "pm_card_visa")
    assert intent["metadata"] == {"neruba_payment": payment.id, "neruba_project": card.id}
    assert stripe.requests == [("POST", "/v1/payment_intents", payment.id)]
    assert (payment.status.value, payment.provider_id) == ("succeeded", intent["id"])
    assert card.accounts["cash:stripe"] == "11.340000"
    assert card.accounts["provider_fees"] == "0.660000"
    assert card.stands(invoice) == ("paid", "0.000000")
    assert card.proved()


def test_without_a_method_the_customers_usual_one_pays(stripe):
    """
    Stripe is asked which that is.
    """
    till = carded(stripe, method=None)

    pay(till)

    assert [intent["payment_method"] for intent in stripe.intents.values()] == ["pm_usual"]


def test_a_declined_card_is_an_answer(stripe):
    """
    With Stripe's own words for it; the payment intent is known all the same.
    """
    till = carded(stripe, method="pm_card_chargeDeclined")

    payment = pay(till)

    assert (payment.status.value, payment.failure) == ("failed", "card_declined: generic_decline")
    assert payment.provider_id in stripe.intents
    assert till.balance == "0.000000"


def test_a_question_that_stripe_does_not_take_is_an_answer(stripe):
    """
    Such as a customer that it does not know.
    """
    till = carded(stripe)
    till.billing.payments.set_method(till.id, provider="stripe", customer="cus_of_nobody", method="pm_1")

    assert pay(till).failure == "resource_missing"


@pytest.mark.parametrize("fault", ["lost", "hang_up", "409", "429", "500"])
def test_what_is_no_answer_leaves_the_payment_pending(card, stripe, fault):
    """
    Asked again under the same key, and taken once.
    """
    stripe.break_with(fault)

    payment = pay(card)
    assert payment.status.value == "pending"

    assert later(card) == ["succeeded"]
    assert len(stripe.intents) == 1
    keys = {key for method, _, key in stripe.requests if method == "POST"}
    assert keys == {payment.id}
    assert card.balance == "12.000000"
    assert card.proved()


def test_an_answer_that_was_lost_is_found_by_our_id_long_after(card, stripe):
    """
    When Stripe has forgotten the key, it is looked for and not asked for.
    """
    stripe.break_with("lost")
    pay(card)
    stripe.requests.clear()

    assert later(card, days=3) == ["succeeded"]

    assert [path for _, path, _ in stripe.requests] == ["/v1/payment_intents/search"]


def test_what_stripe_never_saw_is_given_up_after_a_day(card, stripe):
    """
    Nobody asks again under a key that may be forgotten.
    """
    stripe.break_with("hang_up")
    pay(card)

    assert later(card, days=1) == ["failed"]

    assert stripe.intents == {}


def test_a_payment_that_takes_its_time_is_settled_when_it_ends(stripe):
    """
    As debits of a bank account do.
    """
    for seed, paid in enumerate((True, False)):
        till = carded(stripe, method="pm_processing", seed=seed)
        payment = pay(till)
        assert (payment.status.value, later(till)) == ("pending", ["pending"])

        stripe.finish(payment.provider_id, paid=paid)

        assert later(till, hours=2) == ["succeeded" if paid else "failed"]
        assert till.balance == ("12.000000" if paid else "0.000000")


def test_money_goes_back_through_stripe(card, stripe):
    """
    It is owed until Stripe has paid it out, and leaves Stripe's till.
    """
    payment = pay(card, "20")
    stripe.break_with("lost")

    pending = card.refund(payment, "5")
    assert (pending.status.value, card.accounts["refundable"]) == ("pending", "-5.000000")
    assert later(card) == ["succeeded"]
    second = card.refund(payment, "15")

    assert second.status.value == "succeeded"
    assert [
        each["amount"] for each in stripe.refunds.values() if each["payment_intent"] in stripe.intents
    ] == [
        500,
        1500,
    ]
    assert card.balance == "0.000000"
    assert "refundable" not in card.accounts or card.accounts["refundable"] == "0.000000"
    assert card.proved()


def test_a_refund_that_stripe_refuses_gives_the_money_back_to_the_project(card, stripe):
    """
    The invoice is paid again, and the rest is credit.
    """
    invoice = card.owe("12")
    payment = pay(card, "20", invoice)
    stripe.dispute(payment.provider_id)

    refused = card.refund(payment, "15")

    assert (refused.status.value, refused.failure) == ("failed", "charge_disputed")
    assert card.stands(invoice) == ("paid", "0.000000")
    assert card.balance == "8.000000"
    assert card.billing.payments.get(card.id, payment.id).refunded_micros == 0
    assert card.proved()


@pytest.mark.parametrize(
    ("currency", "amount", "minor"),
    [
        ("USD", "12.34", 1234),
        ("JPY", "1234", 1234),
        ("KWD", "1.230", 1230),
        ("ISK", "12", 1200),
        ("UGX", "12", 1200),
        ("MGA", "12", 12),
        ("KWD", "1.234", None),
        ("MGA", "12.5", None),
    ],
)
def test_amounts_are_counted_as_stripe_counts_them(currency, amount, minor):
    """
    By ISO 4217 but for three currencies; three decimals end in a zero.
    """
    from neruba_core import money

    micros = money.parse_positive(amount)

    assert minor_units(micros, currency) == minor
    if minor is not None:
        assert micros_of(minor, currency) == micros


def test_an_amount_that_stripe_does_not_have_is_asked_of_nobody(stripe):
    """
    It fails where it stands.
    """
    till = carded(stripe, currency="KWD")

    assert pay(till, "1.234").failure == "Stripe has no such amount of KWD"
    assert stripe.requests == []


def test_the_key_is_shown_by_nothing(stripe, caplog):
    """
    Neither by the provider nor in what is logged of a failure.
    """
    provider = StripeProvider("sk_live_secret", webhook_secret="whsec_secret", api_base=stripe.url)
    stripe.break_with("500")
    till = Till(Rehearsal(MemoryStorage(), providers=(provider,)))
    till.billing.payments.set_method(till.id, provider="stripe", customer="cus_1", method="pm_1")

    pay(till)

    assert "secret" not in repr(provider) + caplog.text
    assert "status 500" in caplog.text
