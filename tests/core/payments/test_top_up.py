"""Topping up by itself: once at a time, no more than the cap, and not again at once after a decline."""

from __future__ import annotations

import contextlib
import threading
from datetime import timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neruba_core import money
from neruba_core.errors import FormatInvalid, InsufficientCredit, RoleMissing
from neruba_core.namespaces.collection import Collection
from neruba_core.namespaces.jobs import JOBS, TOP_UP
from neruba_core.namespaces.projects import NewTopUp
from neruba_core.payments.model import DisputeStatus, Payment, PaymentStatus
from neruba_core.tenancy.model import Role
from neruba_core.testing.builders import rehearsal
from neruba_core.testing.provider import SOUND, RehearsedProvider
from tests.core.ledger.stage import Books

TOP_UP_20: NewTopUp = {"threshold": "10", "amount": "20", "monthly_cap": "50", "cool_down_minutes": 60}
HOUR = timedelta(hours=1)


class Topped(Books):
    """Books that are topped up through a rehearsed provider."""

    def __init__(self, monthly_cap: str | None = None) -> None:
        self.provider = RehearsedProvider()
        super().__init__(rehearsal(runs_due=False, providers=(self.provider,)))
        self.billing.payments.set_method(self.project.id, provider="rehearsed", customer="cus_1")
        self.credit("15")
        self.set(TOP_UP_20 if monthly_cap is None else {**TOP_UP_20, "monthly_cap": monthly_cap})

    def set(self, asked: NewTopUp | None) -> None:
        self.billing.projects.update(self.project.id, top_up=asked)

    def tick(self) -> None:
        for ran in self.billing.schedule.tick(JOBS):
            assert ran.error is None, ran

    def wait(self, span: timedelta) -> None:
        self.billing.clock.advance(span)
        self.tick()

    @property
    def made(self) -> list[Payment]:
        return list(reversed(self.billing.payments.list(self.project.id, limit=200).items))


@pytest.fixture
def books() -> Topped:
    return Topped()


def test_a_wallet_is_topped_up_once_it_is_below_its_threshold(books):
    """
    As a paid grant, and no sooner; at the next tick after the movement that made it so.
    """
    books.charge("5")
    books.tick()
    early = list(books.made)
    books.charge("1")
    books.tick()
    books.tick()

    assert early == []
    (paid,) = books.made
    assert (paid.amount_micros, paid.status, paid.provider) == (money.parse("20"), "succeeded", "rehearsed")
    assert books.balance == "29.000000"
    assert books.sweep.faults == ()


def test_after_one_top_up_the_next_waits_for_the_cool_down(books):
    """
    However soon the credit is gone again.
    """
    books.charge("15")
    books.tick()
    books.charge("20")
    books.wait(HOUR - timedelta(microseconds=1))
    early = len(books.made)
    books.wait(timedelta(microseconds=1))

    assert (early, len(books.made)) == (1, 2)


def test_no_more_is_taken_in_a_month_than_the_cap(books):
    """
    The next month has its own.
    """
    for amount in ("15", "20", "20"):
        books.charge(amount)
        books.wait(2 * HOUR)
    books.wait(9 * HOUR)
    spent = sum(each.amount_micros for each in books.made)
    books.billing.clock.set("2026-04-01T00:00:00Z")
    books.tick()

    assert spent == money.parse("40")
    assert len(books.made) == 3


def test_a_decline_waits_for_the_cool_down_and_counts_for_nothing(books):
    """
    A card that was declined is not tried again at once.
    """
    books.provider.then(["decline"])
    books.charge("15")
    books.tick()
    books.wait(HOUR / 2)
    early = [each.status for each in books.made]
    books.wait(HOUR / 2)

    assert early == ["failed"]
    assert [each.status for each in books.made] == ["failed", "succeeded"]


