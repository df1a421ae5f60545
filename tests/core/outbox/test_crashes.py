"""A crash at every call of the store, from the command to the record of its delivery.

Afterwards the process starts anew, the client sends its command again, and the loop goes on. What happened
and its message are there together or not at all, there is one message however often that went, and it arrives
at least once, always under the same id.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from neruba_core.errors import StorageUnavailable
from neruba_core.outbox.model import DeliveryAttempt, DeliveryState, Endpoint, Message
from neruba_core.outbox.rounds import Sent
from neruba_core.storage.memory import MemoryStorage
from neruba_core.storage.port import Storage
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.clock import NOON, SettableClock
from neruba_core.testing.failing import failing

LEASE = timedelta(minutes=1)
URL = "https://hooks.example.com/neruba"

Command = Callable[[Rehearsal, str], object]


def charge(neruba: Rehearsal, project_id: str) -> object:
    return neruba.charges.charge(project_id, amount="1", description="GPU", idempotency_key="one")


def credit(neruba: Rehearsal, project_id: str) -> object:
    return neruba.wallets.credit(project_id, amount="1", description="Launch", idempotency_key="one")


def quarantine(neruba: Rehearsal, project_id: str) -> object:
    return neruba.usage.record(
        project_id, metric_key="unheard_of", units="1", timestamp=NOON, idempotency_key="one"
    )


def pay(neruba: Rehearsal, project_id: str) -> object:
    return neruba.payments.pay(project_id, amount="1", idempotency_key="one")


def bill(neruba: Rehearsal, project_id: str) -> object:
    return neruba.billing.run(project_id, "2026-02", finalize=True)


COMMANDS: dict[str, Command] = {
    "charge.created": charge,
    "credit.granted": credit,
    "invoice.finalized": bill,
    "payment.succeeded": pay,
    "usage.quarantined": quarantine,
}


def stocked(storage: Storage, clock: SettableClock, type: str) -> str:
    """A project with credit, a month to bill, and an endpoint for messages of *type*."""
    neruba = Rehearsal(storage, clock=clock, seed=1)
    project_id = neruba.projects.create(name="Acme").id
    neruba.metrics.declare(project_id, key="storage")
    neruba.prices.create(
        project_id,
        metric_key="storage",
        model="unit",
        unit_amount="1",
        effective_from=NOON - timedelta(days=90),
    )
    neruba.usage.record(
        project_id,
        metric_key="storage",
        units="3",
        timestamp=NOON - timedelta(days=30),
        idempotency_key="use",
    )
    neruba.wallets.credit(project_id, amount="10", description="first", idempotency_key="first")
    neruba.projects.update(project_id, metric_policy="strict")
    neruba.webhooks.create(project_id, url=URL, message_types=[type])
    return project_id


def room(endpoint: Endpoint) -> int:
    return 10


def delivered(neruba: Rehearsal, received: list[str]) -> None:
    """A round of the loop, with an endpoint that takes everything."""
    tasks = neruba.webhooks.take(room, lease=LEASE)
    received.extend(task.message.id for task in tasks)
    attempt = DeliveryAttempt(neruba.now(), 5, 200)
    neruba.webhooks.record([Sent(task, attempt) for task in tasks])


def life(neruba: Rehearsal, project_id: str, command: Command, received: list[str]) -> None:
    command(neruba, project_id)
    delivered(neruba, received)


def told(storage: Storage, project_id: str) -> list[Message]:
    with storage.snapshot() as work:
        return [row for name, row in work.export(project_id) if name == "messages"]


def effects(storage: Storage, project_id: str, type: str) -> int:
    """How often it has happened."""
    table = {
        "charge.created": "transactions",
        "credit.granted": "transactions",
        "invoice.finalized": "invoices",
        "payment.succeeded": "payments",
        "usage.quarantined": "quarantined",
    }[type]
    with storage.snapshot() as work:
        rows = [row for name, row in work.export(project_id) if name == table]
    return sum(getattr(row, "idempotency_key", None) != "first" for row in rows)


@pytest.mark.torture
@pytest.mark.parametrize(
    ("type", "kind"), [*((type, "memory") for type in COMMANDS), ("charge.created", "sqlite")]
)
def test_a_crash_anywhere_loses_no_message_and_doubles_none(
    type: str, kind: str, tmp_path: Path, sqlite_template: Path, torture: bool
):
    """
    Every call of every unit, and the loss of each commit's news.
    """
    command = COMMANDS[type]
    clock = SettableClock()
    counted = failing(fresh(kind, sqlite_template, tmp_path / "0.db"), at=None)
    project_id = stocked(counted._storage, clock, type)
    life(Rehearsal(counted, clock=clock, seed=2), project_id, command, [])
    assert any(call.startswith("outbox.replace_deliveries") for call in counted.trace)
    # SQLite shows that the memory's way of undoing is no accident; a sample is enough for that.
    step = 1 if torture or kind == "memory" else 7

    for at in range(1, counted.calls + 1, step):
        clock = SettableClock()
        storage = fresh(kind, sqlite_template, tmp_path / f"{at}.db")
        project_id = stocked(storage, clock, type)
        received: list[str] = []
        with pytest.raises(StorageUnavailable):
            life(Rehearsal(failing(storage, at=at), clock=clock, seed=2), project_id, command, received)
        assert len(told(storage, project_id)) == effects(storage, project_id, type)

        restarted = Rehearsal(storage, clock=clock, seed=3)
        clock.advance(LEASE)
        life(restarted, project_id, command, received)

        (message,) = told(storage, project_id)
        assert effects(storage, project_id, type) == 1
        assert set(received) == {message.id}
        (delivery,) = restarted.webhooks.deliveries(project_id).items
        assert delivery.state is DeliveryState.DELIVERED
        storage.close()


def fresh(kind: str, template: Path, file: Path) -> Storage:
    if kind == "memory":
        return MemoryStorage()
    from neruba_core.storage.sql import SqlStorage

    return SqlStorage(f"sqlite:///{shutil.copy(template, file)}")


def test_whoever_is_slow_to_record_is_not_heard(billing: Rehearsal):
    """
    The lease has run out and another has sent the message: the one record is the other's.
    """
    project_id = stocked(billing._context.storage, billing.clock, "credit.granted")
    billing.wallets.credit(project_id, amount="1", description="Launch", idempotency_key="one")
    (late,) = billing.webhooks.take(room, lease=LEASE)
    billing.clock.advance(LEASE)
    (other,) = billing.webhooks.take(room, lease=LEASE)

    heard = [
        billing.webhooks.record([Sent(task, DeliveryAttempt(billing.now(), 5, 200))])
        for task in (late, other, other)
    ]

    assert late.message == other.message
    assert heard == [0, 1, 0]
    (delivery,) = billing.webhooks.deliveries(project_id).items
    assert (delivery.state, len(delivery.attempts)) == (DeliveryState.DELIVERED, 1)
