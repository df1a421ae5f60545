"""Double entry: transactions, their entries, and the one guarded head of each project."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from attrs import field, frozen

from neruba_core import money
from neruba_core.brief import brief
from neruba_core.instants import Instant
from neruba_core.ledger.answer import RENDER_VERSION, render
from neruba_core.texts import Properties


class TransactionType(StrEnum):
    """Why money moved."""

    CREDIT = "credit"
    DEBIT = "debit"
    CHARGE = "charge"
    REVERSAL = "reversal"
    USAGE = "usage"
    INVOICE = "invoice"
    INVOICE_VOID = "invoice_void"
    PAYMENT = "payment"
    REFUND = "refund"
    CREDIT_NOTE = "credit_note"
    WRITE_OFF = "write_off"
    EXPIRY = "expiry"
    PROVIDER_FEE = "provider_fee"
    REFUND_PAID = "refund_paid"
    REFUND_FAILED = "refund_failed"
    DISPUTE = "dispute"
    DISPUTE_WON = "dispute_won"


@brief
class Head:
    """The guarded row of a project, locked by every ledger transaction of it and by nothing else.

    *version* numbers the project's transactions from 1 without gaps. *balance_micros* is what the
    wallet accounts hold less the overdraft, expired grants included until their expiry is posted.
    *held_micros* is what open holds reserve. *due_at* is no later than the next moment at which a grant
    or a hold expires; it may be earlier, and whoever looks then finds nothing to do. *low* tells
    that listeners were told that there is little available, and that there has not been enough since.
    *top_up_at* is when to look whether to top up next, while there is too little.
    """

    project_id: str
    version: int = 0
    balance_micros: int = 0
    overdraft_micros: int = 0
    held_micros: int = 0
    receivable_micros: int = 0
    due_at: Instant | None = None
    low: bool = False
    top_up_at: Instant | None = None


@brief
class Posting:
    """One side of a movement before it is booked; exactly one of the two amounts is above zero."""

    account: str
    debit_micros: int = 0
    credit_micros: int = 0


@brief
class Entry:
    """A booked posting. *balance_after_micros* is the account's balance, debit positive."""

    project_id: str
    version: int
    number: int
    transaction_id: str
    account: str
    debit_micros: int
    credit_micros: int
    balance_after_micros: int

    @property
    def id(self) -> str:
        """Derived from the transaction's id: entries are never named apart from it."""
        return f"ent_{self.transaction_id.removeprefix('txn_')}{self.number:02x}"

    @property
    def place(self) -> str:
        """The entry's place in the recorded order, as text that sorts."""
        return f"{self.version:020d}.{self.number:06d}"


@brief
class Transaction:
    """A booked transaction, and its own idempotency record.

    Unique by (project, operation, idempotency key) and, among those with an event id, by (project,
    operation, event id). *grant_id* names the grant that a credit opened, or whose rest an expiry took;
    *reverses* the transaction that a reversal corrects. *entries* are its own, by number.
    """

    project_id: str
    version: int
    id: str
    type: TransactionType
    operation: str
    amount_micros: int
    balance_after_micros: int
    description: str
    event_id: str | None
    metadata: Properties | None = field(hash=False)
    grant_id: str | None
    reverses: str | None
    idempotency_key: str
    fingerprint: bytes
    fingerprint_version: int
    actor: str
    request_id: str | None
    effective_at: Instant
    recorded_at: Instant
    entries: tuple[Entry, ...] = ()
    render_version: int = RENDER_VERSION

    @property
    def body(self) -> str:
        """The JSON text that it was, and will ever be, answered with."""
        return render(self)

    @property
    def amount(self) -> Decimal:
        """What was moved, in units of the currency."""
        return money.decimal(self.amount_micros)

    @property
    def balance_after(self) -> Decimal:
        """The wallet's balance after it, in units of the currency."""
        return money.decimal(self.balance_after_micros)

    @property
    def place(self) -> str:
        """The transaction's place in the recorded order, as text that sorts."""
        return f"{self.version:020d}"


@frozen
class Account:
    """A ledger account of a project and what it holds, debit positive. Of a grant's account, open holds
    reserve *held_micros*."""

    project_id: str
    name: str
    balance_micros: int
    held_micros: int = 0


@frozen
class ChargesWanted:
    """Which charges of a project are asked for: those effective in ``[start, end)``, and those effective
    before *start* that were booked above version *since*."""

    project_id: str
    start: Instant
    end: Instant
    since: int


@frozen
class Charged:
    """A charge, or the reversal of one (*reverses* names it), as far as billing looks at it."""

    project_id: str
    version: int
    id: str
    amount_micros: int
    effective_at: Instant
    reverses: str | None
