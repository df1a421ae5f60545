"""Reading the books: lists, the trial balance, as of any instant, and the sweep that finds faults."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from attrs import evolve

from neruba_core import money
from neruba_core.errors import (
    AmountOverflow,
    CursorMismatch,
    FormatInvalid,
    InstantNaive,
    NotReversible,
    ProjectNotFound,
    TransactionNotFound,
)
from neruba_core.ledger.chart import DEFAULT, AccountClass
from neruba_core.ledger.model import Account, TransactionType
from neruba_core.ledger.trial_balance import trial_balance
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.clock import NOON
from tests.core.ledger.stage import Books

M = money.MICROS


@pytest.fixture
def books(billing: Rehearsal) -> Books:
    return Books(billing)


@pytest.fixture
def told(books: Books) -> Books:
    """
    A story of three days: credit 100, charge 30, half of the charge reversed.
    """
    books.credit("100", kind="paid")
    books.day(1)
    charge = books.charge("30")
    books.day(2)
    books.reverse(charge, "15")
    return books


def test_transactions_are_numbered_without_gaps_and_listed_newest_first(told):
    """
    The version is the sealing sequence.
    """
    listed = told.billing.ledger.transactions(told.project.id).items

    assert [transaction.version for transaction in listed] == [3, 2, 1]
    assert [transaction.type.value for transaction in listed] == ["reversal", "charge", "credit"]
    assert listed[0].reverses == listed[1].id


def test_transactions_are_filtered_by_type_and_effective_time(told):
    """
    From, inclusive, to, exclusive.
    """
    ledger, project_id = told.billing.ledger, told.project.id

    charges = ledger.transactions(project_id, type=TransactionType.CHARGE).items
    second_day = ledger.transactions(project_id, start=told.in_days(1), end=told.in_days(2)).items

    assert charges == second_day
    assert len(charges) == 1


def test_pages_of_transactions_and_entries_lead_through_all(told):
    """
    A cursor goes with its filters.
    """
    ledger, project_id = told.billing.ledger, told.project.id

    first = ledger.transactions(project_id, limit=2)
    rest = ledger.transactions(project_id, limit=2, cursor=first.next_cursor)
    entries = ledger.entries(project_id, limit=5)
    more = ledger.entries(project_id, limit=5, cursor=entries.next_cursor)

    assert [transaction.version for transaction in (*first.items, *rest.items)] == [3, 2, 1]
    assert rest.next_cursor is None
    assert [entry.place for entry in (*entries.items, *more.items)] == sorted(
        (entry.place for entry in ledger.entries(project_id).items), reverse=True
    )
    with pytest.raises(CursorMismatch):
        ledger.transactions(project_id, type=TransactionType.CHARGE, cursor=first.next_cursor)


def test_entries_carry_their_accounts_running_balance(told):
    """
    Each is the sum of those before.
    """
    entries = told.billing.ledger.entries(told.project.id, account="revenue:charges").items

    assert [entry.balance_after_micros for entry in reversed(entries)] == [-30 * M, -15 * M]
    assert len({entry.id for entry in entries}) == 2
    assert all(entry.id.startswith("ent_") for entry in entries)


def test_the_trial_balance_balances_by_class(told):
    """
    Assets, expenses and contra-income grow by debit, the others by credit.
    """
    balance = told.billing.ledger.trial_balance(told.project.id)

    by_name = {account.account.partition(":")[0]: account for account in balance.accounts}
    assert balance.balanced
    assert balance.debits_micros == balance.credits_micros == 100 * M
    assert by_name["cash"].balance_micros == 100 * M
    assert by_name["wallet"].balance_micros == 85 * M
    assert by_name["revenue"].balance_micros == 15 * M
    assert by_name["revenue"].account_class is AccountClass.INCOME


def test_a_wrong_balance_is_told():
    """
    The proof must be able to fail.
    """
    wrong = trial_balance({"overdraft": 5, "revenue:charges": -4, "promotions": 0}, DEFAULT)

    assert not wrong.balanced
    assert [account.account for account in wrong.accounts] == ["overdraft", "revenue:charges"]
    with pytest.raises(KeyError):
        DEFAULT.class_of("petty_cash")


def test_the_wallet_can_be_read_as_of_any_instant(told):
    """
    Also in another zone; a naive instant names no moment.
    """
    wallets, project_id = told.billing.wallets, told.project.id
    berlin = told.in_days(1).astimezone(ZoneInfo("Europe/Berlin"))

    balances = [
        str(wallets.get(project_id, as_of=moment).balance)
        for moment in (
            NOON - timedelta(microseconds=1),
            NOON,
            berlin - timedelta(microseconds=1),
            berlin,
            told.in_days(2),
        )
    ]

    assert balances == ["0.000000", "100.000000", "100.000000", "70.000000", "85.000000"]
    with pytest.raises(InstantNaive):
        wallets.get(project_id, as_of=NOON.replace(tzinfo=None))


def test_the_ledger_can_be_read_as_it_was_known(told):
    """
    What was recorded later was not known.
    """
    ledger, wallets, project_id = told.billing.ledger, told.billing.wallets, told.project.id

    known = ledger.trial_balance(project_id, known_at=told.in_days(1))
    effective = ledger.trial_balance(project_id, as_of=told.in_days(1))

    assert known == effective
    assert known.balanced
    assert str(wallets.get(project_id, known_at=told.in_days(1)).balance) == "70.000000"
    assert ledger.trial_balance(project_id, as_of=told.in_days(9)) == ledger.trial_balance(project_id)


def test_as_of_an_earlier_instant_credit_had_not_expired_yet(books):
    """
    Expiry counts at the instant that is asked about.
    """
    books.credit("30", expires_at=books.in_days(5))
    books.day(9)

    then = books.billing.wallets.get(books.project.id, as_of=books.in_days(4))

    assert str(then.balance) == "30.000000"
    assert books.balance == "0.000000"
    assert then.grants[0].expires_at == books.in_days(5)


def test_what_is_not_there_is_refused(told):
    """
    Each with its own refusal, and a foreign project like none.
    """
    ledger = told.billing.ledger
    other = told.billing.projects.create(name="Other")
    transaction = ledger.transactions(told.project.id).items[0]

    with pytest.raises(TransactionNotFound):
        ledger.transaction(other.id, transaction.id)
    with pytest.raises(ProjectNotFound):
        ledger.transactions("prj_none")
    with pytest.raises(FormatInvalid):
        ledger.entries(told.project.id, limit=0)
    with pytest.raises(TransactionNotFound):
        told.billing.wallets.reverse(other.id, transaction.id, reason="x", idempotency_key="k")
    with pytest.raises(NotReversible, match="is a reversal"):
        told.reverse(transaction)

    assert ledger.transaction(told.project.id, transaction.id) == transaction


def test_a_total_beyond_64_bits_is_refused(books):
    """
    The second of two credits that do not fit together; nothing changes.
    """
    most = money.decimal(money.MAX_MICROS)
    books.credit(str(most))

    with pytest.raises(AmountOverflow):
        books.credit("300000000000")

    assert books.balance == str(most)
    assert books.sweep.transactions == 1


def test_a_sound_ledger_sweeps_clean(told):
    """
    Everything that is kept for speed, re-derived from the entries.
    """
    swept = told.sweep

    assert swept.balanced
    assert swept.transactions == 3
    assert swept.checked_at == told.billing.clock()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"balance_micros": 1}, "head balance: entries say 85000000, kept is 1"),
        ({"overdraft_micros": 7}, "head overdraft: entries say 0, kept is 7"),
        ({"receivable_micros": 7}, "head receivable: entries say 0, kept is 7"),
        ({"version": 4}, "head version: entries say 3, kept is 4"),
    ],
    ids=range(4),
)
def test_the_sweep_finds_a_tampered_head(told, changes, fault):
    """
    And says what it should be.
    """
    with told.billing._context.storage.work() as work:
        head = work.ledger.lock_heads([told.project.id])[told.project.id]
        work.ledger.write_heads([evolve(head, **changes)])

    assert fault in told.sweep.faults
    assert not told.sweep.balanced


@pytest.mark.parametrize("account", ["revenue:charges", "bad_debt"])
def test_the_sweep_finds_a_tampered_account(told, account):
    """
    One that differs, and one that should not be there. The cheap proof sees the imbalance too.
    """
    with told.billing._context.storage.work() as work:
        work.ledger.lock_heads([told.project.id])
        work.ledger.write_accounts([Account(told.project.id, account, -12)])

    assert any(f"account {account}: entries say" in fault for fault in told.sweep.faults)
    assert not told.billing.billing.overview(told.project.id).ledger.balanced


def test_the_sweep_finds_a_half_transaction(told):
    """
    An entry that is missing leaves debits and credits apart.
    """
    tables = told.billing._context.storage._work._stores._tables.ledger
    (place, booked), *_ = tables.transactions._rows[told.project.id].items()
    tables.transactions._rows[told.project.id][place] = evolve(booked, entries=booked.entries[:1])

    assert any("debits and credits differ by" in fault for fault in told.sweep.faults)


@pytest.mark.parametrize(
    "details",
    [{"kind": "free"}, {"priority": -1}, {"priority": 1001}, {"priority": True}, {"priority": "1"}],
    ids=str,
)
def test_credit_of_no_known_kind_or_priority_is_refused(books, details):
    """
    With what would be accepted.
    """
    with pytest.raises(FormatInvalid):
        books.credit("5", **details)

    assert books.sweep.transactions == 0
    assert books.credit("5", kind="goodwill", priority=1000)
