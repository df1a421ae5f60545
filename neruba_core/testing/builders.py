"""Ready-made parts for tests: a façade that can be repeated to the byte, and nouns with good defaults.

Every builder makes something valid and takes what the test is about by keyword.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import evolve

from neruba_core.ids import Ids
from neruba_core.instants import Clock
from neruba_core.ledger.chart import DEFAULT, OVERDRAFT, Chart
from neruba_core.ledger.model import Head
from neruba_core.neruba import Neruba
from neruba_core.storage.port import Storage
from neruba_core.tenancy.model import MetricPolicy, Project
from neruba_core.testing.clock import NOON, SettableClock, Stops
from neruba_core.wallets.book import Book
from neruba_core.wallets.model import Grant, GrantKind, Lot

PROJECT_ID = "prj_" + "0" * 32


class Rehearsal(Neruba):
    """A façade for tests: *clock* is moved by hand, and equal seeds give equal ids, whatever the store: no
    unit runs twice because it presumed its events to be new.

    With *runs_due* the clock stops on its way wherever something falls due, such as a billing run, and it is
    done there.
    Passwords are hashed with the least effort there is, for tests make many and guard nothing.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        clock: SettableClock | None = None,
        seed: int = 0,
        runs_due: bool = False,
        **options: Any,
    ) -> None:
        self.clock = clock or SettableClock()
        super().__init__(
            storage,
            clock=self.clock,
            ids=seeded_ids(self.clock, seed),
            **{"password_effort": "testing", **options},
        )
        self._bind(evolve(self._context, presumption=None))
        if runs_due:
            self.clock.stop_for(Stops(self.schedule.next_after, self.schedule.catch_up))


def rehearsal(
    *, clock: SettableClock | None = None, seed: int = 0, runs_due: bool = True, **options: Any
) -> Rehearsal:
    """A ``Rehearsal`` in memory."""
    from neruba_core.storage.memory.storage import MemoryStorage

    return Rehearsal(MemoryStorage(), clock=clock, seed=seed, runs_due=runs_due, **options)


def seeded_ids(clock: Clock, seed: int = 0) -> Ids:
    """Ids that are the same in every run."""
    return Ids(clock=clock, randomness=random.Random(seed).randbytes)


def a_project(**changes: Any) -> Project:
    """A project of no particular settings."""
    return Project(
        **{
            "id": PROJECT_ID,
            "name": "Acme Production",
            "external_key": None,
            "currency": "USD",
            "credit_limit_micros": 0,
            "metric_policy": MetricPolicy.OPEN,
            "max_backdate_days": None,
            "timezone": "UTC",
            "created_by": "system",
            "created_at": NOON,
            **changes,
        }
    )


def a_grant(number: int = 1, **changes: Any) -> Grant:
    """Grant *number*: promotional, of priority 50, without expiry."""
    return Grant(
        **{
            "project_id": PROJECT_ID,
            "id": f"grt_{number:032x}",
            "kind": GrantKind.PROMOTIONAL,
            "priority": 50,
            "amount_micros": 100_000_000,
            "effective_at": NOON,
            "expires_at": None,
            "transaction_id": f"txn_{number:032x}",
            **changes,
        }
    )


def a_lot(remaining_micros: int, number: int = 1, **changes: Any) -> Lot:
    """Grant *number* with *remaining_micros* in it."""
    return Lot(a_grant(number, **{"amount_micros": max(remaining_micros, 1), **changes}), remaining_micros)


def a_book(
    lots: Iterable[Lot] = (),
    *,
    overdraft_micros: int = 0,
    credit_limit_micros: int = 0,
    accounts: Mapping[str, int] | None = None,
    chart: Chart = DEFAULT,
) -> Book:
    """A project's money as it stands when a decision is taken, with *lots* and an overdraft in it."""
    held = {lot.grant.id: lot for lot in lots}
    balances = {lot.grant.account: -lot.remaining_micros for lot in held.values()} | dict(accounts or {})
    if overdraft_micros:
        balances[OVERDRAFT] = overdraft_micros
    total = sum(lot.remaining_micros for lot in held.values()) - overdraft_micros
    return Book(
        project=a_project(credit_limit_micros=credit_limit_micros),
        chart=chart,
        head=Head(
            PROJECT_ID,
            version=1,
            balance_micros=total,
            overdraft_micros=overdraft_micros,
            receivable_micros=balances.get(chart.receivable, 0),
        ),
        accounts=balances,
        lots=held,
    )
