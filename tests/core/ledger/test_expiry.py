"""Expiry: what has expired stops counting at its instant, and posting it changes no balance."""

from __future__ import annotations

import threading
from datetime import timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neruba_core import money
from neruba_core.errors import HoldClosed, InsufficientCredit, ReversalExceedsOriginal
from neruba_core.instants import Instant
from neruba_core.ledger.model import Transaction
from neruba_core.namespaces.jobs import EXPIRE
from neruba_core.storage.memory.storage import MemoryStorage
from neruba_core.testing.builders import Rehearsal, rehearsal
from neruba_core.wallets.holds import HoldAnswer
from neruba_core.wallets.view import WalletView
from tests.core.ledger.stage import Books


@pytest.fixture
def books() -> Books:
    """
    Time passes without anybody posting what expires.
    """
    return Books(rehearsal(runs_due=False))


def post(books: Books) -> list[Transaction]:
    return list(books.billing.wallets.expire_due())


# --- where it goes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "account"), [("promotional", "promotions"), ("goodwill", "goodwill"), ("paid", "breakage")]
)
def test_expired_credit_goes_back_to_where_it_came_from_or_is_earned(books, kind, account):
    """
    Effective at the moment of its expiry, whenever it is posted.
    """
    grant = books.credit("100", kind=kind, expires_at=books.in_days(1))
    books.charge("30")
    books.day(9)

    (posted,) = post(books)

    assert (posted.type, posted.amount_micros, posted.grant_id) == ("expiry", money.parse("70"), grant)
    assert (posted.effective_at, posted.recorded_at) == (books.in_days(1), books.in_days(9))
    assert f"wallet:{grant}" not in books.accounts
    given_out = money.parse("100") if kind != "paid" else 0
    assert books.accounts.get(account, 0) == given_out - money.parse("70")
    assert books.sweep.faults == ()
    assert post(books) == []


def test_nothing_expires_before_its_instant(books):
    """
    Nor what has no end; and whoever looks too early changes nothing.
    """
    books.credit("1")
    books.credit("10", expires_at=books.in_days(1))
    books.billing.clock.set(books.in_days(1) - timedelta(microseconds=1))
    early = post(books)
    books.day(1)

    assert early == []
    assert books.billing.wallets.due_since() == books.in_days(1)
    assert [each.amount_micros for each in post(books)] == [money.parse("10")]
    assert books.billing.wallets.due_since() is None
    assert books.balance == "1.000000"


def test_what_is_held_outlives_its_grant_and_expires_when_it_is_freed(books):
    """
    Credit 100, expires on day 1; hold 80 on day 0; day 2: balance 80, available 0; capture 50: revenue 50,
    the other 30 expired, balance 0. Posted each time, as of the moment at which it was so.
    """
    books.credit("100", expires_at=books.in_days(1))
    held = books.hold("80", expires_at=books.in_days(9))
    books.day(2)
    first = post(books)
    before = (books.balance, books.available)
    books.capture(held, "50")
    books.day(3)
    second = post(books)

    assert before == ("80.000000", "0.000000")
    assert [(each.amount_micros, each.effective_at) for each in (*first, *second)] == [
        (money.parse("20"), books.in_days(1)),
        (money.parse("30"), books.in_days(2)),
    ]
    assert books.accounts == {"revenue:charges": -money.parse("50"), "promotions": money.parse("50")}
    assert books.balance == "0.000000"
    assert books.sweep.faults == ()


def test_a_hold_whose_time_is_over_is_ended_and_its_credit_expires(books):
    """
    Without anybody touching the wallet; each at its own instant.
    """
    books.credit("100", expires_at=books.in_days(1))
    held = books.hold("80", expires_at=books.in_days(3))
    books.day(5)

    (posted,) = post(books)

    assert (posted.amount_micros, posted.effective_at) == (money.parse("100"), books.in_days(3))
    assert books.get_hold(held).hold.closed_at == books.in_days(3)
    assert books.read(lambda work: len(work.wallets.open_holds(books.project.id))) == 0
    wallets, project = books.billing.wallets, books.project.id
    shown = [str(wallets.get(project, as_of=books.in_days(day)).balance) for day in range(4)]
    assert shown == ["100.000000", "80.000000", "80.000000", "0.000000"]


def test_a_credit_is_clawed_back_from_where_its_rest_has_gone(books):
    """
    It makes no difference whether somebody has posted the expiry: the rest was never due.
    """
    credit = books.credit_transaction("100", kind="paid", expires_at=books.in_days(1))
    other = books.credit("50")
    books.day(2)
    post(books)

    books.reverse(credit, "60")
    books.reverse(credit, "40")

    assert books.remaining == {other: "50.000000"}
    assert "breakage" not in books.accounts
    assert "cash:manual" not in books.accounts
    assert books.sweep.faults == ()
    with pytest.raises(ReversalExceedsOriginal):
        books.reverse(credit, "1")


def test_an_archived_project_expires_too(books):
    """
    No one asks for it: time does.
    """
    books.credit("10", expires_at=books.in_days(1))
    books.billing.projects.archive(books.project.id)
    books.day(2)

    assert len(post(books)) == 1


# --- by whom --------------------------------------------------------------------------------------


