"""Credit, adjustments, reversals; the wallet and the ledger as they are read."""

from __future__ import annotations

from attrs import frozen

from neruba_core.ledger.chart import AccountClass
from neruba_core.ledger.model import Entry as CoreEntry
from neruba_core.ledger.model import TransactionType
from neruba_core.ledger.trial_balance import TrialBalance as CoreTrialBalance
from neruba_core.wallets.credit import NewCredit as CoreCredit
from neruba_core.wallets.model import GrantKind
from neruba_core.wallets.orders import NewDebit as CoreDebit
from neruba_core.wallets.reverse import NewReversal as CoreReversal
from neruba_core.wallets.view import WalletView
from neruba_server.wire.kinds import Amount, MetricKeys, Moment, Money, Name, Priority, Properties


@frozen
class NewCredit:
    """Credit to grant: promotional, of priority 50 and without end unless said otherwise. With ``metricKeys``
    it pays for usage of these metrics only, as it is drawn or on invoices, and repays no overdraft."""

    amount: Amount
    description: Name
    kind: GrantKind | None = None
    priority: Priority | None = None
    expires_at: Moment | None = None
    metric_keys: MetricKeys | None = None

    def under(self, idempotency_key: str) -> CoreCredit:
        """The credit as the core takes it."""
        return CoreCredit(
            self.amount,
            self.description,
            idempotency_key,
            self.kind,
            self.priority,
            self.expires_at,
            self.metric_keys,
        )


@frozen
class NewDebit:
    """A manual adjustment that takes credit away."""

    amount: Amount
    description: Name

    def under(self, idempotency_key: str) -> CoreDebit:
        """The adjustment as the core takes it."""
        return CoreDebit(self.amount, self.description, idempotency_key)


@frozen
class NewReversal:
    """A reversal; without an amount it takes all that is left."""

    reason: Name
    amount: Amount | None = None

    def under(self, idempotency_key: str, transaction_id: str) -> CoreReversal:
        """The reversal as the core takes it."""
        return CoreReversal(transaction_id, self.reason, idempotency_key, self.amount)


@frozen
class Posting:
    """One side of a movement."""

    account: str
    debit: Money
    credit: Money


@frozen
class Transaction:
    """A booked transaction; its text is kept from the moment it was booked."""

    id: str
    project_id: str
    type: TransactionType
    amount: Money
    balance_after: Money
    description: str
    event_id: str | None
    metadata: Properties | None
    grant_id: str | None
    reverses: str | None
    entries: tuple[Posting, ...]
    created_at: Moment


@frozen
class Transactions:
    """Transactions, newest first."""

    items: tuple[Transaction, ...]
    next_cursor: str | None


@frozen
class Grant:
    """Credit that can still be spent; where there are ``metricKeys``, on usage of these metrics only."""

    id: str
    kind: GrantKind
    priority: int
    amount: Money
    remaining: Money
    expires_at: Moment | None
    metric_keys: tuple[str, ...] | None


@frozen
class Wallet:
    """What a project can spend, as of an instant. ``balance`` counts all its credit; ``available`` is what a
    charge may come to, and so leaves out credit that pays for some metrics only."""

    currency: str
    as_of: Moment
    balance: Money
    held: Money
    available: Money
    credit_limit: Money
    grants: tuple[Grant, ...]

    @classmethod
    def of(cls, view: WalletView) -> Wallet:
        """The wallet as people see it."""
        return cls(
            currency=view.currency,
            as_of=view.as_of,
            balance=view.balance_micros,
            held=view.held_micros,
            available=view.available_micros,
            credit_limit=view.credit_limit_micros,
            grants=tuple(
                Grant(
                    grant.id,
                    grant.kind,
                    grant.priority,
                    grant.amount_micros,
                    grant.remaining_micros,
                    grant.expires_at,
                    grant.metric_keys or None,
                )
                for grant in view.grants
            ),
        )


@frozen
class Account:
    """An account and the side it stands on; ``balance`` is by the side that its class grows by."""

    account: str
    account_class: AccountClass
    debit: Money
    credit: Money
    balance: Money


@frozen
class TrialBalance:
    """Every account that holds anything, and the proof that debits equal credits."""

    items: tuple[Account, ...]
    next_cursor: str | None
    debits: Money
    credits: Money
    balanced: bool

    @classmethod
    def of(cls, balance: CoreTrialBalance) -> TrialBalance:
        """The trial balance as people see it."""
        return cls(
            items=tuple(
                Account(
                    each.account,
                    each.account_class,
                    each.debit_micros,
                    each.credit_micros,
                    each.balance_micros,
                )
                for each in balance.accounts
            ),
            next_cursor=None,
            debits=balance.debits_micros,
            credits=balance.credits_micros,
            balanced=balance.balanced,
        )


@frozen
class Entry:
    """A booked posting; ``balanceAfter`` is its account's running balance, debit positive."""

    id: str
    transaction_id: str
    version: int
    account: str
    debit: Money
    credit: Money
    balance_after: Money

    @classmethod
    def of(cls, entry: CoreEntry) -> Entry:
        """The entry as people see it."""
        return cls(
            id=entry.id,
            transaction_id=entry.transaction_id,
            version=entry.version,
            account=entry.account,
            debit=entry.debit_micros,
            credit=entry.credit_micros,
            balance_after=entry.balance_after_micros,
        )


@frozen
class Entries:
    """Entries, newest first."""

    items: tuple[Entry, ...]
    next_cursor: str | None
