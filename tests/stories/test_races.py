"""Many at once: one effect for each key, no wallet below its floor, no deadlock that anyone sees.

Threads share a few façades over one database, as the workers of a host do. The sizes are small unless
torture is asked for.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from neruba_core import Neruba, money
from neruba_core.audit.model import SYSTEM
from neruba_core.charges.charge import NewCharge, charge_order
from neruba_core.errors import (
    InsufficientCredit,
    KeyInProgress,
    KeyReused,
    NerubaError,
    ReversalExceedsOriginal,
    StorageBusy,
)
from neruba_core.storage.sql import SqlStorage
from neruba_core.testing.clock import NOON
from neruba_core.wallets.credit import NewCredit
from neruba_core.wallets.orders import Order, credit_order

pytestmark = pytest.mark.torture


@pytest.fixture
def engines(database: SqlStorage) -> list[Neruba]:
    """
    Three façades over one database, each with ids of its own.
    """
    return [Neruba(database) for _ in range(3)]


@pytest.fixture
def rounds(torture: bool) -> int:
    """
    How often a race is run.
    """
    return 1_000 if torture else 4


def at_once(acts: Sequence[Callable[[], Any]]) -> list[Any]:
    """Start all of *acts* at the same moment; what each returned or raised."""
    gate = threading.Barrier(len(acts))

    def run(act: Callable[[], Any]) -> Any:
        gate.wait()
        try:
            return act()
        except NerubaError as error:
            return error

    with ThreadPoolExecutor(len(acts)) as threads:
        return list(threads.map(run, acts))


def until_decided(act: Callable[[], Any]) -> Callable[[], Any]:
    """As a client would: what may succeed a little later is asked for again a little later."""

    def asking() -> Any:
        while True:
            try:
                return act()
            except (KeyInProgress, StorageBusy):
                time.sleep(0.01)

    return asking


def credited(neruba: Neruba, amount: str) -> str:
    project_id = neruba.projects.create(name="Acme").id
    neruba.wallets.credit(project_id, amount=amount, description="Launch", idempotency_key="c")
    return project_id


def test_64_duplicates_of_a_charge_have_one_effect(engines, rounds):
    """
    And identical bodies.
    """
    project_id = credited(engines[0], "1000000")

    for number in range(rounds):
        answers = at_once(
            [
                until_decided(
                    partial(
                        engines[place % 3].charges.charge,
                        project_id,
                        amount="5",
                        description="GPU",
                        idempotency_key=f"k{number}",
                    )
                )
                for place in range(64)
            ]
        )

        assert Counter(answer.name.value for answer in answers) == {"accepted": 1, "replayed": 63}
        assert len({answer.value.body for answer in answers}) == 1

    swept = engines[0].ledger.sweep(project_id)
    tally = engines[0].audit.totals(project_id)
    assert swept.balanced
    assert swept.transactions == 1 + rounds
    assert tally.accepted == rounds
    assert tally.accepted + tally.replayed + tally.rejected >= 64 * rounds


def test_64_duplicates_of_an_event_have_one_effect(engines, rounds):
    """
    Ingest waits on no shared row, and yet records once.
    """
    project_id = engines[0].projects.create(name="Acme").id

    for number in range(rounds):
        answers = at_once(
            [
                partial(
                    engines[place % 3].usage.record,
                    project_id,
                    metric_key="m",
                    units="5",
                    timestamp=NOON,
                    idempotency_key=f"k{number}",
                )
                for place in range(64)
            ]
        )

        assert Counter(answer.name.value for answer in answers) == {"accepted": 1, "replayed": 63}
        assert len({answer.value for answer in answers}) == 1

    tally = engines[0].audit.totals(project_id)
    assert (tally.accepted, tally.replayed) == (rounds, 63 * rounds)


def test_one_key_with_two_bodies_is_accepted_once(engines, rounds):
    """
    Whoever comes first; the other is told that the key was reused.
    """
    project_id = credited(engines[0], "1000000")

    for number in range(rounds * 4):
        answers = at_once(
            [
                until_decided(
                    partial(
                        engine.charges.charge,
                        project_id,
                        amount=amount,
                        description="GPU",
                        idempotency_key=f"k{number}",
                    )
                )
                for engine, amount in ((engines[0], "5"), (engines[1], "6"))
            ]
        )

        kinds = sorted(type(answer).__name__ for answer in answers)
        assert kinds == ["Accepted", "KeyReused"]
        assert any(isinstance(answer, KeyReused) for answer in answers)

    assert engines[0].ledger.sweep(project_id).transactions == 1 + rounds * 4


def test_50_spenders_never_pass_the_floor(engines, rounds):
    """
    Exactly as many succeed as the balance covers, and each refusal says truly what was left.
    """
    for number in range(rounds):
        project_id = credited(engines[0], "17.5")

        answers = at_once(
            [
                partial(
                    engines[place % 3].charges.charge,
                    project_id,
                    amount="1",
                    description="GPU",
                    idempotency_key=f"k{place}",
                )
                for place in range(50)
            ]
        )

        refusals = [answer for answer in answers if isinstance(answer, InsufficientCredit)]
        assert len(refusals) == 33, f"round {number}"
        assert {refusal.available for refusal in refusals} == {"0.500000"}
        assert str(engines[1].wallets.get(project_id).balance) == "0.500000"
        assert engines[2].ledger.sweep(project_id).balanced


def test_a_transaction_is_reversed_once_however_many_ask(engines, rounds):
    """
    Together at most the original.
    """
    project_id = credited(engines[0], "1000000")

    for number in range(rounds):
        charge = engines[0].charges.charge(
            project_id, amount="10", description="GPU", idempotency_key=f"k{number}"
        )

        answers = at_once(
            [
                partial(
                    engines[place % 3].wallets.reverse,
                    project_id,
                    charge.value.id,
                    reason="x",
                    amount="3",
                    idempotency_key=f"r{number}-{place}",
                )
                for place in range(8)
            ]
        )

        assert sum(isinstance(answer, ReversalExceedsOriginal) for answer in answers) == 5


def test_random_postings_over_many_projects_meet_no_deadlock(engines, rounds):
    """
    Heads are locked in order, so that no two units wait for each other in a circle.
    """
    projects = [engines[0].projects.create(name="Acme", credit_limit="1000000").id for _ in range(6)]
    chance = random.Random(7)

    def order(key: str) -> Order:
        project_id, amount = chance.choice(projects), money.text(chance.randint(1, 9_000_000))
        if chance.random() < 0.7:
            return charge_order(
                project_id, NewCharge.of(amount=amount, description="x", idempotency_key=key), SYSTEM
            )
        return credit_order(
            project_id, NewCredit.of(amount=amount, description="x", idempotency_key=key), SYSTEM
        )

    def post(thread: int, batches: list[list[Order]]) -> list[list[Any]]:
        return [engines[thread % 3].execute(orders) for orders in batches]

    acts = [
        partial(post, thread, [[order(f"{thread}-{n}-{place}") for place in range(8)] for n in range(rounds)])
        for thread in range(8)
    ]
    verdicts = at_once(acts)

    names = Counter(verdict.name.value for mine in verdicts for unit in mine for verdict in unit)
    assert names == {"accepted": 8 * 8 * rounds}
    assert all(engines[0].ledger.sweep(project_id).balanced for project_id in projects)


def test_a_new_metric_is_declared_once_by_many(engines, rounds):
    """
    The first events of a metric, all at the same moment.
    """
    project_id = engines[0].projects.create(name="Acme").id

    for number in range(rounds):
        answers = at_once(
            [
                partial(
                    engines[place % 3].usage.record,
                    project_id,
                    metric_key=f"m{number}",
                    units="1",
                    timestamp=NOON,
                    idempotency_key=f"{number}-{place}",
                )
                for place in range(16)
            ]
        )

        assert {answer.name.value for answer in answers} == {"accepted"}

    # The list has the catalogue's too, which other tests may have left in the same database.
    listed = Counter(metric.key for metric in engines[0].metrics.list(project_id))
    assert [listed[f"m{number}"] for number in range(rounds)] == [1] * rounds
