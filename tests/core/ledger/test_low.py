"""Low balance: listeners are told once each time that too little is available."""

from __future__ import annotations

import json
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neruba_core import money
from neruba_core.errors import AmountNegative, HoldClosed, InsufficientCredit, RoleMissing
from neruba_core.tenancy.model import Role
from neruba_core.testing.builders import rehearsal
from neruba_core.wallets.holds import HoldAnswer
from tests.core.ledger.stage import Books


class Watched(Books):
    """Books whose listeners are asked what they were told."""

    def __init__(self, threshold: str | None = "20") -> None:
        super().__init__(rehearsal())
        url = "https://example.com/hook"
        self.billing.webhooks.create(self.project.id, url=url, message_types=["wallet.low"])
        self.threshold(threshold)

    def threshold(self, amount: str | None) -> None:
        self.billing.projects.update(self.project.id, low_balance_threshold=amount)
        self.billing.schedule.catch_up()

    @property
    def told(self) -> list[Any]:
        """The data of each message, in their order."""
        listed = self.billing.webhooks.deliveries(self.project.id, limit=200).items
        ids = [delivery.message_id for delivery in reversed(listed)]
        messages = self.read(lambda work: work.outbox.messages(self.project.id, ids))
        return [json.loads(messages[each].body)["data"] for each in ids]


def test_each_crossing_is_told_once():
    """
    Not each charge below it; and anew once there was enough in between.
    """
    books = Watched()
    told = [len(books.told)]
    for act, amount in [
        ("credit", "30"),
        ("charge", "10"),
        ("charge", "1"),
        ("charge", "1"),
        ("credit", "1"),
        ("credit", "1"),
        ("charge", "1"),
    ]:
        getattr(books, act)(amount)
        told.append(len(books.told))

    # At the threshold there is enough.
    assert told == [1, 1, 1, 2, 2, 2, 2, 3]
    assert (books.told[1]["available"], books.told[1]["threshold"]) == ("19.000000", "20.000000")


def test_time_makes_a_balance_low_too():
    """
    Credit that expires, and a hold that ends makes it enough again.
    """
    books = Watched()
    books.credit("30", expires_at=books.in_days(1))
    books.credit("25")
    books.day(1)
    books.charge("1")
    before = len(books.told)
    books.hold("10", expires_at=books.in_days(2))
    held = len(books.told)
    books.day(3)
    books.charge("5")

    assert (before, held, len(books.told)) == (1, 2, 3)


def test_what_is_held_counts_as_gone():
    """
    Available is what a charge may come to.
    """
    books = Watched()
    books.credit("30")
    books.hold("11")

    assert [each["held"] for each in books.told[1:]] == ["11.000000"]


def test_the_setting_is_finances_and_takes_effect_at_the_next_tick():
    """
    A threshold above what is available, or a lower limit, is a crossing as well.
    """
    books = Watched(None)
    update = books.billing.projects.update
    books.credit("30")
    silent = len(books.told)
    books.threshold("50")
    raised = len(books.told)
    books.limit("100")
    books.billing.schedule.catch_up()
    books.limit("0")
    books.billing.schedule.catch_up()
    again = len(books.told)
    books.threshold(None)
    books.charge("30")

    assert (silent, raised, again, len(books.told)) == (0, 1, 2, 2)
    with pytest.raises(RoleMissing):
        update(books.project.id, role=Role.ADMIN, low_balance_threshold="1")
    with pytest.raises(AmountNegative):
        update(books.project.id, low_balance_threshold="-1")


def test_what_is_undone_was_never_told():
    """
    The message is of the same unit as the movement.
    """
    books = Watched()
    books.credit("30")
    before = len(books.told)

    def spent_and_undone() -> None:
        with books.billing.work() as unit:
            unit.charges.charge(books.project.id, amount="20", description="c", idempotency_key="undone")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        spent_and_undone()

    assert len(books.told) == before
    books.charge("20")
    assert len(books.told) == before + 1


@settings(max_examples=40)
@given(seed=st.integers(0, 2**48), limit=st.sampled_from(["0", "30"]))
def test_there_is_a_message_for_every_crossing_and_no_other(seed, limit):
    """
    Whatever moves what is available: money, holds, time.
    """
    chance = Random(seed)
    books = Watched(None)
    books.limit(limit)
    books.threshold("20")
    holds: list[HoldAnswer] = []
    floor = money.parse("20")
    low = books.wallet.available_micros < floor
    expected = int(low)
    assert len(books.told) == expected

    for _ in range(20):
        amount = str(chance.randint(1, 30))
        try:
            match chance.choice(["credit", "charge", "charge", "hold", "capture", "release", "wait"]):
                case "credit":
                    hours = chance.choice([None, 5, 24])
                    expires = None if hours is None else books.billing.now() + timedelta(hours=hours)
                    books.credit(amount, expires_at=expires)
                case "charge":
                    books.charge(amount)
                case "hold":
                    holds.append(books.hold(amount))
                case "capture" if holds:
                    books.capture(chance.choice(holds), "1")
                case "release" if holds:
                    books.release(chance.choice(holds))
                case "wait":
                    # No further than the next moment at which something may change.
                    due = books.billing.wallets.next_due()
                    books.billing.clock.set(due or books.billing.now() + timedelta(hours=1))
        except (InsufficientCredit, HoldClosed):
            pass
        now_low = books.wallet.available_micros < floor
        expected += now_low and not low
        low = now_low
        assert len(books.told) == expected
