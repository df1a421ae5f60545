"""Many commands in one unit of work, each with its own verdict."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import asdict, evolve

from neruba_core import NewCharge
from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.audit.outcomes import Unreadable
from neruba_core.charges.charge import charge_order
from neruba_core.errors import AmountInvalid, StorageUnavailable, TextInvalid
from neruba_core.idempotency.outcomes import Accepted, Rejected
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.clock import NOON
from neruba_core.usage.model import NewUsage
from neruba_core.usage.record import Sent
from neruba_core.wallets.credit import NewCredit
from neruba_core.wallets.orders import Order, credit_order


@pytest.fixture
def project_id(billing: Rehearsal) -> str:
    return billing.projects.create(name="Acme").id


def charge(project_id: str, key: str, amount: str = "5", **details: Any) -> Order:
    new = NewCharge.of(amount=amount, description="GPU", idempotency_key=key, **details)
    return charge_order(project_id, new, Origin("key:key_1", f"req-{key}"))


def credit(project_id: str, key: str, amount: str = "10") -> Order:
    new = NewCredit.of(amount=amount, description="Launch", idempotency_key=key)
    return credit_order(project_id, new, SYSTEM)


def usage(project_id: str, key: str, units: str = "5") -> Sent:
    new = NewUsage.of(metric_key="tokens", units=units, timestamp=NOON, idempotency_key=key)
    return Sent(project_id, new, SYSTEM)


def unreadable(project_id: str) -> Unreadable:
    return Unreadable(project_id, "charge", AmountInvalid("1e3"), Origin("key:key_1", "req-1"), "k")


def names(verdicts: Any) -> list[str]:
    return [
        verdict.name.value if hasattr(verdict, "name") else type(verdict).__name__ for verdict in verdicts
    ]


def test_each_command_sees_what_the_one_before_did(billing, project_id):
    """
    In order, within one unit.
    """
    verdicts = billing.execute(
        [
            charge(project_id, "a"),
            credit(project_id, "c"),
            charge(project_id, "b"),
            charge(project_id, "b"),
            charge(project_id, "d", event_id="b"),
            charge(project_id, "e"),
            charge(project_id, "f", "0.000001"),
            charge(project_id, "a"),
        ]
    )

    assert names(verdicts) == [
        "rejected",
        "accepted",
        "accepted",
        "replayed",
        "deduped",
        "accepted",
        "rejected",
        "replayed",
    ]
    assert verdicts[7].replayed
    assert verdicts[7].request_id == "req-a"
    assert [verdict.value.version for verdict in verdicts if isinstance(verdict, Accepted)] == [1, 2, 3]
    assert str(billing.wallets.get(project_id).balance) == "0.000000"


def test_commands_of_every_kind_share_a_unit(billing, project_id):
    """
    Verdicts in the order of the commands; all attempts are counted.
    """
    other = billing.projects.create(name="Other").id
    seen = []

    verdicts = billing.execute(
        [
            credit(other, "c"),
            usage(project_id, "u"),
            unreadable(project_id),
            charge("prj_none", "k"),
            charge(other, "k"),
            usage(project_id, "u", "6"),
            charge(project_id, "k"),
        ],
        note=lambda work, pairs: seen.extend(pairs),
    )

    assert names(verdicts) == [
        "accepted",
        "accepted",
        "rejected",
        "rejected",
        "accepted",
        "conflict",
        "rejected",
    ]
    assert [verdict for _, verdict in seen] == verdicts
    counts = asdict(billing.audit.totals(project_id))
    assert (counts["accepted"], counts["conflict"], counts["rejected"]) == (1, 1, 2)
    attempts = billing.audit.attempts(project_id, outcome="rejected").items
    assert {attempt.code for attempt in attempts} == {"amount.invalid", "wallet.insufficient_credit"}
    assert {attempt.access_key_id for attempt in attempts} == {"key_1"}


class Defect(Exception):
    pass


def broken(project_id: str, error: Exception) -> Order:
    def decide(new, book, at, ids):
        raise error

    order = charge(project_id, "broken")
    return evolve(order, kind=evolve(order.kind, decide=decide))


@pytest.mark.parametrize(
    "error", [Defect("a bug"), TextInvalid("a bug of another kind")], ids=["any", "refusal"]
)
def test_a_defect_reaches_only_the_offender(billing, project_id, error):
    """
    The unit is undone and run again one by one.
    """
    verdicts = billing.execute(
        [credit(project_id, "c"), charge(project_id, "a"), broken(project_id, error), charge(project_id, "b")]
    )

    assert names(verdicts) == ["accepted", "accepted", type(error).__name__, "accepted"]
    assert verdicts[2] is error
    assert billing.ledger.sweep(project_id).transactions == 3
    assert billing.audit.totals(project_id).accepted == 2


def test_a_refusal_of_storage_is_about_all(billing, project_id):
    """
    Nothing was changed, and all may try again.
    """
    with pytest.raises(StorageUnavailable):
        billing.execute(
            [credit(project_id, "c"), charge(project_id, "a")],
            note=lambda work, pairs: (_ for _ in ()).throw(StorageUnavailable("gone")),
        )

    assert billing.ledger.sweep(project_id).transactions == 0


def test_nothing_to_do_is_done(billing):
    """
    No commands, no verdicts.
    """
    assert billing.execute([]) == []


def test_charges_of_one_call_settle_in_order(billing, project_id):
    """
    One outcome each, none raised.
    """
    billing.wallets.credit(project_id, amount="10", description="x", idempotency_key="c")

    settled = billing.charges.charge_many(
        project_id,
        [NewCharge.of(amount="4", description="GPU", idempotency_key=f"k{n}") for n in range(3)],
    )

    assert names(settled) == ["accepted", "accepted", "rejected"]
    assert isinstance(settled[2], Rejected)
    assert settled[2].error.facts() == {"available": "2.000000"}
