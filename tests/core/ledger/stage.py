"""One project's books, spoken to in few words."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any

from neruba_core import money
from neruba_core.instants import Instant
from neruba_core.ledger.model import Transaction
from neruba_core.ledger.sweep import Sweep
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.clock import NOON
from neruba_core.wallets.holds import HoldAnswer
from neruba_core.wallets.view import WalletView


class Books:
    """Every command gets a key of its own; amounts are text in and text out."""

    def __init__(self, billing: Rehearsal) -> None:
        self.billing = billing
        self.project = billing.projects.create(name="Acme")
        self._keys = (f"key-{number}" for number in count())

    def limit(self, amount: str) -> None:
        self.billing.projects.update(self.project.id, credit_limit=amount)

    def day(self, number: int) -> None:
        self.billing.clock.set(self.in_days(number))

    def in_days(self, number: int) -> Instant:
        return NOON + timedelta(days=number)

    def credit(self, amount: str, **details: Any) -> str:
        """The id of the grant that it opened."""
        grant_id = self.credit_transaction(amount, **details).grant_id
        assert grant_id is not None
        return grant_id

    def credit_transaction(self, amount: str, **details: Any) -> Transaction:
        return self.billing.wallets.credit(
            self.project.id, amount=amount, description="Launch", idempotency_key=next(self._keys), **details
        ).value

    def charge(self, amount: str, **details: Any) -> Transaction:
        return self.billing.charges.charge(
            self.project.id,
            amount=amount,
            description="GPU hour",
            **{"idempotency_key": next(self._keys), **details},
        ).value

    def reserve(self, amount: str, **details: Any) -> Any:
        """The outcome of a hold."""
        return self.billing.holds.reserve(
            self.project.id,
            amount=amount,
            description="Render job",
            **{"idempotency_key": next(self._keys), **details},
        )

    def hold(self, amount: str, **details: Any) -> HoldAnswer:
        return self.reserve(amount, **details).value

    def capture(self, held: HoldAnswer, amount: str | None = None) -> HoldAnswer:
        return self.billing.holds.capture(
            self.project.id, held.id, amount=amount, idempotency_key=next(self._keys)
        ).value

    def release(self, held: HoldAnswer) -> HoldAnswer:
        return self.billing.holds.release(self.project.id, held.id, idempotency_key=next(self._keys)).value

    def get_hold(self, held: HoldAnswer) -> HoldAnswer:
        return self.billing.holds.get(self.project.id, held.id)

    def debit(self, amount: str) -> Transaction:
        return self.billing.wallets.debit(
            self.project.id, amount=amount, description="Correction", idempotency_key=next(self._keys)
        ).value

    def reverse(self, transaction: Transaction, amount: str | None = None) -> Transaction:
        return self.billing.wallets.reverse(
            self.project.id,
            transaction.id,
            reason="mistake",
            amount=amount,
            idempotency_key=next(self._keys),
        ).value

    def read(self, act: Any) -> Any:
        with self.billing._context.storage.snapshot() as work:
            return act(work)

    def draws(self, transaction: Transaction) -> list[tuple[str | None, str]]:
        """What the transaction took from which grants, in the order it took it."""
        return [
            (entry.account.removeprefix("wallet:"), money.text(entry.debit_micros))
            for entry in transaction.entries
            if entry.account.startswith("wallet:")
        ]

    @property
    def wallet(self) -> WalletView:
        return self.billing.wallets.get(self.project.id)

    @property
    def balance(self) -> str:
        return str(self.wallet.balance)

    @property
    def available(self) -> str:
        return str(self.wallet.available)

    @property
    def remaining(self) -> dict[str, str]:
        return {grant.id: str(grant.remaining) for grant in self.wallet.grants}

    @property
    def accounts(self) -> dict[str, int]:
        """Debit positive, as far as they hold anything."""
        listed = self.billing.ledger.trial_balance(self.project.id).accounts
        return {account.account: account.debit_micros - account.credit_micros for account in listed}

    @property
    def sweep(self) -> Sweep:
        return self.billing.ledger.sweep(self.project.id)
