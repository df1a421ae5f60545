"""What listeners are told of: each thing once, as its route shows it, with what it tells of or not at all."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from neruba_core.charges.charge import NewCharge
from neruba_core.errors import HoldClosed, InsufficientCredit, InvoiceSettled
from neruba_core.outbox.model import MessageType
from neruba_core.testing.failing import failing
from tests.core.billing.stage import MARCH, Months
from tests.core.outbox.stage import Heard


def test_a_charge_and_the_credit_that_it_draws(acme: Heard):
    """
    One message each, with the very bytes that the command was answered with; a retry tells nothing.
    """
    credit = acme.credit("10")
    charge = NewCharge.of(amount="4", description="GPU", idempotency_key="gpu")
    for _ in range(2):
        acme.billing.charges.charge_many(acme.id, [charge])
    charged = acme.billing.ledger.transactions(acme.id).items[0]

    assert acme.told() == [("credit.granted", credit.id), ("charge.created", charged.id)]
    assert f'"data":{charged.body}' in acme.messages[1].body


def test_what_is_refused_tells_nothing(acme: Heard):
    """
    Nothing happened.
    """
    with pytest.raises(InsufficientCredit):
        acme.charge("4")

    assert acme.told() == []


def test_a_capture_is_a_charge(acme: Heard):
    """
    Told of as the transaction that it is, which names the hold.
    """
    acme.credit("10")
    held = acme.billing.holds.reserve(acme.id, amount="5", description="GPU", idempotency_key="hold").value
    acme.billing.holds.capture(acme.id, held.id, amount="3", idempotency_key="capture")

    (told,) = acme.told("charge.created")
    assert (told["amount"], told["metadata"]) == ("3.000000", {"holdId": held.id})


def test_a_hold_whose_time_is_over(acme: Heard):
    """
    Told of once, by whoever writes it down first; a command that is refused writes nothing down.
    """
    acme.credit("10")
    held = acme.billing.holds.reserve(acme.id, amount="5", description="GPU", idempotency_key="hold").value
    acme.at(held.hold.expires_at)
    with pytest.raises(HoldClosed):
        acme.billing.holds.capture(acme.id, held.id, idempotency_key="late")
    assert acme.told("hold.expired") == []
    acme.charge("1")

    (told,) = acme.told("hold.expired")
    assert (told["id"], told["state"], told["available"]) == (held.id, "expired", "9.000000")


def test_a_hold_that_nobody_asks_about_any_more(acme: Heard):
    """
    The schedule writes down that its time is over, and so it is told of without any traffic.
    """
    acme.credit("10")
    held = acme.billing.holds.reserve(acme.id, amount="5", description="GPU", idempotency_key="hold").value
    acme.at(held.hold.expires_at)
    for _ in range(2):
        acme.billing.schedule.tick()

    assert [told["id"] for told in acme.told("hold.expired")] == [held.id]


def test_what_a_strict_project_cannot_place(acme: Heard):
    """
    Told of with what was sent; the resend of it finds the row that waits and tells nothing.
    """
    acme.set(metric_policy="strict")
    waiting = [acme.use("1", metric="unheard_of", idempotency_key="same") for _ in range(2)]

    (told,) = acme.told("usage.quarantined")
    assert [told["id"]] * 2 == waiting
    assert (told["outcome"], told["metricKey"], told["units"]) == ("quarantined", "unheard_of", "1.000000")
    assert told["reason"] == "no metric of this key is declared"


def test_late_usage_that_waits_for_support(acme: Heard):
    """
    It is recorded and not billed, so support has to hear of it as well.
    """
    acme.set(late_usage_policy="quarantine")
    acme.owe("10")
    usage_id = acme.use("3", MARCH)

    (told,) = acme.told("usage.quarantined")
    assert (told["id"], told["outcome"]) == (usage_id, "quarantined")
    assert told["reason"].startswith("late")


def test_an_invoice_from_draft_to_paid(acme: Heard):
    """
    A draft is told of when it says something new, and each state once.
    """
    acme.use("10")
    draft = acme.bill()
    acme.bill()
    acme.at(MARCH + timedelta(days=33))
    issued = acme.bill(finalize=True)
    acme.bill(finalize=True)
    acme.pay("4", issued)
    payment = acme.pay("6", issued)
    with pytest.raises(InvoiceSettled):
        acme.pay("1", issued)

    invoices = [(type, id) for type, id in acme.told() if type.startswith("invoice.")]
    assert invoices == [
        ("invoice.draft", draft.id),
        ("invoice.finalized", issued.id),
        ("invoice.paid", issued.id),
    ]
    (paid,) = acme.told("invoice.paid")
    assert (paid["state"], paid["paid"]) == ("paid", "10.000000")
    assert [told["id"] for told in acme.told("payment.succeeded")][-1] == payment.id


def test_an_invoice_that_is_voided(acme: Heard):
    """
    Once, with why.
    """
    invoice = acme.owe("10")
    for _ in range(2):
        acme.void(invoice)

    (told,) = acme.told("invoice.voided")
    assert (told["id"], told["state"], told["voidReason"]) == (invoice.id, "void", "wrong")


def test_a_credit_note_that_settles_and_grants(acme: Heard):
    """
    What it settles pays the invoice; what had been paid is granted.
    """
    invoice = acme.owe("10")
    acme.pay("8", invoice)
    acme.credit_note(invoice, "5")

    assert [told["id"] for told in acme.told("invoice.paid")] == [invoice.id]
    (granted,) = acme.told("credit.granted")
    assert granted["type"] == "credit_note"


def test_money_that_is_given_back(acme: Heard):
    """
    Told of as the payment with what of it went back; the top-up was told of as its transaction.
    """
    payment = acme.pay("8")
    acme.refund(payment, "5")

    (refunded,) = acme.told("payment.refunded")
    assert (refunded["id"], refunded["refunded"]) == (payment.id, "5.000000")
    (topped_up,) = acme.told("wallet.topped_up")
    assert topped_up["grantId"] == payment.grant_id


def test_messages_count_from_one_without_gaps(acme: Heard):
    """
    So that a receiver can put them in order, and sees what is still under way.
    """
    for _ in range(3):
        acme.credit("1")
    acme.owe("10")

    bodies = [json.loads(message.body) for message in acme.messages]
    assert [body["sequence"] for body in bodies] == list(range(1, len(bodies) + 1))


def test_only_what_was_asked_for(billing):
    """
    An endpoint takes the types that it was made for.
    """
    acme = Heard(billing)
    picky = acme.listen("invoice.paid", "credit.granted")
    acme.credit("1")
    acme.charge("1")

    of_picky = [each.type for each in acme.deliveries if each.endpoint_id == picky.id]
    assert of_picky == ["credit.granted"]
    assert [each.type for each in acme.deliveries if each.endpoint_id == acme.endpoint.id] == [
        "credit.granted",
        "charge.created",
    ]


def test_whoever_is_not_listened_to_pays_nothing(billing):
    """
    Not one call of the outbox's store, whatever happens in the unit: the project's row says it.
    """
    acme = Months(billing)
    acme.credit("10")
    storage, context = failing(billing._context.storage, at=None), billing._context
    object.__setattr__(context, "storage", storage)

    acme.charge("1")
    acme.use("1")
    acme.set(metric_policy="strict")
    acme.use("1", metric="unheard_of")

    assert [call for call in storage.trace if call.startswith("outbox.")] == []


def test_the_last_endpoint_that_goes_takes_the_marker_with_it(acme: Heard):
    """
    And the first that comes brings it.
    """
    other = acme.listen("credit.granted")

    assert acme.billing.projects.get(acme.id).listens
    acme.billing.webhooks.delete(acme.id, other.id)
    assert acme.billing.projects.get(acme.id).listens
    acme.billing.webhooks.delete(acme.id, acme.endpoint.id)
    assert not acme.billing.projects.get(acme.id).listens
    acme.credit("1")
    assert acme.told() == []


def test_every_type_is_known_here():
    """
    A new type fails this until it has a test: key.expiring is told of by the ticker, payment.failed and
    wallet.low by those who decide them.
    """
    elsewhere = {"key.expiring", "payment.failed", "wallet.low"}
    here = {
        "charge.created",
        "credit.granted",
        "hold.expired",
        "invoice.draft",
        "invoice.finalized",
        "invoice.paid",
        "invoice.voided",
        "payment.refunded",
        "payment.succeeded",
        "usage.quarantined",
        "wallet.topped_up",
    }
    assert {type.value for type in MessageType} == here | elsewhere
