"""Whatever was billed, voided, and came late: after the following run, everything has been billed once."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from random import Random

from hypothesis import given, note
from hypothesis import strategies as st

from neruba_core import money
from neruba_core.errors import InvoiceNotVoidable, PeriodEarlierOpen, PeriodNotBegun
from neruba_core.instants import month_of
from neruba_core.invoices.model import Invoice, InvoiceState
from neruba_core.pricing.model import Tier
from neruba_core.testing.builders import rehearsal
from tests.core.billing.stage import DAY, MARCH, Months

EARNED = {"revenue:tokens", "revenue:calls", "credit_notes"}
MONTHS = [MARCH + days * DAY for days in (-59, -28, 0, 31, 61)]


class Chances(Months):
    """Months in which anything may happen, by chance."""

    def __init__(self, seed: int, mode: str) -> None:
        super().__init__(rehearsal(runs_due=False))
        self.chance = Random(seed)
        self.used: dict[str, tuple[str, str, int]] = {}
        self.price(model="volume", tiers=[Tier.of("20", "2"), Tier.of(None, "1")])
        self.price("calls", unit_amount="3")
        self.set(billing_mode=mode)
        self.credit("10000" if mode == "prepaid" else "50", kind="paid")

    def step(self) -> None:
        """One thing that happens."""
        match self.chance.choice("uuuurrrvvvwpt"):
            case "u":
                now = self.billing.clock()
                when = self.chance.choice([each for each in MONTHS if each <= now] or [now])
                metric, micros = self.chance.choice(["tokens", "calls"]), self.chance.randint(0, 30_000_000)
                usage_id = self.use(money.text(micros), when, metric)
                self.used[usage_id] = (month_of(when, "UTC"), metric, micros)
                note(f"{now:%m-%d} use {metric} {micros} {when:%m}")
            case "w" if self.used:
                usage_id = self.chance.choice(sorted(self.used))
                note(f"void usage {self.used[usage_id]}")
                self.void_usage(usage_id)
                del self.used[usage_id]
            case "r":
                month = month_of(self.chance.choice(MONTHS), "UTC")
                with suppress(PeriodEarlierOpen, PeriodNotBegun):
                    result = self.run(month)
                    note(f"run {month}: {[(each.kind.value, each.number) for each in result.documents]}")
            case "v":
                issued = [each for each in self.documents if each.state is not InvoiceState.VOID]
                if issued:
                    with suppress(InvoiceNotVoidable):
                        voided = self.void(self.chance.choice(issued))
                        note(f"void {voided.kind.value} {voided.number} of {voided.period}")
            case "p":
                policy = self.chance.choice(["adjust_next", "credit_note"])
                note(policy)
                self.set(late_usage_policy=policy)
            case "t":
                self.at(self.billing.clock() + self.chance.randint(1, 40) * DAY)
                if self.chance.random() < 0.5:
                    note(f"{self.billing.clock():%m-%d} all that is due")
                    list(self.billing.billing.run_due())

    @property
    def booked(self) -> dict[str, int]:
        """What each account holds in micro-units, debit positive."""
        accounts = self.billing.ledger.trial_balance(self.id).accounts
        return {each.account: each.debit_micros - each.credit_micros for each in accounts}

    @property
    def documents(self) -> Sequence[Invoice]:
        return self.billing.invoices.list(self.id, limit=200).items

    def worth(self) -> dict[tuple[str, str], int]:
        """What each metric of each month is worth, by the price list above."""
        units: dict[tuple[str, str], int] = {}
        for month, metric, micros in self.used.values():
            units[month, metric] = units.get((month, metric), 0) + micros
        return {
            (month, metric): micros * (3 if metric == "calls" else 2 if micros <= 20_000_000 else 1)
            for (month, metric), micros in units.items()
            if micros
        }

    def billed(self) -> dict[tuple[str, str | None], int]:
        """What the documents in force bill of them."""
        found: dict[tuple[str, str | None], int] = {}
        for document in self.documents:
            for line in document.lines if document.state is not InvoiceState.VOID else ():
                place = (line.period, line.metric_key)
                found[place] = found.get(place, 0) + line.amount_micros
        return {place: micros for place, micros in found.items() if micros}


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.sampled_from(["arrears", "prepaid"]))
def test_everything_rated_is_billed_exactly_once_after_the_following_run(seed, steps, mode):
    """
    Usage of any month in any order, voids of usage and of documents, early runs and late ones, and changes
    of policy: nothing is lost and nothing doubled, on the documents and in the ledger.
    """
    acme = Chances(seed, mode)
    for _ in range(steps):
        acme.step()
    # Something to bill in the month that follows them all.
    acme.at(max(acme.billing.clock(), MARCH + 100 * DAY))
    now = acme.billing.clock()
    usage_id = acme.use("1", now, "calls")
    acme.used[usage_id] = (month_of(now, "UTC"), "calls", 1_000_000)
    acme.at(now + 40 * DAY)

    note("the following run")
    list(acme.billing.billing.run_due())

    assert acme.billed() == acme.worth()
    earned = -sum(micros for account, micros in acme.booked.items() if account in EARNED)
    assert earned == sum(acme.worth().values())
    assert acme.sweep.faults == ()