def test_each_further_decline_waits_twice_as_long_up_to_a_day(books):
    """
    Until one is paid, or the setting is made again.
    """
    books.provider.then(["decline"] * 9)
    books.charge("15")
    for _ in range(81):
        books.wait(HOUR)
    moments = [payment.created_at for payment in books.made]

    gaps = [(later - earlier) // HOUR for earlier, later in pairwise(moments)]
    assert gaps == [1, 2, 4, 8, 16, 24, 24]
    books.set(TOP_UP_20)
    books.tick()
    assert len(books.made) == 9
    books.wait(HOUR)
    assert [books.made[-1].status, len(books.made)] == ["succeeded", 10]


@pytest.mark.parametrize("how", ["refund", "dispute"])
def test_what_was_given_back_is_not_taken_again(how):
    """
    Not in this month nor the next, until the setting is made again; it may say the same.
    """
    books = Topped("500")
    books.charge("10")
    books.tick()
    (paid,) = books.made
    if how == "refund":
        books.billing.payments.refund(
            books.project.id, paid.id, amount="20", reason="asked for", idempotency_key="back"
        )
    else:
        books.provider.dispute(paid.id, paid.amount_micros, DisputeStatus.OPEN)
        event = books.provider.event(paid.id, "evt_1")
        books.billing.provider_events.receive("rehearsed", event, SOUND)
    for _ in range(3):
        books.wait(2 * HOUR)
    books.wait(timedelta(days=40))
    stopped = len(books.made)
    books.set({**TOP_UP_20, "monthly_cap": "500"})
    books.tick()
    books.tick()

    assert (stopped, len(books.made)) == (1, 2)
    assert books.sweep.faults == ()


def test_a_dispute_that_is_won_stops_nothing_any_more(books):
    """
    The next look is within a day.
    """
    books.charge("10")
    books.tick()
    (paid,) = books.made
    for number, status in enumerate((DisputeStatus.OPEN, DisputeStatus.WON)):
        books.provider.dispute(paid.id, paid.amount_micros, status)
        event = books.provider.event(paid.id, f"evt_{number}")
        books.billing.provider_events.receive("rehearsed", event, SOUND)
        books.wait(HOUR)
    books.charge("20")
    books.wait(timedelta(days=1))

    assert len(books.made) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"idempotency_key": "neruba:top-up:1"},
        {"idempotency_key": "top-up:1"},
        {"idempotency_key": "k", "reference": "Automatic top-up by wire"},
        {"idempotency_key": "k", "reference": "Automatic top-up 9", "provider": "rehearsed"},
    ],
)
def test_what_others_call_their_payments_does_not_matter(books, fields):
    """
    Neither their keys nor their references keep a top-up from being made.
    """
    books.billing.payments.pay(books.project.id, amount="1", **fields)
    books.charge("15")
    books.wait(HOUR)

    assert books.made[-1].amount_micros == money.parse("20")
    assert books.made[-1].status == "succeeded"


def test_a_charge_while_it_is_decided_is_not_missed(books, monkeypatch):
    """
    That there is enough holds for the moment at which it was read; what happens after counts.
    """
    books.charge("10")
    decided = Collection._top_up

    def meanwhile(self, project_id, at):
        books.credit("20")
        looked = decided(self, project_id, at)
        books.charge("25")
        return looked

    monkeypatch.setattr(Collection, "_top_up", meanwhile)
    books.tick()
    monkeypatch.undo()
    books.tick()

    assert len(books.made) == 1


def test_what_is_under_way_is_in_the_projects_schedule(books):
    """
    The payment that is asked about, and when it is looked at next.
    """
    books.provider.then(["wait"])
    books.charge("15")
    books.tick()
    books.tick()

    found = {due.kind.value: due for due in books.billing.schedule.of_project(books.project.id).items}

    (payment,) = books.made
    assert (found["payment"].subject, found["payment"].at) == (payment.id, payment.due_at)
    assert found["top_up"].amount_micros == money.parse("20")


def test_while_one_is_under_way_there_is_no_other(books):
    """
    Whatever the cool-down says; it is settled once the provider knows.
    """
    books.provider.then(["wait"])
    books.charge("15")
    for _ in range(5):
        books.wait(HOUR)
    under_way = books.made
    books.provider.finish(under_way[0].id, PaymentStatus.SUCCEEDED)
    books.wait(HOUR)

    assert [each.status for each in under_way] == ["pending"]
    assert [each.status for each in books.made] == ["succeeded"]
    assert books.balance == "20.000000"


