"""Holds: what they keep from being spent, and what becomes of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from neruba_core import money
from neruba_core.errors import (
    ExpiryPassed,
    HoldClosed,
    HoldConflict,
    HoldExceeded,
    HoldNotFound,
    InsufficientCredit,
    KeyReused,
    ProjectArchived,
)
from neruba_core.idempotency.outcomes import Accepted, Deduplicated, Replayed
from neruba_core.storage.export import export
from neruba_core.storage.memory.storage import MemoryStorage
from neruba_core.testing.builders import Rehearsal
from tests.core.ledger.stage import Books


@pytest.fixture
def books(billing: Rehearsal) -> Books:
    return Books(billing)


# --- the worked examples of the ledger ------------------------------------------------------------


def test_a_hold_keeps_what_it_may_need_within_the_limit(books):
    """
    Limit 1000, charge 800; credit 100, hold 150, charge 200 (refused), capture 120: balance −820, held 0.
    """
    books.limit("1000")
    books.charge("800")
    first = (books.balance, books.available)
    books.credit("100")
    second = (books.balance, books.accounts["overdraft"], books.remaining)
    held = books.hold("150")
    with pytest.raises(InsufficientCredit) as refused:
        books.charge("200")
    answer = books.capture(held, "120")

    assert first == ("-800.000000", "200.000000")
    assert second == ("-700.000000", money.parse("700"), {})
    assert refused.value.available == "150.000000"
    assert (books.balance, books.wallet.held_micros) == ("-820.000000", 0)
    assert (answer.hold.state, answer.hold.captured_micros) == ("captured", money.parse("120"))
    assert books.sweep.faults == ()


def test_what_is_held_outlives_its_grant_until_it_is_captured(books):
    """
    Credit 100, expires on day 1; hold 80 on day 0; day 2: balance 80, available 0; capture 50: revenue 50,
    the other 30 is gone, balance 0.
    """
    books.credit("100", expires_at=books.in_days(1))
    held = books.hold("80", expires_at=books.in_days(9))
    books.day(2)
    before = (books.balance, books.available)

    books.capture(held, "50")

    assert before == ("80.000000", "0.000000")
    assert books.accounts["revenue:charges"] == -money.parse("50")
    assert (books.balance, books.available, books.remaining) == ("0.000000", "0.000000", {})
    assert books.sweep.faults == ()


# --- reserving ------------------------------------------------------------------------------------


def test_what_is_held_stays_in_the_balance_and_leaves_what_is_available(books):
    """
    Neither a charge nor a second hold may take it.
    """
    books.credit("100")

    held = books.hold("60")

    assert (books.balance, books.available) == ("100.000000", "40.000000")
    assert books.wallet.held_micros == money.parse("60")
    assert held.available_micros == money.parse("40")
    for act in (books.charge, books.hold, books.debit):
        with pytest.raises(InsufficientCredit) as refused:
            act("40.000001")
        assert refused.value.available == "40.000000"
    assert books.sweep.faults == ()


def test_a_hold_takes_the_grant_that_would_be_missed_least(books):
    """
    In spending order, as a charge does; charges after it take the others.
    """
    soon = books.credit("30", expires_at=books.in_days(1))
    paid = books.credit("100", kind="paid")

    held = books.hold("50")
    charge = books.charge("10")

    assert [(draw.grant_id, draw.micros) for draw in held.hold.draws] == [
        (soon, money.parse("30")),
        (paid, money.parse("20")),
    ]
    assert books.draws(charge) == [(paid, "10.000000")]


def test_a_hold_lasts_an_hour_unless_said_otherwise(books):
    """
    And never ends before it begins.
    """
    books.credit("100")
    now = books.billing.clock()

    assert books.hold("1").hold.expires_at == now + timedelta(hours=1)
    assert books.hold("1", expires_at=books.in_days(3)).hold.expires_at == books.in_days(3)
    with pytest.raises(ExpiryPassed):
        books.hold("1", expires_at=now)


# --- closing --------------------------------------------------------------------------------------


def test_a_capture_takes_all_that_is_held_unless_said_otherwise(books):
    """
    As a charge, which names the hold and can be reversed.
    """
    books.credit("100")
    held = books.hold("60")

    answer = books.capture(held)

    charge = books.billing.ledger.transaction(books.project.id, answer.hold.transaction_id)
    assert (charge.type, charge.amount_micros) == ("charge", money.parse("60"))
    assert charge.metadata == {"holdId": held.id}
    assert books.balance == "40.000000"
    books.reverse(charge)
    assert (books.balance, books.available) == ("100.000000", "100.000000")


def test_a_release_frees_all_that_is_held(books):
    """
    Nothing is posted.
    """
    books.credit("100")
    held = books.hold("60")

    answer = books.release(held)

    assert answer.hold.state == "released"
    assert (books.balance, books.available) == ("100.000000", "100.000000")
    assert books.sweep.transactions == 1


def test_no_more_than_what_is_held_can_be_captured(books):
    """
    The rest is another charge.
    """
    books.credit("100")
    held = books.hold("60")

    with pytest.raises(HoldExceeded) as refused:
        books.capture(held, "60.000001")

    assert refused.value.held == "60.000000"
    assert books.get_hold(held).hold.state == "held"


def test_a_hold_is_closed_once(books):
    """
    Captured in part or released: there is no second time.
    """
    books.credit("100")
    captured, released = books.hold("60"), books.hold("10")
    books.capture(captured, "1")
    books.release(released)

    for held, state in ((captured, "captured"), (released, "released")):
        for act in (books.capture, books.release):
            with pytest.raises(HoldClosed) as refused:
                act(held)
            assert refused.value.state == state
    assert books.balance == "99.000000"


def test_a_hold_expires_at_its_instant_whether_or_not_anybody_looks(books):
    """
    It is free from then on for whoever asks, and closed for capture and release.
    """
    books.credit("100")
    held = books.hold("60", expires_at=books.in_days(1))
    books.day(1)

    assert (books.available, books.wallet.held_micros) == ("100.000000", 0)
    assert books.get_hold(held).hold.state == "expired"
    with pytest.raises(HoldClosed) as refused:
        books.capture(held)
    assert refused.value.state == "expired"
    books.charge("100")
    assert books.sweep.faults == ()
    assert books.balance == "0.000000"


def test_a_refused_command_does_not_mark_the_holds_that_it_finds_over():
    """
    Nor does a replay: the schedule does, or the next command that is accepted.
    """
    books = Books(Rehearsal(MemoryStorage()))
    books.credit("101")
    books.charge("1", idempotency_key="first")
    ignored, marked = (books.hold("10", expires_at=books.in_days(1)) for _ in range(2))
    books.day(1)
    before = state(books)

    for act in (books.capture, books.release):
        with pytest.raises(HoldClosed):
            act(ignored)
    with pytest.raises(InsufficientCredit):
        books.charge("100.000001")
    with pytest.raises(KeyReused):
        books.charge("2", idempotency_key="first")
    books.charge("1", idempotency_key="first")

    assert state(books) == before
    assert books.read(lambda work: len(work.wallets.open_holds(books.project.id))) == 2
    assert (books.available, books.get_hold(marked).hold.state) == ("100.000000", "expired")

    books.charge("100")

    assert books.read(lambda work: len(work.wallets.open_holds(books.project.id))) == 0
    assert books.get_hold(ignored).hold.closed_at == books.in_days(1)
    assert books.sweep.faults == ()


def state(books: Books) -> list[str]:
    """All but what is stored for a key."""
    lines = books.read(lambda work: list(export(work, books.project.id)))
    return [line for line in lines if '"table":"answers"' not in line]


def test_only_holds_of_the_project_are_found(books):
    """
    Those of another are as good as none.
    """
    other = Books(books.billing)
    other.credit("1")
    held = other.hold("1")

    for act in (books.capture, books.release, books.get_hold):
        with pytest.raises(HoldNotFound):
            act(held)


def test_a_hold_against_the_limit_is_captured_from_credit_that_came_since(books):
    """
    There is no overdraft beside credit that is free.
    """
    books.limit("50")
    held = books.hold("50")
    grant = books.credit("30")

    books.capture(held)

    assert held.hold.draws == ()
    assert grant not in books.remaining
    assert books.accounts["overdraft"] == money.parse("20")
    assert books.sweep.faults == ()


def test_clawing_a_credit_back_leaves_what_is_held(books):
    """
    A capture must not fail; what is missing is owed.
    """
    credit = books.credit_transaction("100")
    held = books.hold("80")

    books.reverse(credit)

    assert books.accounts["overdraft"] == money.parse("80")
    assert (books.balance, books.available) == ("0.000000", "-80.000000")
    books.capture(held)
    assert books.balance == "-80.000000"
    assert books.sweep.faults == ()


def test_a_reversed_capture_gives_back_the_lifetime_that_was_left_when_it_was_held(books):
    """
    Held with six days left, captured after the grant's end: six days from the reversal.
    """
    books.credit("50", expires_at=books.in_days(10))
    books.day(4)
    held = books.hold("50", expires_at=books.in_days(20))
    books.day(12)
    captured = books.capture(held)
    charge = books.billing.ledger.transaction(books.project.id, captured.hold.transaction_id)

    books.reverse(charge)

    (grant,) = books.wallet.grants
    assert grant.expires_at == books.in_days(18)
    assert books.balance == "50.000000"


# --- once -----------------------------------------------------------------------------------------


def test_a_repeated_hold_is_the_same_hold(books):
    """
    Same bytes, even after it was captured; by the event under another key, too.
    """
    books.credit("100")
    first = books.reserve("60", idempotency_key="k", event_id="job-1")
    books.capture(first.value, "10")

    again = books.reserve("60", idempotency_key="k", event_id="job-1")
    other_key = books.reserve("60", idempotency_key="k2", event_id="job-1")

    assert isinstance(first, Accepted)
    assert isinstance(again, Replayed)
    assert isinstance(other_key, Deduplicated)
    assert first.value == again.value == other_key.value
    assert '"state":"held"' in again.value.body
    with pytest.raises(KeyReused):
        books.reserve("61", idempotency_key="k", event_id="job-1")
    with pytest.raises(HoldConflict):
        books.reserve("61", idempotency_key="k3", event_id="job-1")


def test_a_repeated_capture_or_release_is_answered_as_the_first(books):
    """
    The wallet has moved on; the answer has not.
    """
    books.credit("100")
    capture, release = books.hold("60"), books.hold("5")
    acts = [
        lambda: books.billing.holds.capture(
            books.project.id, capture.id, amount="10", idempotency_key="once"
        ),
        lambda: books.billing.holds.release(books.project.id, release.id, idempotency_key="once"),
    ]
    first = [act() for act in acts]
    books.charge("50")

    again = [act() for act in acts]

    assert [type(one) for one in again] == [Replayed, Replayed]
    assert [one.value for one in again] == [one.value for one in first]
    assert books.balance == "40.000000"
    with pytest.raises(KeyReused):
        books.billing.holds.capture(books.project.id, capture.id, idempotency_key="once")


def test_a_refused_hold_is_refused_for_good(books):
    """
    A late duplicate must not suddenly succeed; a new key may.
    """
    with pytest.raises(InsufficientCredit):
        books.reserve("10", idempotency_key="k")
    books.credit("100")

    with pytest.raises(InsufficientCredit) as again:
        books.reserve("10", idempotency_key="k")
    assert again.value.available == "0.000000"
    assert isinstance(books.reserve("10", idempotency_key="new", event_id="k"), Accepted)


def test_every_attempt_is_counted_but_one_about_nothing(books):
    """
    As those of usage and charges are.
    """
    books.credit("100")
    first = books.reserve("10", idempotency_key="a").value
    books.reserve("10", idempotency_key="a")
    books.reserve("10", idempotency_key="b", event_id="a")
    for amount, key in (("11", "a"), ("999", "c")):
        with pytest.raises((KeyReused, InsufficientCredit)):
            books.reserve(amount, idempotency_key=key)
    books.capture(first)
    with pytest.raises(HoldClosed):
        books.release(first)
    with pytest.raises(HoldNotFound):
        books.billing.holds.release(books.project.id, "hld_none", idempotency_key="z")

    tally = books.billing.audit.totals(books.project.id)

    assert (tally.accepted, tally.replayed, tally.deduped, tally.conflict, tally.rejected) == (2, 1, 1, 1, 2)


def test_an_archived_project_takes_no_holds(books):
    """
    As it takes no charges.
    """
    books.credit("100")
    held = books.hold("10")
    books.billing.projects.archive(books.project.id)

    for act in (lambda: books.hold("1"), lambda: books.capture(held), lambda: books.release(held)):
        with pytest.raises(ProjectArchived):
            act()


# --- the past -------------------------------------------------------------------------------------


def test_the_wallet_of_the_past_tells_what_was_held(books):
    """
    Day by day, before and after the grant's end.
    """
    books.credit("100", expires_at=books.in_days(2))
    books.day(1)
    held = books.hold("80", expires_at=books.in_days(9))
    books.day(3)
    books.capture(held, "50")
    books.day(5)

    past = [books.billing.wallets.get(books.project.id, as_of=books.in_days(day)) for day in range(5)]

    assert [str(view.balance) for view in past] == [
        "100.000000", "100.000000", "80.000000", "0.000000", "0.000000",
    ]  # fmt: skip
    assert [view.held_micros // 1_000_000 for view in past] == [0, 80, 80, 0, 0]
    assert [str(view.available) for view in past] == [
        "100.000000", "20.000000", "0.000000", "0.000000", "0.000000",
    ]  # fmt: skip
