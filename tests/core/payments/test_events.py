"""What Stripe tells by itself: proved, kept, and booked once, in whatever order and however often it
comes."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from stripe import APIConnectionError, SignatureVerificationError, Webhook, WebhookSignature

from neruba_core.errors import (
    PaymentInsideUnit,
    ProviderEventNotFound,
    ProviderUnavailable,
    ProviderUnknown,
    SignatureInvalid,
    WebhookSecretUnset,
)
from neruba_core.instants import now
from neruba_core.payments.model import EventState, Payment
from neruba_core.payments.stripe import StripeProvider
from neruba_core.storage.memory.storage import MemoryStorage
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.clock import Stops
from neruba_core.testing.stripe import SECRET, StripeStandIn
from tests.core.payments.stage import Till


@pytest.fixture
def stripe() -> Iterator[StripeStandIn]:
    with StripeStandIn() as stand_in:
        yield stand_in


@pytest.fixture
def card(stripe: StripeStandIn) -> Till:
    return paying(stripe)


def paying(stripe: StripeStandIn, seed: int = 0, kind: type[StripeProvider] = StripeProvider) -> Till:
    provider = kind("sk_test_1", webhook_secret=SECRET, api_base=stripe.url, seconds=5)
    if isinstance(provider, InProcess):
        provider.stand_in = stripe
    till = Till(Rehearsal(MemoryStorage(), seed=seed, providers=(provider,)))
    stripe.add_customer("cus_1")
    till.billing.payments.set_method(till.id, provider="stripe", customer="cus_1", method="pm_card_visa")
    return till


def pay(till: Till, amount: str = "20", *args: Any) -> Payment:
    return till.pay(amount, *args, provider="stripe")


class InProcess(StripeProvider):
    """Asks the stand-in without a network in between: thousands of questions would take minutes."""

    stand_in: StripeStandIn

    def _create(self, kind: str, params: dict[str, Any], key: str) -> dict[str, Any]:
        fault = self.stand_in.fault()
        if fault not in (None, "lost"):
            raise APIConnectionError(fault)
        plain = _copied(params)
        plain["expand"] = dict(enumerate(plain.get("expand", ())))
        status, body = self.stand_in.answer("POST", f"/v1/{kind}", plain, key)
        assert status == 200, body
        if fault is not None:
            raise APIConnectionError(fault)
        return _copied(body)

    def _retrieve(self, kind: str, row_id: str, **params: Any) -> dict[str, Any]:
        params["expand"] = dict(enumerate(params.get("expand", ())))
        return _copied(self.stand_in.answer("GET", f"/v1/{kind}/{row_id}", params, None)[1])

    def _list(self, kind: str, intent_id: str | None) -> list[dict[str, Any]]:
        listed = self.stand_in.answer("GET", f"/v1/{kind}", {"payment_intent": intent_id}, None)[1]
        return list(_copied(listed)["data"])

    def _search(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        params["expand"] = dict(enumerate(params["expand"]))
        found = self.stand_in.answer("GET", "/v1/payment_intents/search", params, None)[1]
        return list(_copied(found)["data"])


def _copied(answer: Any) -> dict[str, Any]:
    """As if it had been sent."""
    copy: dict[str, Any] = json.loads(json.dumps(answer))
    return copy


def tell(till: Till, stripe: StripeStandIn, events: list[dict[str, Any]] | None = None) -> list[bool]:
    """Deliver all that has happened, or *events*; which of it was new."""
    told = stripe.events if events is None else events
    return [till.billing.provider_events.receive("stripe", *stripe.signed(event)) for event in told]


def process(till: Till) -> None:
    while till.billing.provider_events.process():
        pass


def states(till: Till) -> set[str]:
    return {event.state.value for event in till.billing.provider_events.list(limit=200).items}


def test_only_what_stripe_signed_lately_is_kept(card, stripe):
    """
    Not with another secret, another body, an old stamp, or none; and nothing at all without a secret.
    """
    pay(card)
    event = stripe.events[0]
    payload, signature = stripe.signed(event)
    receive = card.billing.provider_events.receive
    old = stripe.signed(event, at=(now() - timedelta(minutes=6)).timestamp())
    wrong: list[tuple[bytes, str | None]] = [
        (payload + b" ", signature),
        (payload, signature.replace("v1=", "v1=0")),
        (payload, f"t=1,v1={signature[-64:]}"),
        (payload, "nonsense"),
        (payload, ""),
        (payload, None),
        (b"\xff", signature),
        old,
    ]

    for body, header in wrong:
        with pytest.raises(SignatureInvalid):
            receive("stripe", body, header)
    with pytest.raises(ProviderUnknown):
        receive("manual", payload, signature)
    with pytest.raises(WebhookSecretUnset):
        Rehearsal(MemoryStorage(), providers=(StripeProvider("sk"),)).provider_events.receive(
            "stripe", payload, signature
        )

    assert card.billing.provider_events.list().items == ()
    assert receive("stripe", payload, signature)


def test_what_is_signed_but_no_event_is_not_kept(card, stripe):
    """
    Such as a signed list.
    """
    wrong: list[Any] = [[], {"id": "evt_1"}, {"id": "evt_1", "type": "x", "data": {"object": []}}]
    for nonsense in wrong:
        with pytest.raises(SignatureInvalid):
            card.billing.provider_events.receive("stripe", *stripe.signed(nonsense))


def test_the_library_verifies_what_the_stand_in_signs_and_we_verify_what_the_library_signs(card, stripe):
    """
    So neither of them has its own idea of a signature.
    """
    pay(card)
    payload, signature = stripe.signed(stripe.events[0])
    assert Webhook.construct_event(payload, signature, SECRET).id == stripe.events[0]["id"]
    with pytest.raises(SignatureVerificationError):
        Webhook.construct_event(payload, signature, "whsec_other")

    stamp = int(now().timestamp())
    told = WebhookSignature._compute_signature(f"{stamp}.{payload.decode()}", SECRET)

    assert card.billing.provider_events.receive("stripe", payload, f"t={stamp},v1={told}")


def test_an_event_is_kept_once(card, stripe):
    """
    Word by word.
    """
    pay(card)
    event = stripe.events[-1]

    assert tell(card, stripe, [event, event]) == [True, False]

    (kept,) = card.billing.provider_events.list().items
    assert (kept.event_id, kept.type, kept.state) == (event["id"], event["type"], EventState.PENDING)
    assert kept.payload == stripe.signed(event)[0].decode()


def test_an_event_settles_a_payment_whose_answer_was_lost(card, stripe):
    """
    Before anybody asks again.
    """
    stripe.break_with("lost")
    payment = pay(card)
    assert payment.status.value == "pending"
    tell(card, stripe)

    process(card)

    settled = card.billing.payments.get(card.id, payment.id)
    assert (settled.status.value, settled.provider_id) == ("succeeded", next(iter(stripe.intents)))
    assert card.accounts["provider_fees"] == "0.900000"
    assert states(card) == {"processed"}
    assert card.proved()


def test_a_refund_made_in_stripes_dashboard_is_booked(card, stripe):
    """
    As one of ours: the invoice is open again.
    """
    invoice = card.owe("20")
    payment = pay(card, "20", invoice)
    stripe.give_back(payment.provider_id, 500)
    tell(card, stripe)

    process(card)

    (refund,) = card.billing.payments.refunds(card.id, payment.id)
    assert (refund.amount_micros, refund.status.value) == (5_000_000, "succeeded")
    assert card.stands(invoice) == ("finalized", "5.000000")
    assert card.billing.payments.settle_pending() == []
    assert card.proved()


def test_a_refund_of_ours_is_known_by_our_id(card, stripe):
    """
    Even if its answer was lost.
    """
    payment = pay(card)
    stripe.break_with("lost")
    refund = card.refund(payment, "5")
    tell(card, stripe)

    process(card)

    (known,) = card.billing.payments.refunds(card.id, payment.id)
    assert (known.id, known.status.value) == (refund.id, "succeeded")
    stripe.fail_refund(known.provider_id)
    tell(card, stripe, stripe.events[-1:])
    process(card)
    (failed,) = card.billing.payments.refunds(card.id, payment.id)
    assert failed.status.value == "failed"
    assert card.balance == "20.000000"
    assert card.accounts["cash:stripe"] == "19.100000"
    assert card.proved()


@pytest.mark.parametrize("won", [True, False])
def test_a_disputed_invoice_is_open_again_until_the_dispute_is_won(card, stripe, won):
    """
    Lost, it stays open and marked; the fee is gone either way.
    """
    invoice = card.owe("12")
    payment = pay(card, "20", invoice)
    dispute = stripe.dispute(payment.provider_id)
    tell(card, stripe)
    process(card)

    marked = card.billing.invoices.get(card.id, invoice.id)
    assert (marked.state.value, marked.open_micros, marked.disputed_micros) == (
        "finalized",
        12_000_000,
        12_000_000,
    )
    assert card.balance == "0.000000"
    assert card.accounts["cash:stripe"] == "-15.900000"
    assert card.accounts["provider_fees"] == "15.900000"
    assert card.proved()

    stripe.close_dispute(dispute["id"], won=won)
    tell(card, stripe)
    process(card)

    (known,) = card.billing.payments.disputes(card.id, payment.id)
    assert known.status.value == ("won" if won else "lost")
    marked = card.billing.invoices.get(card.id, invoice.id)
    assert (marked.state.value, marked.disputed_micros) == (("paid", 0) if won else ("finalized", 12_000_000))
    assert card.balance == ("8.000000" if won else "0.000000")
    assert card.proved()


def test_a_bank_that_only_inquires_takes_nothing(card, stripe):
    """
    Nothing is booked until money leaves.
    """
    payment = pay(card)
    dispute = stripe.dispute(payment.provider_id)
    withdrawn = dispute["balance_transactions"]
    dispute |= {"status": "warning_needs_response", "balance_transactions": []}
    tell(card, stripe, stripe.events[-2:-1])
    process(card)
    assert card.billing.payments.disputes(card.id, payment.id) == ()

    dispute |= {"status": "needs_response", "balance_transactions": withdrawn}
    tell(card, stripe, stripe.events[-1:])
    process(card)

    assert len(card.billing.payments.disputes(card.id, payment.id)) == 1
    assert card.balance == "0.000000"


def test_what_was_refunded_before_it_was_disputed_is_a_loss(card, stripe):
    """
    The bank takes all of it, and some had gone already.
    """
    payment = pay(card)
    stripe.give_back(payment.provider_id, 500)
    dispute = stripe.dispute(payment.provider_id)
    tell(card, stripe)
    process(card)

    assert card.accounts["bad_debt"] == "5.000000"
    assert card.balance == "0.000000"
    assert card.billing.payments.get(card.id, payment.id).left_micros == 0

    stripe.close_dispute(dispute["id"], won=True)
    tell(card, stripe, stripe.events[-2:])
    process(card)

    assert "bad_debt" not in card.accounts
    assert card.balance == "15.000000"
    assert card.proved()


def test_a_dispute_that_was_won_makes_room_for_a_refund(card, stripe):
    """
    Also when both are heard of at once.
    """
    invoice = card.owe("20")
    payment = pay(card, "20", invoice)
    dispute = stripe.dispute(payment.provider_id)
    tell(card, stripe)
    process(card)
    stripe.close_dispute(dispute["id"], won=True)
    stripe.give_back(payment.provider_id, 500)
    tell(card, stripe)

    process(card)

    assert states(card) == {"processed"}
    assert card.stands(invoice) == ("finalized", "5.000000")
    assert card.proved()


def test_a_refund_of_what_the_bank_has_taken_is_booked_and_made_good_when_the_dispute_is_won(card, stripe):
    """
    The money has left twice: until then what exceeds the payment is a loss.
    """
    payment = pay(card)
    dispute = stripe.dispute(payment.provider_id)
    tell(card, stripe)
    process(card)
    # As if the bank had decided otherwise afterwards.
    dispute["status"] = "won"
    stripe.give_back(payment.provider_id, 500)
    dispute["status"] = "needs_response"
    tell(card, stripe)

    process(card)

    assert states(card) == {"processed"}
    assert len(card.billing.payments.refunds(card.id, payment.id)) == 1
    assert card.accounts["bad_debt"] == "5.000000"
    assert card.proved()

    stripe.close_dispute(dispute["id"], won=True)
    tell(card, stripe)
    process(card)

    assert "bad_debt" not in card.accounts
    assert card.balance == "15.000000"
    assert card.proved()


@pytest.mark.parametrize("fee_back", [True, False])
def test_what_a_dispute_cost_is_booked_back_if_stripe_gives_it_back(card, stripe, fee_back):
    """
    With the money, when the dispute is won.
    """
    payment = pay(card)
    dispute = stripe.dispute(payment.provider_id)
    tell(card, stripe)
    process(card)
    stripe.close_dispute(dispute["id"], won=True, fee_back=fee_back)
    tell(card, stripe)

    process(card)

    assert card.accounts["provider_fees"] == ("0.900000" if fee_back else "15.900000")
    assert card.accounts["cash:stripe"] == ("19.100000" if fee_back else "4.100000")
    assert card.proved()


@pytest.mark.parametrize("told", [{"amount": 100}, {"currency": "eur"}, {"currency": "jpy"}])
def test_a_payment_of_other_money_than_was_asked_for_is_not_booked(card, stripe, told):
    """
    Neither by looking nor by an event, which says why.
    """
    stripe.break_with("lost")
    payment = pay(card)
    (intent,) = stripe.intents.values()
    intent |= told
    tell(card, stripe)

    process(card)
    card.at(card.billing.clock() + timedelta(minutes=5))
    (looked,) = card.billing.payments.settle_pending()

    assert (looked.id, looked.status.value) == (payment.id, "pending")
    assert card.balance == "0.000000"
    waiting = card.billing.provider_events.list(state="pending").items
    assert all("asked for 20.000000 USD, told of" in str(event.failure) for event in waiting)
    assert waiting
    assert card.accounts == {}


@pytest.mark.parametrize("kind", ["refunds", "disputes"])
def test_what_came_of_a_payment_in_another_currency_is_not_booked(card, stripe, kind):
    """
    Its event says why.
    """
    payment = pay(card)
    if kind == "refunds":
        stripe.give_back(payment.provider_id, 500)["currency"] = "eur"
    else:
        stripe.dispute(payment.provider_id)["currency"] = "eur"
    tell(card, stripe)

    process(card)

    assert states(card) == {"pending"}
    assert card.balance == "20.000000"
    (failure,) = {event.failure for event in card.billing.provider_events.list().items}
    assert "in USD, and what came of it in EUR" in str(failure)


def test_what_is_not_ours_is_ignored(card, stripe):
    """
    Payments of another system on the same account, and what is about no payment.
    """
    pay(card)
    (intent,) = stripe.intents.values()
    foreign = {**intent, "id": "pi_foreign", "metadata": {}}
    stolen = {**intent, "id": "pi_stolen"}
    stripe.intents |= {"pi_foreign": foreign, "pi_stolen": stolen}
    events = [
        {"id": f"evt_{number}", "type": "x", "data": {"object": subject}}
        for number, subject in enumerate((foreign, stolen, {"object": "payout", "id": "po_1"}))
    ]
    before = card.state

    tell(card, stripe, events)
    process(card)

    assert states(card) == {"ignored"}
    assert card.state == before


def test_what_cannot_be_processed_is_tried_again_and_given_up(card, stripe, monkeypatch):
    """
    Later each time; somebody may have it processed as if it had just come.
    """
    payment = pay(card)
    stripe.give_back(payment.provider_id, 500)
    tell(card, stripe, stripe.events[-1:])
    with monkeypatch.context() as patch:
        patch.setattr(StripeProvider, "report", broken)
        tries = 0
        while states(card) == {"pending"}:
            process(card)
            tries += 1
            card.at(card.billing.clock() + timedelta(hours=3))
    assert tries == 12
    (dead,) = card.billing.provider_events.list(state="dead").items
    assert "a defect" in str(dead.failure)
    assert card.billing.provider_events.given_up()

    again = card.billing.provider_events.reprocess(dead.id)
    with monkeypatch.context() as patch:
        patch.setattr(StripeProvider, "report", broken)
        process(card)
    assert states(card) == {"pending"}
    card.at(card.billing.clock() + timedelta(hours=3))
    process(card)

    assert (again.state, again.tries) == (EventState.PENDING, 0)
    assert not card.billing.provider_events.given_up()
    assert states(card) == {"processed"}
    assert card.balance == "15.000000"
    with pytest.raises(ProviderEventNotFound):
        card.billing.provider_events.reprocess("pev_none")


def test_a_provider_that_does_not_answer_is_asked_until_it_does(card, stripe, monkeypatch):
    """
    Every hour at last; then there are tries left for what else may be wrong.
    """
    payment = pay(card)
    stripe.give_back(payment.provider_id, 500)
    tell(card, stripe, stripe.events[-1:])
    with monkeypatch.context() as patch:
        patch.setattr(StripeProvider, "report", unavailable)
        for _ in range(100):
            assert card.billing.provider_events.process() == 1
            card.at(card.billing.clock() + timedelta(hours=1))
    (waiting,) = card.billing.provider_events.list().items
    assert (waiting.state, "nobody answers" in str(waiting.failure)) == (EventState.PENDING, True)
    with monkeypatch.context() as patch:
        patch.setattr(StripeProvider, "report", broken)
        process(card)
    assert states(card) == {"pending"}
    card.at(card.billing.clock() + timedelta(hours=1))

    process(card)

    assert states(card) == {"processed"}
    assert card.balance == "15.000000"


def test_a_clock_that_is_moved_by_hand_tries_again_on_its_way(card, stripe, monkeypatch):
    """
    At the very moments at which events fall due, so that what is booked there bears them.
    """
    billing = card.billing
    payment = pay(card)
    stripe.give_back(payment.provider_id, 500)
    tell(card, stripe, stripe.events[-1:])
    came, report = billing.clock(), StripeProvider.report
    tried: list[timedelta] = []

    def report_at_last(*asked: Any) -> Any:
        tried.append(billing.clock() - came)
        return broken() if len(tried) < 4 else report(*asked)

    monkeypatch.setattr(StripeProvider, "report", report_at_last)
    billing.clock.stop_for(Stops(billing.schedule.next_after, billing.schedule.catch_up))

    billing.clock.advance(days=1)

    assert tried == [timedelta(seconds=after) for after in (1, 31, 91, 211)]
    (event,) = billing.provider_events.list().items
    (refund,) = billing.payments.refunds(card.id, payment.id)
    assert event.ended_at == refund.settled_at == came + tried[-1]
    assert billing.provider_events.next_due(billing.clock()) is None


def test_an_event_about_what_stripe_does_not_have_is_given_up(card, stripe):
    """
    Its answer is no silence: the key is that of another account, say, and somebody has to see it.
    """
    pay(card)
    event = {"id": "evt_1", "type": "x", "data": {"object": {"object": "payment_intent", "id": "pi_none"}}}
    tell(card, stripe, [event])

    for _ in range(12):
        process(card)
        card.at(card.billing.clock() + timedelta(hours=1))

    (dead,) = card.billing.provider_events.list().items
    assert (dead.state, dead.failure) == (
        EventState.DEAD,
        "LookupError: Stripe has no pi_none for this key",
    )
    assert card.billing.provider_events.given_up()


def broken(*_: Any) -> Any:
    raise ZeroDivisionError("a defect in the adapter")


def unavailable(*_: Any) -> Any:
    raise ProviderUnavailable("stripe", "nobody answers")


def test_having_an_event_processed_again_books_nothing(card, stripe):
    """
    All that it is about is known.
    """
    payment = pay(card)
    stripe.give_back(payment.provider_id, 500)
    stripe.dispute(pay(card).provider_id)
    tell(card, stripe)
    process(card)
    before = card.state

    for event in card.billing.provider_events.list(limit=200).items:
        card.billing.provider_events.reprocess(event.id)
    process(card)

    assert card.state == before
    assert states(card) == {"processed"}


def test_events_are_processed_outside_of_units_only(card):
    """
    Stripe is asked meanwhile.
    """
    with card.billing.work() as bound, pytest.raises(PaymentInsideUnit):
        bound.provider_events.process()


def test_of_two_who_process_each_event_is_processed_by_one(card, stripe):
    """
    Whoever set out first.
    """
    pay(card)
    tell(card, stripe)
    engine = card.billing.provider_events
    report = engine._context.provider("stripe").report
    seen: list[int] = []

    class Beside(StripeProvider):
        def report(self, subject_id: str) -> Any:
            seen.append(engine.process())
            return report(subject_id)

    beside = Beside("sk_test_1", webhook_secret=SECRET, api_base=stripe.url)
    other = Rehearsal(engine._context.storage, clock=card.billing.clock, seed=9, providers=(beside,))
    assert other.provider_events.process() == len(stripe.events)

    assert seen == [0]


def a_life(till: Till, stripe: StripeStandIn, chance: random.Random, events: int, after: Any) -> None:
    """What happens to a project and its cards, until so many events have come of it; *after* each step."""
    disputes: list[str] = []
    while len(stripe.events) < events:
        match chance.randrange(8):
            case 0 | 1 | 2:
                if chance.random() < 0.3:
                    stripe.break_with(chance.choice(["lost", "500", "hang_up"]))
                pay(till, str(chance.randrange(5, 50)))
            case 3 | 4 if stripe.charges:
                charge = chance.choice(list(stripe.charges.values()))
                left = charge["amount"] - charge["amount_refunded"]
                if left and not charge["disputed"]:
                    stripe.give_back(charge["payment_intent"], chance.randrange(1, left + 1))
            case 5 if stripe.charges:
                charge = chance.choice(list(stripe.charges.values()))
                if not charge["disputed"]:
                    disputes.append(stripe.dispute(charge["payment_intent"])["id"])
            case 6 if disputes:
                stripe.close_dispute(disputes.pop(), won=chance.random() < 0.5)
            case 7 if stripe.refunds:
                refund = chance.choice(list(stripe.refunds.values()))
                disputed = stripe.charges[refund["charge"]]["disputed"]
                if refund["status"] == "succeeded" and not disputed:
                    stripe.fail_refund(refund["id"])
        after()


def booked(till: Till) -> Any:
    """What it all has come to."""
    payments = till.billing.payments
    found: list[Payment] = []
    cursor = None
    while True:
        listed = payments.list(till.id, limit=200, cursor=cursor)
        found += listed.items
        cursor = listed.next_cursor
        if cursor is None:
            break
    return till.accounts, {
        payment.provider_id: (
            payment.status,
            payment.refunded_micros,
            payment.disputed_micros,
            payment.fee_micros,
            sorted(each.status for each in payments.disputes(till.id, payment.id)),
        )
        for payment in found
        if payment.provider_id is not None
    }


def test_a_shuffled_and_doubled_stream_books_what_the_ordered_one_does():
    """
    A thousand events, each at once and in order; or all afterwards, in any order, many of them twice.
    """
    full = os.environ.get("NERUBA_TORTURE") == "full"
    for seed in range(20 if full else 1):
        ordered, shuffled = streams(seed, events=1000)
        assert shuffled == ordered


def streams(seed: int, events: int) -> list[Any]:
    """What the same life books in order, and out of it."""
    outcomes = []
    for in_order in (True, False):
        chance = random.Random(seed)
        with StripeStandIn() as stripe:
            till = paying(stripe, seed, InProcess)
            delivered = 0

            def as_it_happens(till: Till = till, stripe: StripeStandIn = stripe) -> None:
                nonlocal delivered
                tell(till, stripe, stripe.events[delivered:])
                delivered = len(stripe.events)
                process(till)

            a_life(till, stripe, chance, events, as_it_happens if in_order else lambda: None)
            if not in_order:
                told = stripe.events + chance.sample(stripe.events, len(stripe.events) // 2)
                chance.shuffle(told)
                for start in range(0, len(told), 250):
                    tell(till, stripe, told[start : start + 250])
                    process(till)
            till.at(till.billing.clock() + timedelta(hours=2))
            while till.billing.payments.settle_pending():
                till.at(till.billing.clock() + timedelta(hours=2))
            assert states(till) == {"processed"}
            assert till.proved()
            outcomes.append(booked(till))
    return outcomes
