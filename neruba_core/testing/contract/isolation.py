"""No method that takes a project shows or changes anything of another one.

The twins of these tests are two projects with the same rows under the same ids and keys; only one word in
each row tells them apart. Whoever forgets a ``project_id`` in a query finds the other twin's row, or two.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import evolve

from neruba_core.audit.model import Tally
from neruba_core.ledger.model import Account, Head, TransactionType
from neruba_core.storage import port
from neruba_core.storage.port import Storage, UnitOfWork
from neruba_core.tenancy.model import Role
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import END, NOW, START, TOKENS, person, tenant
from neruba_core.testing.contract.units import state, write
from neruba_core.usage.model import QuarantineState

Read = Callable[[UnitOfWork, str], Any]

READS: dict[str, Read] = {
    "tenancy.project": lambda work, p: work.tenancy.project(p),
    "tenancy.projects": lambda work, p: work.tenancy.projects([p]),
    "tenancy.lock_project": lambda work, p: work.tenancy.lock_project(p),
    "tenancy.membership": lambda work, p: [
        work.tenancy.membership(p, member.user_id) for member in work.tenancy.members(p)
    ],
    "tenancy.members": lambda work, p: work.tenancy.members(p),
    "tenancy.invitations": lambda work, p: work.tenancy.invitations(p),
    "access.keys": lambda work, p: work.access.keys(p, limit=9, before=None),
    "idempotency.answers": lambda work, p: work.idempotency.answers(p, "charge", ["same"]),
    "metering.metrics": lambda work, p: work.metering.metrics([p]),
    "usage.by_keys": lambda work, p: work.usage.by_keys(p, ["same"]),
    "usage.by_event_ids": lambda work, p: work.usage.by_event_ids(p, ["same"]),
    "usage.event": lambda work, p: work.usage.event(p, "use_same"),
    "usage.events": lambda work, p: work.usage.events(p, limit=9, before=None),
    "usage.voids": lambda work, p: work.usage.voids(p, ["use_void"]),
    "usage.totals": lambda work, p: work.usage.totals(p, TOKENS, START, END),
    "usage.distinct": lambda work, p: work.usage.distinct(p, TOKENS, "twin", START, END),
    "usage.extent": lambda work, p: work.usage.extent(p),
    "usage.counts": lambda work, p: work.usage.counts(p, START, END),
    "usage.quarantined": lambda work, p: work.usage.quarantined(p, "qua_same"),
    "usage.quarantined_by_keys": lambda work, p: work.usage.quarantined_by_keys(p, ["same"]),
    "ledger.lock_heads": lambda work, p: work.ledger.lock_heads([p]),
    "ledger.head": lambda work, p: work.ledger.head(p),
    "ledger.accounts": lambda work, p: work.ledger.accounts([p]),
    "ledger.transactions_by_keys": lambda work, p: work.ledger.transactions_by_keys(p, "credit", ["same"]),
    "ledger.transactions_by_event_ids": lambda work, p: work.ledger.transactions_by_event_ids(
        p, "credit", ["same"]
    ),
    "ledger.transaction": lambda work, p: work.ledger.transaction(p, "txn_same"),
    "ledger.transactions": lambda work, p: work.ledger.transactions(p, limit=9, before=None),
    "ledger.reversals_of": lambda work, p: work.ledger.reversals_of(p, "txn_same"),
    "ledger.entries_of": lambda work, p: work.ledger.entries_of(p, "txn_same"),
    "ledger.entries": lambda work, p: work.ledger.entries(p, limit=9, before=None),
    "ledger.balances": lambda work, p: work.ledger.balances(p),
    "ledger.transaction_count": lambda work, p: work.ledger.transaction_count(p),
    "wallets.grants": lambda work, p: work.wallets.grants(p, ["gra_same"]),
    "wallets.open_lots": lambda work, p: work.wallets.open_lots([p]),
    "wallets.grants_of": lambda work, p: work.wallets.grants_of(p),
    "wallets.draws_of": lambda work, p: work.wallets.draws_of(p, ["txn_same"]),
    "audit.changes": lambda work, p: work.audit.changes(p, limit=9, before=None),
    "audit.attempts": lambda work, p: work.audit.attempts(p, limit=9, before=None),
    "audit.totals": lambda work, p: work.audit.totals(p),
    "audit.trail": lambda work, p: work.audit.trail(p, "req_same"),
}
"""Every method that takes a project, as a reading of it."""


def remove_members(work: UnitOfWork, project_id: str) -> None:
    for member in work.tenancy.members(project_id):
        work.tenancy.remove_member(project_id, member.user_id)


def promote_members(work: UnitOfWork, project_id: str) -> None:
    for member in work.tenancy.members(project_id):
        work.tenancy.put_member(evolve(member, role=Role.OWNER))


def write_under_the_head(work: UnitOfWork, project_id: str) -> None:
    work.ledger.lock_heads([project_id])
    work.ledger.write_heads([Head(project_id, version=9)])
    work.ledger.write_accounts([Account(project_id, "promotions", 9)])


WRITES: dict[str, Callable[[UnitOfWork, str], Any]] = {
    "tenancy.remove_member": remove_members,
    "usage.close_quarantined": lambda work, p: work.usage.close_quarantined(
        p, "qua_same", QuarantineState.DISCARDED
    ),
    "tenancy.accept_invitation": lambda work, p: work.tenancy.accept_invitation(
        work.tenancy.invitations(p)[0], NOW
    ),
    "tenancy.replace_project": lambda work, p: work.tenancy.replace_project(
        samples.project(id=p, name="Changed")
    ),
    "tenancy.put_member": promote_members,
    "metering.replace_metric": lambda work, p: work.metering.replace_metric(samples.metric(p, free=True)),
    "usage.add_void": lambda work, p: work.usage.add_void(
        samples.void(samples.usage_event(p, id="use_same"))
    ),
    "ledger.write_heads": write_under_the_head,
}
"""Writes that change a row which both twins have."""


def twin(storage: Storage, user_id: str, word: str) -> str:
    """Commit a project full of rows whose ids and keys are the same in every twin, and *word* is not."""
    project_id = tenant(storage, name=word)
    size = len(word)
    with storage.work() as work:
        work.tenancy.put_member(samples.membership(project_id, user_id))
        work.tenancy.add_invitation(samples.invitation(project_id, id="inv_same", email=word))
        # Access keys are found without their project, so their ids are unique in the deployment.
        work.access.add_key(samples.access_key(project_id, name=word))
        work.metering.add_metrics([samples.metric(project_id, "same", unit=word)])
        event = samples.usage_event(
            project_id,
            id="use_same",
            idempotency_key="same",
            event_id="same",
            units_micros=size,
            actor=word,
            properties={"twin": word},
        )
        voided = samples.usage_event(project_id, id="use_void", actor=word)
        work.usage.insert([event, voided])
        work.usage.add_void(samples.void(voided, reason=word))
        waiting = samples.new_usage(idempotency_key="same")
        work.usage.quarantine(samples.quarantined(project_id, waiting, id="qua_same", reason=word))
        movements = (("promotions", size), ("wallet:gra_same", -size))
        same: dict[str, Any] = {"idempotency_key": "same", "event_id": "same", "description": word}
        booked, _ = samples.book_in(work, project_id, *movements, id="txn_same", grant_id="gra_same", **same)
        samples.book_in(
            work,
            project_id,
            *movements,
            id="txn_back",
            type=TransactionType.REVERSAL,
            operation="reverse",
            reverses="txn_same",
            **same,
        )
        work.wallets.add_grants([samples.grant(booked, id="gra_same", amount_micros=size)])
        work.wallets.add_draws([samples.draw(booked, 1, grant_id="gra_same", micros=size)])
        work.ledger.write_accounts([Account(project_id, account, micros) for account, micros in movements])
        work.idempotency.add_answers([samples.stored_answer(project_id, idempotency_key="same", body=word)])
        work.audit.add_changes([samples.change(project_id, id="chg_same", details=word)])
        work.audit.add_attempts([samples.attempt(project_id, id="att_same", message=word)])
        work.audit.add_tallies([Tally(project_id, "tal_same", accepted=size)])
        work.audit.add_trail([samples.trail(project_id, id="trl_same", request_id="req_same", path=word)])
    return project_id


def methods_that_take_a_project() -> Iterator[str]:
    """Their names, read off the port."""
    for slice_name, attribute in vars(port.UnitOfWork).items():
        if isinstance(attribute, property):
            store = inspect.get_annotations(attribute.fget, eval_str=True)["return"]  # type: ignore[arg-type]
            for name, method in inspect.getmembers(store, inspect.isfunction):
                if {"project_id", "project_ids", "scope_id"} & inspect.signature(method).parameters.keys():
                    yield f"{slice_name}.{name}"


class Isolation(Promises):
    """Two tenants never meet."""

    def test_every_method_that_takes_a_project_is_tried_here(self) -> None:
        """
        A new one that is forgotten here fails this test, whatever the adapter.
        """
        assert set(methods_that_take_a_project()) <= READS.keys() | WRITES.keys()

    @pytest.mark.parametrize("method", READS)
    def test_a_project_shows_nothing_of_another(self, storage: Storage, method: str) -> None:
        """
        What is read of one twin is the same after the other one was made, and nothing is read of a third
        project but what is its own.
        """
        user_id = person(storage)
        one = twin(storage, user_id, "one")
        empty = tenant(storage)
        before = write(storage, lambda work: (READS[method](work, one), READS[method](work, empty)))

        other = twin(storage, user_id, "other")

        with storage.work() as work:
            assert (READS[method](work, one), READS[method](work, empty)) == before
            theirs = repr(READS[method](work, other))
        assert one not in theirs
        assert empty not in repr(before[0]) + theirs
        assert one not in repr(before[1])

    @pytest.mark.parametrize("method", WRITES)
    def test_a_write_to_a_project_leaves_others_alone(self, storage: Storage, method: str) -> None:
        """
        The twin whose rows have the same ids stays as it was, byte by byte.
        """
        user_id = person(storage)
        one, other = twin(storage, user_id, "one"), twin(storage, user_id, "other")
        before = state(storage, one), state(storage, other)

        write(storage, lambda work: WRITES[method](work, one))

        assert state(storage, one) != before[0]
        assert state(storage, other) == before[1]

    def test_a_project_without_the_row_finds_nothing(self, storage: Storage) -> None:
        """
        Ids and keys of another project are as good as unknown, and writing to them does nothing.
        """
        one = twin(storage, person(storage), "one")
        stranger = tenant(storage)
        before = state(storage, one), state(storage, stranger)

        with storage.work() as work:
            member = work.tenancy.members(one)[0]
            found = [
                work.tenancy.membership(stranger, member.user_id),
                work.usage.event(stranger, "use_same"),
                work.usage.quarantined(stranger, "qua_same"),
                work.ledger.transaction(stranger, "txn_same"),
            ]
            closed = work.usage.close_quarantined(stranger, "qua_same", QuarantineState.DISCARDED)
            accepted = work.tenancy.accept_invitation(samples.invitation(stranger, id="inv_same"), NOW)
            work.tenancy.remove_member(stranger, member.user_id)
            work.metering.replace_metric(samples.metric(stranger, "same", free=True))

        assert found == [None] * 4
        assert (closed, accepted) == (False, False)
        assert (state(storage, one), state(storage, stranger)) == before