def test_however_many_post_it_is_posted_once():
    """
    Workers at the same moment, over many projects.
    """
    neruba = rehearsal(runs_due=False)
    projects = [Books(neruba) for _ in range(7)]
    for number, books in enumerate(projects):
        books.credit(str(number + 1), expires_at=books.in_days(1))
    neruba.clock.advance(days=1)

    posted: list[int] = []

    def work() -> None:
        while found := neruba.wallets.expire_due(at_most=3):
            posted.extend(each.amount_micros for each in found)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert sorted(posted) == [money.parse(str(number + 1)) for number in range(7)]
    assert all(books.sweep.faults == () for books in projects)


def test_the_clock_stops_for_each_expiry_in_the_order_of_time():
    """
    And for the billing runs between them.
    """
    books = Books(rehearsal())
    for day in (3, 1, 40):
        books.credit("10", expires_at=books.in_days(day))
    books.charge("5")

    books.billing.clock.set(books.in_days(60))

    listed = reversed(books.billing.ledger.transactions(books.project.id).items)
    booked = [(each.type, (each.recorded_at - books.in_days(0)).days) for each in listed][4:]
    assert booked == [("expiry", 1), ("expiry", 3), ("expiry", 40)]
    assert [run.period for run in books.billing.billing.runs(books.project.id).items] == ["2026-03"]


def test_the_job_knows_what_waits():
    """
    One turn a moment, nothing between.
    """
    books = Books(rehearsal(runs_due=False))
    books.credit("10", expires_at=books.in_days(1))
    tick = books.billing.schedule.tick

    early = tick([EXPIRE])
    books.day(1)

    assert early == ()
    assert [ran.name for ran in tick([EXPIRE])] == ["expire_credit"]
    assert tick([EXPIRE]) == ()


# --- the property ---------------------------------------------------------------------------------


def seen(view: WalletView) -> tuple[object, ...]:
    """What a reader sees, but for ids."""
    return (
        view.balance_micros,
        view.held_micros,
        view.available_micros,
        [(g.kind, g.priority, g.amount_micros, g.remaining_micros, g.expires_at) for g in view.grants],
    )


class History:
    """The same commands to two wallets; of one nobody ever posts what expires."""

    def __init__(self, chance: Random, limit: str) -> None:
        self.chance = chance
        self.pair = tuple(Books(Rehearsal(MemoryStorage(), seed=seed)) for seed in (1, 2))
        self.holds: tuple[list[HoldAnswer], ...] = ([], [])
        self.credits: tuple[list[Transaction], ...] = ([], [])
        self.seen: dict[Instant, tuple[object, ...]] = {}
        for books in self.pair:
            books.limit(limit)

    def step(self) -> None:
        chance = self.chance
        kind = chance.choice(
            ["credit", "credit", "charge", "charge", "hold", "capture", "release", "reverse"]
        )
        amount = str(chance.randint(1, 40))
        hours = chance.choice([None, 5, 24, 24, 60])
        place, held_hours = chance.random(), chance.choice([1, 10, 48, 100])
        for books, holds, credits in zip(self.pair, self.holds, self.credits, strict=True):
            now = books.billing.now()
            try:
                if kind == "credit":
                    expires = None if hours is None else now + timedelta(hours=hours)
                    credits.append(
                        books.credit_transaction(
                            amount,
                            kind=["paid", "promotional", "goodwill"][int(place * 3)],
                            expires_at=expires,
                        )
                    )
                elif kind == "charge":
                    books.charge(amount)
                elif kind == "hold":
                    holds.append(books.hold(amount, expires_at=now + timedelta(hours=held_hours)))
                elif kind == "reverse" and credits:
                    books.reverse(credits[int(place * len(credits))], amount)
                elif kind == "capture" and holds:
                    books.capture(holds[int(place * len(holds))])
                elif kind == "release" and holds:
                    books.release(holds[int(place * len(holds))])
            except (InsufficientCredit, HoldClosed, ReversalExceedsOriginal):
                pass

    def wait(self) -> None:
        span = timedelta(hours=self.chance.choice([0, 1, 5, 5, 24, 30]))
        for books in self.pair:
            books.billing.clock.advance(span)

    def look(self) -> None:
        """The two are seen to be the same, and what was seen is kept."""
        left, right = (seen(books.wallet) for books in self.pair)
        assert left == right
        self.seen[self.pair[0].billing.now()] = left


@settings(max_examples=60)
@given(seed=st.integers(0, 2**48), limit=st.sampled_from(["0", "30"]))
def test_posting_changes_nothing_that_anybody_sees(seed, limit):
    """
    Whatever happens, and whenever it is posted: the wallet is the same with and without, now and as of any
    instant that has been, also as it was known then; what it said is what it says of then.
    """
    chance = Random(seed)
    history = History(chance, limit)
    for _ in range(25):
        history.step()
        if chance.random() < 0.4:
            post(history.pair[1])
            post(history.pair[1])
        history.look()
        history.wait()
        history.look()

    for _ in range(2):
        for at, then in history.seen.items():
            for books in history.pair:
                wallets, project = books.billing.wallets, books.project.id
                assert seen(wallets.get(project, as_of=at)) == then
                assert seen(wallets.get(project, as_of=at, known_at=at)) == then
        for books in history.pair:
            assert books.sweep.faults == ()
        post(history.pair[1])