@pytest.mark.parametrize(("plan", "status", "asked"), [("lose", "succeeded", 2), ("wait", "pending", 29)])
def test_a_clock_that_is_moved_by_hand_tops_up_and_settles_on_its_way(plan, status, asked):
    """
    A second after there was too little; what is under way is asked about as often as the schedule says.
    """
    provider = RehearsedProvider()
    billing = rehearsal(providers=(provider,))
    project = billing.projects.create(name="Acme")
    billing.payments.set_method(project.id, provider="rehearsed", customer="cus_1")
    billing.projects.update(project.id, top_up=TOP_UP_20)
    provider.then([plan])
    start = billing.clock()

    billing.clock.advance(days=1)

    (made,) = billing.payments.list(project.id).items
    assert (made.status, made.tries, made.created_at - start) == (status, asked, timedelta(seconds=1))
    if made.settled_at is not None:
        assert made.settled_at - made.created_at == timedelta(minutes=1)


def test_without_a_payment_method_nothing_is_asked():
    """
    It is looked at again later, when there may be one.
    """
    books = Topped()
    books.billing.payments.remove_method(books.project.id)
    books.charge("15")
    books.tick()
    books.billing.payments.set_method(books.project.id, provider="rehearsed", customer="cus_1")
    books.wait(HOUR)

    assert len(books.made) == 1


def test_a_setting_that_is_taken_back_ends_it(books):
    """
    And one that is made where there is too little begins it.
    """
    books.set(None)
    books.charge("15")
    books.tick()
    without = len(books.made)
    books.set(TOP_UP_20)
    books.tick()
    books.tick()

    assert (without, len(books.made)) == (0, 1)


def test_the_setting_is_finances(books):
    """
    A cap below one top-up could never be met.
    """
    update = books.billing.projects.update
    with pytest.raises(RoleMissing):
        update(books.project.id, role=Role.ADMIN, top_up=TOP_UP_20)
    with pytest.raises(FormatInvalid):
        books.set({**TOP_UP_20, "monthly_cap": "19.99"})
    with pytest.raises(FormatInvalid):
        books.set({**TOP_UP_20, "cool_down_minutes": 0})


def test_of_many_that_top_up_at_once_one_pays():
    """
    Not one more is asked for, and the cap holds.
    """
    books = Topped(monthly_cap="20")
    books.charge("15")
    workers = [threading.Thread(target=books.billing.collection.top_up_due) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert len(books.made) == 1
    assert len(books.provider.charged) == 1


@settings(max_examples=30)
@given(seed=st.integers(0, 2**48))
def test_whatever_happens_the_cap_holds_and_no_two_are_under_way(seed):
    """
    With a provider that declines, dawdles and loses answers, and a customer who spends what comes.
    """
    chance = Random(seed)
    books = Topped()
    for _ in range(30):
        books.provider.then(chance.choices(["succeed", "decline", "wait", "lose", "drop"], k=1))
        if chance.random() < 0.7:
            with contextlib.suppress(InsufficientCredit):
                books.charge(str(chance.randint(1, 15)))
        books.wait(chance.choice([timedelta(0), HOUR / 3, HOUR, 30 * HOUR]))
        for payment in books.made:
            if payment.status == "pending" and payment.id in books.provider.charged and chance.random() < 0.3:
                ended = chance.choice([PaymentStatus.SUCCEEDED, PaymentStatus.FAILED])
                books.provider.finish(payment.id, ended, "declined")
        statuses = [payment.status for payment in books.made]
        assert statuses.count(PaymentStatus.PENDING) <= 1
        months: dict[str, int] = {}
        for payment in books.made:
            if payment.status != "failed":
                month = payment.created_at.strftime("%Y-%m")
                months[month] = months.get(month, 0) + payment.amount_micros
        assert all(spent <= money.parse("50") for spent in months.values())
        gaps = zip(books.made, books.made[1:], strict=False)
        assert all(later.created_at - earlier.created_at >= HOUR for earlier, later in gaps)
    assert books.sweep.faults == ()
    assert TOP_UP in JOBS
