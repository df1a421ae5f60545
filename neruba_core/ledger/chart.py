"""The chart of accounts: which accounts there are, what they mean, and where each event posts.

A product default, not accounting advice. The mapping is one small table, ``Chart``; an embedder whose
books use other names gives ``Neruba`` another one.
"""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen


class AccountClass(StrEnum):
    """What kind of account it is, which also tells by which side it grows."""

    ASSET = "asset"
    LIABILITY = "liability"
    INCOME = "income"
    CONTRA_INCOME = "contra_income"
    EXPENSE = "expense"

    @property
    def grows_by_debit(self) -> bool:
        """Assets, expenses and contra-income grow by debit; liabilities and income by credit."""
        return self in (AccountClass.ASSET, AccountClass.EXPENSE, AccountClass.CONTRA_INCOME)


OVERDRAFT = "overdraft"
"""Charged beyond the grants and not yet billed. Fixed: the guarded head repeats its balance."""

WALLET = "wallet"
"""The family of accounts ``wallet:{grantId}``: unspent credit, a lot each. Fixed, like the overdraft."""


@frozen
class Chart:
    """The accounts that events post against, by name."""

    charges: str = "revenue:charges"
    subscriptions: str = "revenue:subscription"
    usage: str = "revenue:{metric_key}"
    promotions: str = "promotions"
    goodwill: str = "goodwill"
    breakage: str = "breakage"
    adjustments: str = "adjustments"
    cash: str = "cash:manual"
    receivable: str = "receivable"
    tax: str = "tax_payable"
    rounding: str = "rounding"
    credit_notes: str = "credit_notes"
    payments: str = "cash:{provider}"
    refundable: str = "refundable"
    provider_fees: str = "provider_fees"
    bad_debt: str = "bad_debt"
    classes: tuple[tuple[str, AccountClass], ...] = (
        (WALLET, AccountClass.LIABILITY),
        (OVERDRAFT, AccountClass.ASSET),
        ("cash", AccountClass.ASSET),
        ("revenue", AccountClass.INCOME),
        ("breakage", AccountClass.INCOME),
        ("promotions", AccountClass.CONTRA_INCOME),
        ("goodwill", AccountClass.CONTRA_INCOME),
        ("adjustments", AccountClass.CONTRA_INCOME),
        ("credit_notes", AccountClass.CONTRA_INCOME),
        ("receivable", AccountClass.ASSET),
        ("tax_payable", AccountClass.LIABILITY),
        ("rounding", AccountClass.INCOME),
        ("refundable", AccountClass.LIABILITY),
        ("provider_fees", AccountClass.EXPENSE),
        ("bad_debt", AccountClass.EXPENSE),
    )

    def usage_of(self, metric_key: str) -> str:
        """The income account of a metric's usage."""
        return self.usage.format(metric_key=metric_key)

    def cash_of(self, provider: str) -> str:
        """The asset account of what a payment provider has received."""
        return self.payments.format(provider=provider)

    def class_of(self, account: str) -> AccountClass:
        """The class of *account*, by the family before its colon."""
        family = account.partition(":")[0]
        for name, of_class in self.classes:
            if name == family:
                return of_class
        raise KeyError(account)


DEFAULT = Chart()
