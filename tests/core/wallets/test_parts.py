"""A unit of many orders is written in parts, which nobody can tell from one."""

from __future__ import annotations

from typing import Any

from neruba_core import Accepted, Rejected
from neruba_core.audit.model import SYSTEM
from neruba_core.charges.charge import NewCharge, charge_order
from neruba_core.storage.memory import MemoryStorage
from neruba_core.storage.port import Storage
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.contract.units import state
from neruba_core.wallets import booking
from neruba_core.wallets.credit import NewCredit
from neruba_core.wallets.orders import Order, credit_order

PART = booking.PART


def orders(project_id: str) -> list[Order[Any]]:
    """
    Charges for three parts and a rest. Where parts meet there are replays, a key with another request, an
    event met again, charges that are too much, and credit.
    """

    def charge(key: str, amount: str = "0.5", event_id: str | None = None) -> Order[Any]:
        new = NewCharge.of(amount=amount, description="GPU", idempotency_key=key, event_id=event_id)
        return charge_order(project_id, new, SYSTEM)

    made = []
    for number in range(3 * PART + 20):
        key = f"key_{number}"
        made.append(charge(key))
        if number % PART in {0, 1, PART - 2, PART - 1}:
            made += [charge(key), charge(key, "0.6"), charge(f"other_{number}", event_id=key)]
            made += [charge(f"much_{number}", "10000")] * 2
            more = NewCredit.of(amount="1", description="More", idempotency_key=f"more_{number}")
            made.append(credit_order(project_id, more, SYSTEM))
    return made


def played(storage: Storage, *, together: bool) -> tuple[list[Any], str]:
    """
    What the orders came to, told briefly, and what is there then.
    """
    billing = Rehearsal(storage, seed=730_112)
    project_id = billing.projects.create(name="Parts", credit_limit="20").id
    billing.webhooks.create(project_id, url="https://acme.example/hook")
    billing.wallets.credit(project_id, amount="190", description="Launch", idempotency_key="c")
    made = orders(project_id)
    if together:
        verdicts = billing.execute(made)
    else:
        verdicts = [verdict for order in made for verdict in billing.execute([order])]
    return [brief(verdict) for verdict in verdicts], state(storage, project_id)


def brief(verdict: Any) -> tuple[object, ...]:
    if isinstance(verdict, Accepted):
        return "accepted", verdict.value.version, verdict.value.balance_after_micros
    if isinstance(verdict, Rejected):
        return "rejected", verdict.error.code, verdict.error.facts(), verdict.replayed
    return type(verdict).__name__, getattr(getattr(verdict, "value", None), "version", None)


def test_parts_leave_what_a_whole_leaves(storage, monkeypatch):
    """
    On every store, to the byte; listeners are told of all that was charged; and each order came to what it
    would have come to alone.
    """
    in_parts = played(storage, together=True)
    monkeypatch.setattr(booking, "PART", 10_000)
    whole = played(MemoryStorage(), together=True)
    one_by_one, _ = played(MemoryStorage(), together=False)

    assert in_parts == whole
    assert in_parts[1].count(r"\"type\":\"charge.created\"") == 3 * PART + 20
    assert in_parts[0] == one_by_one
    assert {verdict[0] for verdict in one_by_one} == {
        "accepted",
        "rejected",
        "Replayed",
        "Deduplicated",
        "Conflict",
    }
