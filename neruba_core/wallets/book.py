"""A project's money while a unit of work decides about it.

A book is opened under the project's locked head, holds everything a decision looks at, and takes each
decision's postings at once, so that the next command of the same unit sees them. What has changed is
written to storage when all commands of the unit are decided.

Holds whose time is over are free from the start, but that alone is no reason to write anything: where every
command is refused, all stays as it was, and whoever looks next finds them over again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, field

from neruba_core.brief import brief
from neruba_core.instants import Instant
from neruba_core.ledger.chart import OVERDRAFT, WALLET, Chart
from neruba_core.ledger.model import Account, Entry, Head, Posting, Transaction, TransactionType
from neruba_core.money import within_total
from neruba_core.tenancy.model import Project
from neruba_core.texts import Properties
from neruba_core.wallets.model import Grant, Hold, Lot, expires_to, scoped_micros
from neruba_core.wallets.spending import spending_order

_WALLET_PREFIX = f"{WALLET}:"


@brief
class Decision:
    """What a command comes to, before it has a version: balanced postings, and the grants that it opens
    (their accounts are among the postings). What is drawn from a grant is a posting on its account.
    *closes* is the hold that it captures, as it is afterwards; *expires* the grant whose rest it takes. It is
    effective when it is booked, unless *effective_at* says when it was."""

    transaction_id: str
    type: TransactionType
    amount_micros: int
    description: str
    postings: tuple[Posting, ...]
    grants: tuple[Grant, ...] = ()
    metadata: Properties | None = field(default=None, hash=False)
    reverses: str | None = None
    closes: Hold | None = None
    expires: str | None = None
    effective_at: Instant | None = None


@define
class Original:
    """A transaction that is to be reversed: what it drew from which grants, in order, and what reversals
    have given back to each so far (or to the grant that succeeded it). What a capture drew was taken when it
    was held, at *held_at*. Of a credit, *expired_micros* were posted as expired and not clawed back yet."""

    transaction: Transaction
    drawn: Sequence[tuple[str, int]]
    grants: dict[str, Grant]
    reversed_micros: int
    returned_micros: dict[str, int]
    held_at: Instant | None = None
    expired_micros: int = 0

    def drawn_at(self, grant: Grant) -> Instant:
        """When *grant* was drawn: as early as it was held for it."""
        if self.held_at is None:
            return self.transaction.effective_at
        return max(self.held_at, grant.effective_at)

    @property
    def left_micros(self) -> int:
        """What of the transaction has not been reversed yet."""
        return self.transaction.amount_micros - self.reversed_micros

    def note_returned(self, grant: Grant, micros: int) -> None:
        """Count *micros* given back to *grant*, or to the grant that it succeeds."""
        grant_id = grant.succeeds or grant.id
        self.returned_micros[grant_id] = self.returned_micros.get(grant_id, 0) + micros


@define
class _Sums:
    """What all lots come to at one moment, kept as they change: a unit asks for it with every command."""

    at: Instant
    counted_micros: int = 0
    scoped_micros: int = 0

    def shift(self, lot: Lot, remaining_micros: int, held_micros: int) -> None:
        """Count so much more of *lot*, or less, that remains in it and that is held of it."""
        if lot.expired(self.at):
            self.counted_micros += held_micros
            return
        self.counted_micros += remaining_micros
        if lot.grant.metric_keys:
            self.scoped_micros += remaining_micros - held_micros


@define
class Book:
    """See the module. *accounts* are debit positive; *lots* holds every grant with something in it. What else
    the head says is in fields of the same names, *total_micros* being its balance."""

    project: Project
    chart: Chart
    _opened: Head = field(alias="head")
    accounts: dict[str, int]
    lots: dict[str, Lot]
    originals: dict[str, Original] = field(factory=dict)
    holds: dict[str, Hold] = field(factory=dict)
    changed: set[str] = field(factory=set)
    reserved: list[Hold] = field(factory=list)
    closed: list[Hold] = field(factory=list)
    written: bool = False
    """Whether anything was done that is to be written."""
    version: int = field(init=False)
    total_micros: int = field(init=False)
    held_micros: int = field(init=False)
    due_at: Instant | None = field(init=False)
    low: bool = field(init=False)
    top_up_at: Instant | None = field(init=False)
    _sums: _Sums | None = field(default=None, init=False)
    _in_order: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        head = self._opened
        self.version, self.total_micros = head.version, head.balance_micros
        self.held_micros, self.due_at = head.held_micros, head.due_at
        self.low, self.top_up_at = head.low, head.top_up_at

    @property
    def head(self) -> Head:
        """The project's head as it is now."""
        accounts, changed, opened = self.accounts, self.changed, self._opened
        receivable = self.chart.receivable
        return Head(
            opened.project_id,
            self.version,
            self.total_micros,
            accounts[OVERDRAFT] if OVERDRAFT in changed else opened.overdraft_micros,
            self.held_micros,
            accounts[receivable] if receivable in changed else opened.receivable_micros,
            self.due_at,
            self.low,
            self.top_up_at,
        )

    def in_spending_order(self) -> Iterable[Lot]:
        """The lots, those first that are spent first."""
        if not self._in_order:
            self.lots = {lot.grant.id: lot for lot in sorted(self.lots.values(), key=spending_order)}
            self._in_order = True
        return self.lots.values()

    @property
    def overdraft_micros(self) -> int:
        """What was charged beyond the grants and is not billed yet."""
        return self.accounts.get(OVERDRAFT, 0)

    def balance_micros(self, at: Instant) -> int:
        """What the unexpired grants hold, and the held share of expired ones, less the overdraft."""
        return self._summed(at).counted_micros - self.accounts.get(OVERDRAFT, 0)

    def available_micros(self, at: Instant) -> int:
        """What a charge may come to at most: the balance, but for credit that pays for some metrics only,
        less holds, plus the credit limit."""
        sums = self._summed(at)
        reserved = sums.scoped_micros + self.held_micros
        balance = sums.counted_micros - self.accounts.get(OVERDRAFT, 0)
        return balance - reserved + self.project.credit_limit_micros

    def available_for(self, metric_key: str, at: Instant) -> int:
        """What usage of the metric may come to at most: what is available, and credit of its own. Where the
        wallet is beyond its limit, that credit is still there."""
        available = self.available_micros(at)
        own = scoped_micros(self.lots.values(), at, metric_key)
        return max(available, 0) + own if own else available

    def _summed(self, at: Instant) -> _Sums:
        sums = self._sums
        if sums is None or sums.at != at:
            sums = self._sums = _Sums(at)
            for lot in self.lots.values():
                sums.shift(lot, lot.remaining_micros, lot.held_micros)
        return sums

    def want(self, grant: Grant) -> None:
        """Have the grant in the book, with nothing in it if it is not there: it is to be given back to."""
        if grant.id not in self.lots:
            self._open(Lot(grant, 0))

    def _open(self, lot: Lot) -> None:
        self.lots[lot.grant.id] = lot
        self._in_order = False
        if self._sums is not None:
            self._sums.shift(lot, lot.remaining_micros, lot.held_micros)

    def changed_accounts(self) -> list[Account]:
        """The accounts that have changed, by name."""
        return [
            Account(self.project.id, name, self.accounts[name], self._held_of(name))
            for name in sorted(self.changed)
        ]

    def _held_of(self, account: str) -> int:
        lot = (
            self.lots.get(account.removeprefix(_WALLET_PREFIX))
            if account.startswith(_WALLET_PREFIX)
            else None
        )
        return lot.held_micros if lot else 0

    def reserve(self, hold: Hold) -> None:
        """Hold what *hold* draws, and the rest of it against the credit limit. Raises ``AmountOverflow``."""
        self.held_micros = within_total(self.held_micros + hold.amount_micros)
        self._shift_holds(hold, 1)
        self.holds[hold.id] = hold
        self.reserved.append(hold)
        self.fall_due(hold.expires_at)
        self.written = True

    def close(self, hold: Hold) -> None:
        """Hold no more what the open hold held; *hold* is how it is from now on."""
        self.lapse(hold)
        self.written = True

    def lapse(self, hold: Hold) -> None:
        """Hold no more what the hold held whose time is over; that is written with whatever else is."""
        self.held_micros -= hold.amount_micros
        self._shift_holds(hold, -1)
        self.holds[hold.id] = hold
        self.closed.append(hold)
        # What was held of an expired grant expires now.
        assert hold.closed_at is not None, "it is closed"
        for draw in hold.draws:
            if self.lots[draw.grant_id].expired(hold.closed_at):
                self.fall_due(hold.closed_at)

    def fall_due(self, moment: Instant) -> None:
        """Have the project looked at by *moment* at the latest."""
        if self.due_at is None or moment < self.due_at:
            self.due_at = moment

    def due_again(self, moment: Instant | None) -> None:
        """Have the project looked at next at *moment*, all that was due before being done."""
        if self.due_at != moment:
            self.due_at = moment
            self.written = True

    def mark_low(self, low: bool) -> None:
        """Remember that listeners know that there is little available, or that there is enough again."""
        self.low = low
        self.written = True

    def look_to_top_up(self, moment: Instant | None) -> None:
        """Have it looked at *moment* whether to top up, or no more."""
        self.top_up_at = moment
        self.written = True

    def _shift_holds(self, hold: Hold, sign: int) -> None:
        for draw in hold.draws:
            lot, micros = self.lots[draw.grant_id], sign * draw.micros
            if self._sums is not None:
                self._sums.shift(lot, 0, micros)
            self.lots[draw.grant_id] = Lot(lot.grant, lot.remaining_micros, lot.held_micros + micros)
            self.changed.add(lot.grant.account)

    def post(self, decision: Decision) -> tuple[Entry, ...]:
        """Take the decision in; return its entries.

        Raises ``AmountOverflow``, with the book unchanged, where a balance would leave 64 bits.
        """
        accounts = self.accounts
        project_id, version, transaction_id = self.project.id, self.version + 1, decision.transaction_id
        moved: dict[str, int] = {}
        entries: list[Entry] = []
        drawn: list[str] = []
        total = self.total_micros
        for number, posting in enumerate(decision.postings):
            name, debit, credit = posting.account, posting.debit_micros, posting.credit_micros
            change = debit - credit
            before = moved[name] if name in moved else accounts.get(name, 0)
            moved[name] = micros = within_total(before + change)
            entries.append(Entry(project_id, version, number, transaction_id, name, debit, credit, micros))
            if name.startswith(_WALLET_PREFIX):
                drawn.append(name)
                total -= change
            elif name == OVERDRAFT:
                total -= change
        self.total_micros = within_total(total)
        self.version = version
        if decision.closes is not None:
            self.close(decision.closes)
        for grant in decision.grants:
            if grant.expires_at is not None:
                self.fall_due(grant.expires_at)
        accounts.update(moved)
        self.changed.update(moved)
        for name in drawn:
            # A wallet account grows by credit, so what remains is the balance with its sign turned.
            self._leave(decision, name.removeprefix(_WALLET_PREFIX), -moved[name])
        if decision.reverses is not None:
            self._mark_reversed(decision, decision.reverses)
        self.written = True
        return tuple(entries)

    def _leave(self, decision: Decision, grant_id: str, remaining_micros: int) -> None:
        lot = self.lots.get(grant_id)
        if lot is None:
            self._open(Lot(self._grant(decision, grant_id), remaining_micros))
            return
        if self._sums is not None:
            self._sums.shift(lot, remaining_micros - lot.remaining_micros, 0)
        self.lots[grant_id] = Lot(lot.grant, remaining_micros, lot.held_micros)

    def _grant(self, decision: Decision, grant_id: str) -> Grant:
        """A grant with nothing in it so far: it is opened now, or is given back to."""
        for grant in decision.grants:
            if grant.id == grant_id:
                return grant
        assert decision.reverses is not None
        return self.originals[decision.reverses].grants[grant_id]

    def _mark_reversed(self, decision: Decision, original_id: str) -> None:
        original = self.originals[original_id]
        original.reversed_micros += decision.amount_micros
        if original.transaction.grant_id is not None:
            grant = original.grants[original.transaction.grant_id]
            original.expired_micros -= sum(
                posting.debit_micros
                for posting in decision.postings
                if posting.account == expires_to(self.chart, grant.kind)
            )
        opened = {grant.id: grant for grant in decision.grants}
        for posting in decision.postings:
            if posting.credit_micros and posting.account.startswith(_WALLET_PREFIX):
                grant_id = posting.account.removeprefix(_WALLET_PREFIX)
                original.note_returned(
                    opened.get(grant_id) or original.grants[grant_id], posting.credit_micros
                )
