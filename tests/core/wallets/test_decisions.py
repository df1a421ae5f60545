"""Decisions about a wallet, as properties: spend, give back, grant, claw back."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from attrs import evolve
from hypothesis import assume, given
from hypothesis import strategies as st

from neruba_core import money
from neruba_core.audit.model import SYSTEM
from neruba_core.charges.charge import NewCharge, charge_order
from neruba_core.errors import AmountOverflow, ExpiryPassed, InsufficientCredit
from neruba_core.idempotency.fingerprint import fingerprint
from neruba_core.instants import Instant
from neruba_core.ledger.chart import OVERDRAFT
from neruba_core.ledger.model import Transaction, TransactionType
from neruba_core.testing.builders import PROJECT_ID, a_book, a_lot, seeded_ids
from neruba_core.testing.clock import NOON
from neruba_core.wallets.book import Book, Decision, Original
from neruba_core.wallets.credit import NewCredit, claw_back, decide_credit, source_of
from neruba_core.wallets.model import GrantKind
from neruba_core.wallets.orders import NewDebit, credit_order, debit_order, reversal_order
from neruba_core.wallets.reverse import NewReversal, decide_reversal
from neruba_core.wallets.spend import give_back, spend
from tests.core.wallets.test_spending import lots

IDS = seeded_ids(lambda: NOON)
DAY = timedelta(days=1)
micros = st.integers(1, 10**13)


@st.composite
def books(draw, *, most_overdraft: int = 10**12) -> Book:
    """A wallet with grants, or an overdrawn one, or (after a claw-back) one with both."""
    return a_book(
        draw(lots()),
        overdraft_micros=draw(st.integers(0, most_overdraft)),
        credit_limit_micros=draw(st.integers(0, 10**12)),
    )


def charge(book: Book, amount: int, at: Instant = NOON) -> Decision | InsufficientCredit:
    return spend(
        book,
        amount,
        towards="revenue:charges",
        type=TransactionType.CHARGE,
        description="GPU",
        at=at,
        ids=IDS,
    )


def booked(decision: Decision, at: Instant = NOON) -> Transaction:
    return Transaction(
        project_id=PROJECT_ID,
        version=1,
        id=decision.transaction_id,
        type=decision.type,
        operation="charge",
        amount_micros=decision.amount_micros,
        balance_after_micros=0,
        description=decision.description,
        event_id=None,
        metadata=None,
        grant_id=decision.grants[0].id if decision.grants else None,
        reverses=None,
        idempotency_key=decision.transaction_id,
        fingerprint=b"",
        fingerprint_version=1,
        actor="system",
        request_id=None,
        effective_at=at,
        recorded_at=at,
    )


def original(book: Book, decision: Decision, at: Instant = NOON) -> Original:
    """What a reversal of *decision* would be read with; *book* has taken it in."""
    known = {lot.grant.id: lot.grant for lot in book.lots.values()}
    made = Original(
        transaction=booked(decision, at),
        drawn=[
            (posting.account.removeprefix("wallet:"), posting.debit_micros)
            for posting in decision.postings
            if posting.debit_micros and posting.account.startswith("wallet:")
        ],
        grants=known,
        reversed_micros=0,
        returned_micros={},
    )
    book.originals[decision.transaction_id] = made
    return made


def moved(decision: Decision) -> Counter[str]:
    """What each account gains on its debit side."""
    moves: Counter[str] = Counter()
    for posting in decision.postings:
        moves[posting.account] += posting.debit_micros - posting.credit_micros
    return moves


def _spent_from(account: str) -> bool:
    return account == "overdraft" or account.startswith("wallet:")


def contents(book: Book) -> dict[str, int]:
    return {lot.grant.id: lot.remaining_micros for lot in book.lots.values() if lot.remaining_micros}


@given(books(), micros)
def test_a_charge_is_covered_whole_or_refused_whole(book, amount):
    """
    And a refusal says exactly what there was.
    """
    available = book.available_micros(NOON)
    before = contents(book)

    decision = charge(book, amount)

    if amount > available:
        assert isinstance(decision, InsufficientCredit)
        assert decision.available == money.text(available)
        assert contents(book) == before
    else:
        assert isinstance(decision, Decision)
        moves = moved(decision)
        assert sum(moves.values()) == 0
        assert moves["revenue:charges"] == -amount
        assert sum(taken for account, taken in moves.items() if _spent_from(account)) == amount


@given(books(), micros)
def test_overdraft_is_touched_only_when_credit_runs_dry(book, amount):
    """
    What the customer has been given is used before what the customer will owe.
    """
    decision = charge(book, amount)
    assume(isinstance(decision, Decision))
    assert isinstance(decision, Decision)
    into_overdraft = moved(decision)[OVERDRAFT]

    book.post(decision)

    if into_overdraft:
        assert not any(lot.remaining_micros for lot in book.lots.values() if not lot.expired(NOON))
    assert book.available_micros(NOON) >= 0


@given(books(), micros)
def test_the_head_follows_the_accounts(book, amount):
    """
    The guarded row repeats what the entries say.
    """
    decision = charge(book, amount)
    assume(isinstance(decision, Decision))
    assert isinstance(decision, Decision)
    version = book.head.version

    entries = book.post(decision)

    wallet = -sum(value for name, value in book.accounts.items() if name.startswith("wallet:"))
    assert book.head.version == version + 1
    assert book.head.balance_micros == wallet - book.overdraft_micros
    assert book.head.overdraft_micros == book.overdraft_micros
    assert [(entry.account, entry.debit_micros, entry.credit_micros) for entry in entries] == [
        (posting.account, posting.debit_micros, posting.credit_micros) for posting in decision.postings
    ]
    assert [(entry.version, entry.number) for entry in entries] == [
        (version + 1, number) for number in range(len(entries))
    ]
    assert [entry.balance_after_micros for entry in entries] == [
        book.accounts[entry.account] for entry in entries
    ]


@given(books(most_overdraft=0), micros)
def test_reversing_a_whole_charge_restores_the_wallet(book, amount):
    """
    To the grant, while none has expired.
    """
    before = contents(book)
    decision = charge(book, amount)
    assume(isinstance(decision, Decision))
    assert isinstance(decision, Decision)
    book.post(decision)

    undone = give_back(
        book, original(book, decision), amount, "mistake", source="revenue:charges", at=NOON, ids=IDS
    )
    book.post(undone)

    assert contents(book) == before
    assert book.overdraft_micros == 0
    assert book.accounts["revenue:charges"] == 0


@given(books(), micros, st.lists(st.integers(1, 100), min_size=1, max_size=5), st.integers(0, 40))
def test_partial_reversals_come_to_the_whole(book, amount, weights, days):
    """
    In balance and in every grant, however it is sliced, even where grants have expired meanwhile.
    """
    decision = charge(book, amount)
    assume(isinstance(decision, Decision))
    assert isinstance(decision, Decision)
    assume(amount >= len(weights))
    book.post(decision)
    later = NOON + days * DAY
    shares = [max(1, amount * weight // sum(weights)) for weight in weights[1:]]
    assume(sum(shares) < amount)
    whole, sliced = _copy(book), _copy(book)

    _reverse(whole, decision, [amount], later)
    _reverse(sliced, decision, [*shares, amount - sum(shares)], later)

    assert whole.balance_micros(later) == sliced.balance_micros(later)
    assert _by_kind(whole) == _by_kind(sliced)
    assert whole.overdraft_micros == sliced.overdraft_micros
    assert whole.accounts["revenue:charges"] == sliced.accounts["revenue:charges"] == 0


def _copy(book: Book) -> Book:
    return evolve(
        book,
        head=book.head,
        accounts=dict(book.accounts),
        lots=dict(book.lots),
        originals={},
        changed=set(book.changed),
    )


def _reverse(book: Book, decision: Decision, shares: list[int], at: Instant) -> None:
    of = original(book, decision)
    for share in shares:
        book.post(give_back(book, of, share, "mistake", source="revenue:charges", at=at, ids=IDS))
    assert of.left_micros == 0


def _by_kind(book: Book) -> Counter[tuple[GrantKind, Instant | None]]:
    """Slices open several grants where the whole opens one; together they hold the same."""
    held: Counter[tuple[GrantKind, Instant | None]] = Counter()
    for lot in book.lots.values():
        held[lot.grant.kind, lot.grant.expires_at] += lot.remaining_micros
    return Counter({key: value for key, value in held.items() if value})


@given(books(), st.lists(st.tuples(micros, st.integers(0, 40)), min_size=1, max_size=5))
def test_what_a_book_comes_to_is_kept_up(book, steps):
    """
    It says at every moment what a book would that is opened now, though it does not look at all lots again.
    """
    for amount, days in steps:
        at = NOON + days * DAY
        assert book.available_micros(at) == _copy(book).available_micros(at)
        decision = charge(book, amount, at)
        if isinstance(decision, Decision):
            book.post(decision)
            back = give_back(
                book,
                original(book, decision),
                amount,
                "x",
                source="revenue:charges",
                at=at + 30 * DAY,
                ids=IDS,
            )
            assert book.available_micros(at) == _copy(book).available_micros(at)
            book.post(back)
        assert book.balance_micros(at) == _copy(book).balance_micros(at)


@given(books(), micros, st.integers(0, 40))
def test_what_is_given_back_raises_the_balance_by_as_much(book, amount, days):
    """
    Repaying overdraft and refilling grants both count, and expired grants swallow nothing.
    """
    decision = charge(book, amount)
    assume(isinstance(decision, Decision))
    assert isinstance(decision, Decision)
    book.post(decision)
    later = NOON + days * DAY
    before = book.balance_micros(later)

    undone = give_back(
        book, original(book, decision), amount, "mistake", source="revenue:charges", at=later, ids=IDS
    )
    book.post(undone)

    assert sum(moved(undone).values()) == 0
    assert book.balance_micros(later) == before + amount
    assert -sum(given for account, given in moved(undone).items() if _spent_from(account)) == amount


@given(books(), micros, st.sampled_from(GrantKind))
def test_credit_repays_the_overdraft_first(book, amount, kind):
    """
    In the same transaction, and the balance rises by the credit whatever becomes of it.
    """
    before, owed = book.balance_micros(NOON), book.overdraft_micros
    new = NewCredit(amount, "Launch", "k", kind)

    decision = decide_credit(book, new, at=NOON, ids=IDS)
    assert isinstance(decision, Decision)
    book.post(decision)

    assert sum(moved(decision).values()) == 0
    assert moved(decision)[source_of(book.chart, kind)] == amount
    assert book.overdraft_micros == max(owed - amount, 0)
    assert book.lots[decision.grants[0].id].remaining_micros == max(amount - owed, 0)
    assert book.balance_micros(NOON) == before + amount


@given(books(), micros, micros)
def test_a_clawed_back_credit_leaves_the_balance_as_if_never_given(book, amount, spent):
    """
    Wherever it has gone meanwhile, and even beyond the limit.
    """
    before = book.balance_micros(NOON)
    credit = decide_credit(book, NewCredit(amount, "Launch", "k"), at=NOON, ids=IDS)
    assert isinstance(credit, Decision)
    book.post(credit)
    decision = charge(book, spent)
    if isinstance(decision, Decision):
        book.post(decision)

    undone = claw_back(book, original(book, credit), amount, "fraud", at=NOON, ids=IDS)
    book.post(undone)

    charged = spent if isinstance(decision, Decision) else 0
    assert sum(moved(undone).values()) == 0
    assert book.balance_micros(NOON) == before - charged
    if moved(undone)[OVERDRAFT]:
        assert not any(lot.remaining_micros for lot in book.lots.values() if not lot.expired(NOON))


@given(books(), micros, st.integers(1, 10**13))
def test_a_reversal_never_exceeds_what_is_left(book, amount, asked):
    """
    Together reversals come to at most the original.
    """
    decision = charge(book, amount)
    assume(isinstance(decision, Decision))
    assert isinstance(decision, Decision)
    book.post(decision)
    original(book, decision)

    reversal = decide_reversal(
        book, NewReversal(decision.transaction_id, "mistake", "r", asked), at=NOON, ids=IDS
    )

    assert isinstance(reversal, Decision) is (asked <= amount)


def test_a_grant_that_would_be_born_dead_is_refused():
    """
    Half-open: one that expires now never lives.
    """
    refused = decide_credit(a_book(), NewCredit(1, "Launch", "k", expires_at=NOON), at=NOON, ids=IDS)
    later = NewCredit(1, "Launch", "k", expires_at=NOON + timedelta(microseconds=1))

    assert isinstance(refused, ExpiryPassed)
    assert isinstance(decide_credit(a_book(), later, at=NOON, ids=IDS), Decision)


def test_an_account_that_would_leave_64_bits_refuses_and_changes_nothing():
    """
    Better refused than wrapped around.
    """
    most = 2**63 - 1
    book = a_book(accounts={"promotions": most - 5})
    before = _copy(book)
    decision = decide_credit(book, NewCredit(6, "Launch", "k"), at=NOON, ids=IDS)
    assert isinstance(decision, Decision)

    with pytest.raises(AmountOverflow):
        book.post(decision)

    assert book == before


amounts = st.integers(1, money.MAX_MICROS)
words = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp", "Zs")), min_size=1, max_size=9
)
keys = st.from_regex(r"[!-~]{1,9}", fullmatch=True)
metadata = st.none() | st.dictionaries(words, st.booleans() | st.integers(-9, 9) | words, max_size=3)


@given(amounts, words, keys, st.none() | words, metadata)
def test_the_quick_fingerprint_of_a_charge_is_the_general_one(amount, description, key, event_id, properties):
    """
    Orders write their canonical text by hand.
    """
    order = charge_order("prj_1", NewCharge(amount, description, key, event_id, properties), SYSTEM)

    def general(event: str | None) -> bytes:
        body = {"amount": money.text(amount), "description": description, "eventId": event}
        return fingerprint("charge", "/ingest/charge", {**body, "metadata": properties})

    assert order.fingerprint() == general(event_id)
    assert order.same_content(general(event_id), event_id or key)
    assert order.same_content(general(None), key)
    assert not order.same_content(b"", key)


@given(
    amounts,
    words,
    keys,
    st.none() | st.sampled_from(GrantKind),
    st.none() | st.integers(0, 1000),
    st.none() | st.just(("calls", "tokens")),
)
def test_the_quick_fingerprints_of_finance_are_the_general_ones(
    amount, words, key, kind, priority, metric_keys
):
    """
    Credit, debit and reversal alike.
    """
    plain = {"amount": money.text(amount), "description": words}
    credit = credit_order("prj_1", NewCredit(amount, words, key, kind, priority, NOON, metric_keys), SYSTEM)
    debit = debit_order("prj_1", NewDebit(amount, words, key), SYSTEM)
    reversal = reversal_order("prj_1", NewReversal("txn_1", words, key, amount), SYSTEM)
    whole = reversal_order("prj_1", NewReversal("txn_1", words, key), SYSTEM)

    assert credit.fingerprint() == fingerprint(
        "credit",
        "/projects/prj_1/transactions/credit",
        {
            **plain,
            "kind": kind and kind.value,
            "priority": priority,
            "expiresAt": "2026-03-17T12:00:00.000000Z",
            "metricKeys": metric_keys,
        },
    )
    assert debit.fingerprint() == fingerprint("debit", "/projects/prj_1/transactions/debit", plain)
    path = "/projects/prj_1/transactions/txn_1/reverse"
    assert reversal.fingerprint() == fingerprint(
        "reverse", path, {"amount": money.text(amount), "reason": words}
    )
    assert whole.fingerprint() == fingerprint("reverse", path, {"reason": words})


def test_a_spending_carries_what_it_was_asked_with():
    """
    Description and metadata, under an id of its own.
    """
    decision = spend(
        a_book(credit_limit_micros=5),
        5,
        towards="revenue:charges",
        type=TransactionType.CHARGE,
        description="GPU",
        metadata={"node": 7},
        at=NOON,
        ids=IDS,
    )

    assert isinstance(decision, Decision)
    assert (decision.description, decision.metadata, decision.type) == ("GPU", {"node": 7}, "charge")
    assert decision.transaction_id.startswith("txn_")


def two_grants_charged() -> tuple[Book, Original]:
    """Promotional 10 until day 5 and paid 10 until day 7, all of it spent."""
    book = a_book(
        [
            a_lot(10, 1, priority=20, expires_at=NOON + 5 * DAY),
            a_lot(10, 2, priority=30, kind=GrantKind.PAID, expires_at=NOON + 7 * DAY),
        ]
    )
    decision = charge(book, 20)
    assert isinstance(decision, Decision)
    book.post(decision)
    return book, original(book, decision)


def given_back(book: Book, of: Original, amount: int, at: Instant = NOON) -> Decision:
    decision = give_back(book, of, amount, "mistake", source="revenue:charges", at=at, ids=IDS)
    book.post(decision)
    return decision


def test_what_is_given_back_says_why_and_for_what():
    """
    The reason that support was given, and the transaction that is reversed.
    """
    book, of = two_grants_charged()

    decision = given_back(book, of, 4)

    assert (decision.type, decision.description) == ("reversal", "mistake")
    assert decision.reverses == of.transaction.id


def test_each_draw_is_given_back_once_and_the_last_first():
    """
    Grant by grant: what one has been given back, it is not given again.
    """
    book, of = two_grants_charged()
    held = []

    for share in (4, 6, 3, 7):
        given_back(book, of, share)
        held.append([book.lots[grant_id].remaining_micros for grant_id in sorted(book.lots)])

    assert held == [[0, 4], [0, 10], [3, 10], [10, 10]]


def test_a_successor_is_its_grant_with_the_lifetime_that_was_left():
    """
    Kind and priority stay; nothing is opened for a share that was given back before.
    """
    book, of = two_grants_charged()
    at = NOON + 8 * DAY

    first, second = given_back(book, of, 10, at), given_back(book, of, 4, at)

    (paid,), (promotional,) = first.grants, second.grants
    assert (paid.kind, paid.priority, paid.amount_micros) == (GrantKind.PAID, 30, 10)
    assert (paid.effective_at, paid.expires_at, paid.project_id) == (at, at + 7 * DAY, PROJECT_ID)
    assert paid.transaction_id == first.transaction_id
    assert first.transaction_id.startswith("txn_")
    assert paid.id.startswith("grt_")
    assert (promotional.kind, promotional.priority) == (GrantKind.PROMOTIONAL, 20)
    assert (promotional.amount_micros, promotional.expires_at) == (4, at + 5 * DAY)
    assert (paid.succeeds, promotional.succeeds) == (f"grt_{2:032x}", f"grt_{1:032x}")


def test_what_no_grant_is_owed_is_goodwill():
    """
    Its overdraft was repaid meanwhile, by other credit: a gift of the usual priority, for ever.
    """
    book = a_book(credit_limit_micros=10)
    decision = charge(book, 10)
    assert isinstance(decision, Decision)
    book.post(decision)
    of = original(book, decision)
    credit = decide_credit(book, NewCredit(10, "Top-up", "k", GrantKind.PAID), at=NOON, ids=IDS)
    assert isinstance(credit, Decision)
    book.post(credit)

    (grant,) = given_back(book, of, 6).grants

    assert (grant.kind, grant.priority, grant.amount_micros) == (GrantKind.GOODWILL, 50, 6)
    assert (grant.expires_at, grant.succeeds) == (None, None)
