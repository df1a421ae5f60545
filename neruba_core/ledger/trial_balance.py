"""The trial balance: every account, and the proof that debits equal credits."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from neruba_core.ledger.chart import AccountClass, Chart


@frozen
class AccountBalance:
    """An account's balance on the side it stands on; one of the two amounts is zero."""

    account: str
    account_class: AccountClass
    debit_micros: int
    credit_micros: int

    @property
    def balance_micros(self) -> int:
        """The balance by the side that this class of account grows by: normally not below zero."""
        net = self.debit_micros - self.credit_micros
        return net if self.account_class.grows_by_debit else -net


@frozen
class TrialBalance:
    """All accounts that hold anything, by name."""

    accounts: tuple[AccountBalance, ...]

    @property
    def debits_micros(self) -> int:
        """The sum of the debit side."""
        return sum(account.debit_micros for account in self.accounts)

    @property
    def credits_micros(self) -> int:
        """The sum of the credit side."""
        return sum(account.credit_micros for account in self.accounts)

    @property
    def balanced(self) -> bool:
        """Whether debits equal credits, as they always must."""
        return self.debits_micros == self.credits_micros


def trial_balance(balances: Mapping[str, int], chart: Chart) -> TrialBalance:
    """Make a trial balance of *balances*, debit positive, by account."""
    return TrialBalance(
        tuple(
            AccountBalance(name, chart.class_of(name), max(micros, 0), max(-micros, 0))
            for name, micros in sorted(balances.items())
            if micros
        )
    )
