"""Credit for some metrics only, as properties: what it pays for, and what it never does."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_core import money
from neruba_core.errors import FormatInvalid, InsufficientCredit
from neruba_core.invoices.model import Line, LineKind
from neruba_core.invoices.posting import credit_for, net_of
from neruba_core.ledger.chart import OVERDRAFT
from neruba_core.ledger.model import TransactionType
from neruba_core.testing.builders import a_book, a_lot
from neruba_core.testing.clock import NOON
from neruba_core.wallets.book import Book, Decision
from neruba_core.wallets.credit import MAX_METRIC_KEYS, NewCredit, claw_back, decide_credit
from neruba_core.wallets.holds import NewHold, decide_hold
from neruba_core.wallets.model import GrantKind, Hold
from neruba_core.wallets.spend import Claim, hand_back, spend
from neruba_core.wallets.spending import spending_order, takes
from tests.core.invoices.test_posting import SPAN
from tests.core.wallets.test_decisions import IDS, moved, original

DAY = timedelta(days=1)
METRICS = ("calls", "images", "tokens")
amounts = st.integers(0, 40)
metrics = st.sampled_from(METRICS)
scopes = st.sampled_from([(), (), ("calls",), ("images", "tokens"), ("calls", "tokens")])


@st.composite
def books(draw) -> Book:
    """A wallet of few and small grants, some for some metrics, perhaps overdrawn, even beyond its limit."""
    lots = [
        a_lot(
            draw(amounts),
            number,
            kind=draw(st.sampled_from(GrantKind)),
            priority=draw(st.integers(0, 1)),
            expires_at=draw(st.none() | st.sampled_from([NOON - DAY, NOON + DAY])),
            metric_keys=draw(scopes),
        )
        for number in range(draw(st.integers(0, 6)))
    ]
    book = a_book(lots, overdraft_micros=draw(amounts), credit_limit_micros=draw(amounts))
    # Held against the credit limit, when there was no credit.
    book.held_micros = draw(amounts)
    return book


def scoped(book: Book) -> dict[str, int]:
    """What is left of each grant for some metrics."""
    return {lot.grant.id: lot.remaining_micros for lot in book.lots.values() if lot.grant.metric_keys}


def used(
    book: Book, micros: int, metric: str, *, beyond_limit: bool = False
) -> Decision | InsufficientCredit:
    return spend(
        book,
        micros,
        towards=f"revenue:{metric}",
        type=TransactionType.USAGE,
        description="use",
        metric_key=metric,
        at=NOON,
        ids=IDS,
        beyond_limit=beyond_limit,
    )


@given(books(), st.integers(1, 90), st.booleans())
def test_what_is_no_usage_never_draws_it(book, micros, beyond_limit):
    """
    Neither a charge, nor a debit, nor a hold; and none may come to more than there is without it.
    """
    before, room = scoped(book), book.available_micros(NOON)
    held = decide_hold(book, NewHold(micros, "job", "k"), at=NOON, ids=IDS)
    decision = spend(
        book,
        micros,
        towards="revenue:charges",
        type=TransactionType.CHARGE,
        description="GPU",
        beyond_limit=beyond_limit,
        at=NOON,
        ids=IDS,
    )

    assert isinstance(held, Hold) is (micros <= room)
    assert isinstance(decision, Decision) is (beyond_limit or micros <= room)
    if isinstance(held, Hold):
        assert not {draw.grant_id for draw in held.draws} & before.keys()
    if isinstance(decision, Decision):
        book.post(decision)
    assert scoped(book) == before


@given(books(), st.integers(1, 90), metrics, st.booleans())
def test_usage_draws_its_own_credit_and_stays_above_the_floor(book, micros, metric, beyond_limit):
    """
    It may come to its own credit and what is available beside; other metrics' credit is not touched.
    """
    before, room = scoped(book), book.available_micros(NOON)
    own = sum(
        lot.remaining_micros
        for lot in book.lots.values()
        if metric in lot.grant.metric_keys and not lot.expired(NOON)
    )
    most = book.available_for(metric, NOON)

    decision = used(book, micros, metric, beyond_limit=beyond_limit)

    assert most == (max(room, 0) + own if own else room)
    assert isinstance(decision, Decision) is (beyond_limit or micros <= most)
    if isinstance(decision, InsufficientCredit):
        assert decision.available == money.text(most)
        return
    book.post(decision)
    assert sum(moved(decision).values()) == 0
    assert sum(taken for name, taken in moved(decision).items() if not name.startswith("revenue")) == micros
    if not beyond_limit:
        assert book.available_micros(NOON) >= min(room, 0)
    for grant_id, left in scoped(book).items():
        lot = book.lots[grant_id]
        assert 0 <= left <= before[grant_id]
        if metric not in lot.grant.metric_keys or lot.expired(NOON):
            assert left == before[grant_id]
        elif moved(decision)[OVERDRAFT]:
            assert left == 0


@given(books(), st.integers(1, 90), scopes)
def test_a_new_grant_for_some_metrics_repays_no_overdraft(book, micros, keys):
    """
    The overdraft came from elsewhere; any other credit repays it first.
    """
    owed, before = book.overdraft_micros, book.available_micros(NOON)
    decision = decide_credit(book, NewCredit(micros, "x", "k", metric_keys=keys or None), at=NOON, ids=IDS)
    assert isinstance(decision, Decision)
    book.post(decision)

    (opened,) = decision.grants
    assert opened.metric_keys == keys
    assert book.overdraft_micros == (owed if keys else max(owed - micros, 0))
    assert book.lots[opened.id].remaining_micros == (micros if keys else max(micros - owed, 0))
    assert book.available_micros(NOON) == before + (0 if keys else micros)


@given(books(), st.integers(1, 90), scopes, st.integers(0, 60), metrics)
def test_a_claw_back_leaves_other_grants_for_some_metrics_alone(book, micros, keys, spent, metric):
    """
    It takes its own remainder, then what pays for anything, then the overdraft.
    """
    credit = decide_credit(book, NewCredit(micros, "x", "k", metric_keys=keys or None), at=NOON, ids=IDS)
    assert isinstance(credit, Decision)
    book.post(credit)
    decision = used(book, spent, metric) if spent else None
    if isinstance(decision, Decision):
        book.post(decision)
    before, balance = scoped(book), book.balance_micros(NOON)
    own = credit.grants[0].id
    left = book.lots[own].remaining_micros

    undone = claw_back(book, original(book, credit), micros, "fraud", at=NOON, ids=IDS)
    book.post(undone)

    assert book.balance_micros(NOON) == balance - micros
    assert book.lots[own].remaining_micros == max(left - micros, 0)
    assert scoped(book) == before | ({own: max(left - micros, 0)} if keys else {})
    if moved(undone)[OVERDRAFT]:
        assert not any(
            lot.remaining_micros
            for lot in book.lots.values()
            if not lot.grant.metric_keys and not lot.expired(NOON)
        )


@given(books(), st.integers(1, 90), metrics, st.integers(0, 2), amounts)
def test_what_it_paid_comes_back_to_it_alone(book, micros, metric, days, owed_elsewhere):
    """
    It repays no overdraft; where it has expired meanwhile, a new grant for the same metrics gets its share.
    """
    decision = used(book, micros, metric, beyond_limit=True)
    assert isinstance(decision, Decision)
    before = Counter(lot.grant.metric_keys for lot in book.lots.values() for _ in range(lot.remaining_micros))
    book.post(decision)
    overdrawn = spend(
        book,
        owed_elsewhere or 1,
        towards="revenue:charges",
        type=TransactionType.CHARGE,
        description="GPU",
        beyond_limit=True,
        at=NOON,
        ids=IDS,
    )
    assert isinstance(overdrawn, Decision)
    book.post(overdrawn)
    later = NOON + days * DAY
    claims = [
        Claim(book.lots[posting.account.removeprefix("wallet:")].grant, posting.debit_micros, NOON)
        for posting in reversed(decision.postings)
        if posting.debit_micros and posting.account != OVERDRAFT
    ]

    undone = hand_back(
        book,
        micros,
        claims,
        source=f"revenue:{metric}",
        type=TransactionType.USAGE,
        description="void",
        at=later,
        ids=IDS,
    )
    book.post(undone)

    after = Counter(lot.grant.metric_keys for lot in book.lots.values() for _ in range(lot.remaining_micros))
    assert {keys: n for keys, n in after.items() if keys} == {keys: n for keys, n in before.items() if keys}
    assert sum(moved(undone).values()) == 0
    for grant in undone.grants:
        if grant.metric_keys:
            assert grant.succeeds in book.lots
            assert grant.expires_at is not None
            assert grant.expires_at > later


# --- invoices ---------------------------------------------------------------------------------


def a_line(micros: int, drawn: int, metric: str | None, kind: LineKind = LineKind.USAGE) -> Line:
    return Line("lin", kind, metric, "x", None, None, "2026-03", SPAN, f"revenue:{metric}", micros, drawn)


LINES = st.lists(
    st.builds(a_line, st.integers(-60, 60), amounts, metrics | st.none())
    | st.builds(a_line, st.integers(-9, 9), st.just(0), st.none(), st.just(LineKind.TAX)),
    max_size=5,
)


@given(books(), LINES)
def test_on_an_invoice_it_pays_for_lines_of_its_metrics(book, lines):
    """
    Never for more than they come to, never for tax, and all together never for more than is due.
    """
    takes = credit_for(book, lines, NOON)

    net = max(net_of(lines), 0)
    due: Counter[str | None] = Counter()
    for line in lines:
        due[line.metric_key] += line.amount_micros - line.already_drawn_micros
    paid = [(lot, micros) for lot, micros in takes if lot.grant.metric_keys]
    for_any = sum(micros for _, micros in takes) - sum(micros for _, micros in paid)
    # Hall's condition: whatever some grants pay fits into the lines of their metrics together.
    for number in range(1, 2 ** len(paid)):
        some = [take for place, take in enumerate(paid) if number >> place & 1]
        keys = {key for lot, _ in some for key in lot.grant.metric_keys}
        assert sum(micros for _, micros in some) <= sum(max(due[key], 0) for key in keys)
    tax = sum(line.amount_micros for line in lines if line.kind is LineKind.TAX)
    untaxed = net_of(line for line in lines if line.kind is not LineKind.TAX)
    assert net_of(lines) - tax == untaxed
    assert sum(micros for _, micros in paid) <= max(untaxed, 0)
    assert sum(micros for _, micros in takes) <= net
    assert all(0 < micros <= lot.free_micros and not lot.expired(NOON) for lot, micros in takes)
    ranks = [spending_order(lot) for lot, _ in paid]
    assert ranks == sorted(ranks)
    unscoped = sum(
        lot.remaining_micros
        for lot in book.lots.values()
        if not lot.grant.metric_keys and not lot.expired(NOON)
    )
    free = max(unscoped - book.head.held_micros, 0)
    assert for_any == min(net - sum(micros for _, micros in paid), free)


def test_grants_that_overlap_pay_a_line_once_between_them():
    """
    The first in the order, then the next for what is left of it; not for the seats beside it.
    """
    wallet = [a_lot(7, 1, metric_keys=("calls", "tokens")), a_lot(7, 2, metric_keys=("tokens",)), a_lot(2, 3)]
    lines = [a_line(9, 0, "tokens"), a_line(20, 0, None, LineKind.SUBSCRIPTION)]

    takes = credit_for(a_book(wallet), lines, NOON)

    assert [(lot.grant.id[-1], micros) for lot, micros in takes] == [("1", 7), ("2", 2), ("3", 2)]


def test_a_hold_against_the_limit_keeps_what_it_needs():
    """
    Credit for anything is nearly all needed for a hold: usage takes what is available of it, then its own.
    """
    book = a_book([a_lot(10, 1, priority=0), a_lot(10, 2, metric_keys=("tokens",))])
    book.held_micros = 8

    decision = used(book, 12, "tokens")

    assert isinstance(decision, Decision)
    assert [posting.debit_micros for posting in decision.postings if posting.debit_micros] == [2, 10]
    assert isinstance(used(book, 13, "tokens"), InsufficientCredit)


# --- the request ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys",
    [
        [],
        ["tokens", "tokens"],
        ["no space"],
        "tokens",
        [f"metric_{number}" for number in range(MAX_METRIC_KEYS + 1)],
    ],
)
def test_keys_that_name_no_set_of_metrics_are_refused(keys):
    """
    One to twenty, each once, each a key that a metric can have.
    """
    with pytest.raises(FormatInvalid):
        NewCredit.of(amount="1", description="x", idempotency_key="k", metric_keys=keys)


def test_the_order_of_the_keys_says_nothing():
    """
    So a retry may send them in another.
    """
    made = [
        NewCredit.of(amount="1", description="x", idempotency_key="k", metric_keys=keys)
        for keys in (["tokens", "calls"], ["calls", "tokens"])
    ]

    assert made[0] == made[1]
    assert made[0].metric_keys == ("calls", "tokens")


def test_where_priorities_are_equal_it_goes_first():
    """
    Even before what expires sooner: it would be missed least.
    """
    wallet = [
        a_lot(1, 1, expires_at=NOON + DAY),
        a_lot(1, 2, metric_keys=("tokens",)),
        a_lot(1, 3, priority=10),
    ]

    assert [lot.grant.id[-1] for lot in sorted(wallet, key=spending_order)] == ["3", "2", "1"]


def test_credit_for_anything_pays_no_more_than_is_available_of_it_over_all_its_grants():
    """
    Even where it comes first: the rest is paid by what is for the metric.
    """
    wallet = [a_lot(4, 0), a_lot(4, 1), a_lot(10, 2, priority=99, metric_keys=("calls",))]

    found = [
        (lot.grant.id, micros)
        for lot, micros in takes(wallet, 12, at=NOON, metric_key="calls", common_micros=5)
    ]

    assert found == [(wallet[0].grant.id, 4), (wallet[1].grant.id, 1), (wallet[2].grant.id, 7)]


@pytest.mark.parametrize(
    ("beyond_limit", "common", "own", "overdraft"),
    [(False, 0, 3, 0), (True, 3, 0, 0)],
    ids=["within", "beyond"],
)
def test_what_is_held_pays_for_usage_only_beyond_the_limit(beyond_limit, common, own, overdraft):
    """
    Within it, usage is left with what is for its metric.
    """
    wallet = [a_lot(5, 0), a_lot(10, 1, priority=99, metric_keys=("calls",))]
    book = a_book(wallet)
    book.held_micros = 5

    decision = used(book, 3, "calls", beyond_limit=beyond_limit)

    assert isinstance(decision, Decision)
    moves = moved(decision)
    paid = [moves[lot.grant.account] for lot in wallet]
    assert [*paid, moves[OVERDRAFT]] == [common, own, overdraft]


def handed_back(micros: int, claims: list[Claim]) -> Decision:
    return hand_back(
        a_book([]),
        micros,
        claims,
        source="revenue:calls",
        type=TransactionType.REVERSAL,
        description="mistake",
        metadata={"ticket": "42"},
        at=NOON,
        ids=IDS,
    )


def test_what_is_handed_back_goes_to_claims_as_far_as_each_goes():
    """
    A claim of nothing takes nothing from the others, and two of credit for the metric share what is theirs.
    """
    own = [a_lot(0, number, metric_keys=("calls",)).grant for number in (0, 1)]
    common = a_lot(0, 2).grant

    nothing = handed_back(5, [Claim(own[0], 0, NOON), Claim(common, 5, NOON)])
    shared = handed_back(5, [Claim(own[0], 3, NOON), Claim(own[1], 4, NOON)])

    assert moved(nothing) == Counter({"revenue:calls": 5, common.account: -5})
    assert moved(shared) == Counter({"revenue:calls": 5, own[0].account: -3, own[1].account: -2})
    assert shared.metadata == {"ticket": "42"}


def test_what_is_handed_back_at_the_instant_of_expiry_lives_on():
    """
    As long as it had left when it was spent.
    """
    grant = a_lot(0, expires_at=NOON).grant

    (again,) = handed_back(5, [Claim(grant, 5, NOON - DAY)]).grants

    assert again.expires_at == NOON + DAY
    assert again.succeeds == grant.id
