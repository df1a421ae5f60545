"""No method that takes a project shows or changes anything of another one.

Whoever forgets a ``project_id`` in a query finds the row of the other twin, or two rows.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import evolve

from neruba_core.ledger.model import Account, Head
from neruba_core.outbox.model import DeliveryState
from neruba_core.storage import port
from neruba_core.storage.port import Storage, UnitOfWork
from neruba_core.tenancy.model import Role
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.readings import READS, twin
from neruba_core.testing.contract.samples import NOW, person, tenant
from neruba_core.testing.contract.units import state, write
from neruba_core.usage.model import HoldKind, QuarantineState


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


def under_the_head(call: Callable[[UnitOfWork, str], Any]) -> Callable[[UnitOfWork, str], Any]:
    """*call*, once the project's head is locked."""

    def locked(work: UnitOfWork, project_id: str) -> None:
        work.ledger.lock_heads([project_id])
        call(work, project_id)

    return locked


WRITES: dict[str, Callable[[UnitOfWork, str], Any]] = {
    "tenancy.remove_member": remove_members,
    "usage.close_quarantined": lambda work, p: work.usage.close_quarantined(
        p, "qua_same", QuarantineState.DISCARDED
    ),
    "usage.close_hold": lambda work, p: work.usage.close_hold(
        p, "use_same", HoldKind.EVENT, QuarantineState.DISCARDED
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
    "pricing.write_meters": under_the_head(
        lambda work, p: work.pricing.write_meters([samples.meter(p, metric_key="same", events=99)])
    ),
    "billing.put_periods": under_the_head(
        lambda work, p: work.billing.put_periods([samples.billing_period(p, invoiced_at=NOW)])
    ),
    "invoices.put_drafts": under_the_head(
        lambda work, p: work.invoices.put_drafts([samples.invoice(p, id="inv_draft", part=99)])
    ),
    "invoices.finalize": under_the_head(
        lambda work, p: work.invoices.finalize([samples.invoice(p, id="inv_draft", part=99, number=99)])
    ),
    "invoices.remove_draft": under_the_head(lambda work, p: work.invoices.remove_draft(p, "inv_draft")),
    "invoices.set_state": under_the_head(
        lambda work, p: work.invoices.set_state(samples.invoice(p, id="inv_same", number=9, paid_micros=9))
    ),
    "invoices.keep_pdf": lambda work, p: work.invoices.keep_pdf(p, "inv_bare", b"changed"),
    "payments.remove_method": lambda work, p: work.payments.remove_method(p),
    "payments.put_method": lambda work, p: work.payments.put_method(
        samples.payment_method(p, customer="changed")
    ),
    "outbox.replace_endpoint": lambda work, p: work.outbox.replace_endpoint(
        samples.endpoint(p, id="whe_same", disabled_at=NOW)
    ),
    "outbox.replace_deliveries": lambda work, p: work.outbox.replace_deliveries(
        [samples.delivery(p, "whe_same", "msg_same", id="dlv_same", tried=9)]
    ),
    "outbox.end_pending": lambda work, p: work.outbox.end_pending(
        p, "whe_same", DeliveryState.CANCELLED, at=NOW
    ),
    "outbox.claim": lambda work, p: work.outbox.claim(
        samples.endpoint(p, id="whe_same"), "mine", now=NOW, until=NOW, limit=9
    ),
}
"""Writes that change a row which both twins have."""


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
        # Folding anew changes nothing that can be seen; that is tried with the rollups.
        tried = READS.keys() | WRITES.keys() | {"usage.refold"}

        assert set(methods_that_take_a_project()) <= tried

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
                work.pricing.price(stranger, "prc_same"),
                work.billing.run(stranger, "run_same"),
                work.invoices.invoice(stranger, "inv_same"),
                work.invoices.pdf(stranger, "inv_same"),
                work.outbox.endpoint(stranger, "whe_same"),
                work.outbox.delivery(stranger, "dlv_same"),
            ]
            closed = work.usage.close_quarantined(stranger, "qua_same", QuarantineState.DISCARDED)
            accepted = work.tenancy.accept_invitation(samples.invitation(stranger, id="inv_same"), NOW)
            work.tenancy.remove_member(stranger, member.user_id)
            work.metering.replace_metric(samples.metric(stranger, "same", free=True))
            work.ledger.lock_heads([stranger])
            work.invoices.remove_draft(stranger, "inv_draft")
            work.invoices.set_state(samples.invoice(stranger, id="inv_same", number=9, paid_micros=9))

        assert found == [None] * 10
        assert (closed, accepted) == (False, False)
        assert (state(storage, one), state(storage, stranger)) == before
