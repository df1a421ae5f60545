"""The façade: units of work, retries, and what an embedder holds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import neruba_core
from neruba_core import Neruba
from neruba_core.errors import InsufficientCredit, NotJoinable, StorageBusy, StorageConflict
from neruba_core.storage.memory import MemoryStorage
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.clock import NOON


def test_the_first_loop_in_six_lines():
    """
    As the first page of the documentation tells it.
    """
    neruba = Neruba.in_memory()
    acme = neruba.projects.create(name="Acme Production", external_key="acme-prod")
    neruba.usage.record(
        acme.id,
        metric_key="api_tokens",
        units="1250.000000",
        timestamp=datetime(2026, 3, 17, 10, 15, tzinfo=UTC),
        idempotency_key="evt_2026_03_17_001",
    )
    neruba.wallets.credit(acme.id, amount="100", description="Launch credit", idempotency_key="credit_1")
    neruba.charges.charge(acme.id, amount="12.50", description="GPU hour", idempotency_key="chg_1")

    overview = neruba.billing.overview(acme.id)

    assert str(overview.wallet.balance) == "87.500000"
    assert overview.usage[0].quantity.units_micros == 1_250_000_000
    assert neruba_core.__doc__ is not None


def charge(neruba, project_id, key="k", amount="5"):
    return neruba.charges.charge(project_id, amount=amount, description="x", idempotency_key=key)


def test_several_calls_are_one_unit(billing: Rehearsal):
    """
    All of them, or none.
    """
    with billing.work() as unit:
        project_id = unit.projects.create(name="Acme", credit_limit="100").id
        charge(unit, project_id)

    def fail_half_way():
        with billing.work() as unit:
            charge(unit, project_id, "k2")
            charge(unit, unit.projects.create(name="Other", credit_limit="9").id)
            assert str(unit.wallets.get(project_id).balance) == "-10.000000"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()

    assert str(billing.wallets.get(project_id).balance) == "-5.000000"
    assert len(billing.projects.list().items) == 1


def test_a_refusal_that_the_host_handles_keeps_what_belongs_to_it(billing: Rehearsal):
    """
    The stored 402 is committed with the host's unit; its neighbours are not undone.
    """
    project_id = billing.projects.create(name="Acme").id

    with billing.work() as unit:
        with pytest.raises(InsufficientCredit):
            charge(unit, project_id)
        unit.wallets.credit(project_id, amount="10", description="x", idempotency_key="c")

    with pytest.raises(InsufficientCredit):
        charge(billing, project_id)
    assert billing.audit.totals(project_id).rejected == 1


def test_a_unit_inside_a_unit_is_a_part_of_it(billing: Rehearsal):
    """
    Undone alone when an exception leaves it.
    """
    project_id = billing.projects.create(name="Acme", credit_limit="100").id

    def fail_in_part(unit):
        with unit.work() as part:
            charge(part, project_id, "b")
            raise ZeroDivisionError

    with billing.work() as unit:
        charge(unit, project_id, "a")
        with pytest.raises(ZeroDivisionError):
            fail_in_part(unit)
        with unit.work() as part:
            charge(part, project_id, "c")

    keys = [transaction.idempotency_key for transaction in billing.ledger.transactions(project_id).items]
    assert keys == ["c", "a"]


class Contended(MemoryStorage):
    """Refuses the first few units, as a database with a deadlock would."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self.refusals = refusals
        self.units = 0

    def work(self):
        self.units += 1
        if self.units <= self.refusals:
            raise StorageConflict("deadlock detected")
        return super().work()


def test_a_conflict_of_the_database_is_retried():
    """
    Nobody sees it.
    """
    storage = Contended(2)
    neruba = Neruba(storage, clock=lambda: NOON)

    project = neruba.unit(lambda unit: unit.projects.create(name="Acme"))

    assert neruba.projects.get(project.id) == project
    assert storage.units == 3


def test_a_conflict_that_stays_is_told_after_three_times():
    """
    As busy, which may be tried again later.
    """
    storage = Contended(3)

    with pytest.raises(StorageBusy) as refused:
        Neruba(storage).projects.create(name="Acme")

    assert storage.units == 3
    assert refused.value.retry_after_seconds == 1


def test_memory_joins_nobody(billing: Rehearsal):
    """
    There is no host transaction that it could be part of.
    """
    with pytest.raises(NotJoinable), billing.join(object()):
        pass

    billing.check()
