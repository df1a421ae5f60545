"""Promises of the port itself: units are atomic, savepoints nest, snapshots hold still."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from attrs import evolve

from neruba_core.audit.model import Tally
from neruba_core.instants import Period
from neruba_core.invoices.model import InvoiceState
from neruba_core.ledger.model import Head
from neruba_core.outbox.model import DeliveryState
from neruba_core.storage.port import Storage, UnitOfWork
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.readings import readings, twin
from neruba_core.testing.contract.samples import END, NOW, person, tenant
from neruba_core.testing.contract.units import (
    ANY_FAILURE,
    Rival,
    Undone,
    answer,
    read,
    start,
    state,
    together,
    undone,
    waits,
    write,
)


def everything(work: UnitOfWork, project_id: str) -> None:
    """A write of every kind that there is."""
    user = samples.user()
    session = samples.session(user.id)
    work.identity.add_user(user)
    work.identity.add_session(session)
    work.identity.replace_user(samples.user(id=user.id, email=user.email, operator=True))
    rotated = samples.session(user.id, id=session.id)
    work.identity.rotate(rotated, spent_refresh_hash=session.refresh_hash)
    work.identity.end_sessions_of(user.id, NOW)
    other = samples.project()
    samples.add_tenant(work, other)
    work.tenancy.replace_project(samples.project(id=project_id, name="Renamed"))
    work.tenancy.put_member(samples.membership(project_id, user.id))
    invitation = samples.invitation(project_id)
    work.tenancy.add_invitation(invitation)
    work.tenancy.accept_invitation(invitation, NOW)
    key = samples.access_key(project_id)
    work.access.add_key(key)
    work.access.replace_key(samples.access_key(project_id, id=key.id, revoked_at=NOW))
    work.access.touch_keys({key.id: NOW})
    work.metering.add_metrics([samples.metric(project_id, "new")])
    work.metering.replace_metric(samples.metric(project_id, free=True))
    event = samples.usage_event(project_id)
    work.usage.insert([event])
    work.usage.add_void(samples.void(event))
    waiting = samples.quarantined(project_id)
    work.usage.quarantine(waiting)
    everything_about_money(work, project_id)
    everything_about_billing(work, project_id)
    everything_about_messages(work, project_id)
    work.idempotency.add_answers([samples.stored_answer(project_id)])
    work.audit.add_changes([samples.change(project_id)])
    work.audit.add_attempts([samples.attempt(project_id)])
    work.audit.add_tallies([Tally(project_id, samples.new_id("tal"), accepted=1)])
    work.audit.add_trail([samples.trail(project_id, request_id="req_everything")])


def everything_about_money(work: UnitOfWork, project_id: str) -> None:
    """The part of `everything` that happens under a head's lock."""
    grant_id = samples.new_id("gra")
    account = f"wallet:{grant_id}"
    booked = samples.book_in(work, project_id, ("promotions", 5), (account, -5), grant_id=grant_id)
    work.wallets.add_grants([samples.grant(booked, id=grant_id)])
    work.ledger.write_accounts([samples.account(project_id, account, -5)])
    work.ledger.write_accounts([samples.account(project_id, "promotions", 5)])


def everything_about_billing(work: UnitOfWork, project_id: str) -> None:
    """The part of `everything` that prices and bills; the project's head is locked."""
    work.pricing.lock_catalogue()
    work.pricing.add_price(samples.price(None, metric_key=samples.new_id("metric")))
    work.pricing.add_price(samples.price(project_id, metric_key=samples.new_id("metric")))
    for events in (1, 2):
        work.pricing.write_meters([samples.meter(project_id, events=events)])
    plan = samples.plan()
    work.subscriptions.add_plan(plan)
    work.subscriptions.add_decision(samples.decision(project_id, plan.id, number=9))
    for at in (None, NOW):
        start = samples.later(seconds=7)
        period = samples.billing_period(project_id, name="2026-04", span=Period(start, END), invoiced_at=at)
        work.billing.put_periods([period])
    work.billing.add_runs([samples.run(project_id)])
    removed, drafted = (samples.invoice(project_id, part=part) for part in (50, 51))
    work.invoices.put_drafts([removed, drafted])
    work.invoices.remove_draft(project_id, removed.id)
    finalized = samples.invoice(project_id, id=drafted.id, part=51, number=51)
    work.invoices.finalize([finalized])
    work.invoices.set_state(evolve(finalized, state=InvoiceState.PAID, paid_micros=1))
    work.invoices.keep_pdf(project_id, finalized.id, b"%PDF")
    work.schedule.lease(samples.new_id("lease"), "someone", now=NOW, until=END)


def everything_about_messages(work: UnitOfWork, project_id: str) -> None:
    """The part of `everything` that tells others."""
    endpoint = samples.endpoint(project_id)
    work.outbox.add_endpoint(endpoint)
    work.outbox.replace_endpoint(evolve(endpoint, failing_since=NOW))
    message = samples.message(project_id, sequence=work.outbox.take_sequences({project_id: 1})[project_id])
    work.outbox.add_messages([message])
    work.outbox.add_deliveries([samples.delivery(project_id, endpoint.id, message.id) for _ in range(2)])
    [claimed] = work.outbox.claim(endpoint, "someone", now=NOW, until=END, limit=1)
    assert work.outbox.still_claimed([claimed])
    work.outbox.replace_deliveries([evolve(claimed, tried=1, claim=None)])
    work.outbox.end_pending(project_id, endpoint.id, DeliveryState.CANCELLED, at=NOW)


WRITES: dict[str, Callable[[UnitOfWork, str], Any]] = {
    "user": lambda work, _: work.identity.add_user(samples.user()),
    "throttle": lambda work, _: work.identity.save_throttle(samples.throttle("someone")),
    "project": lambda work, _: work.tenancy.add_project(samples.project()),
    "invitation": lambda work, project_id: work.tenancy.add_invitation(samples.invitation(project_id)),
    "access key": lambda work, project_id: work.access.add_key(samples.access_key(project_id)),
    "metric": lambda work, project_id: work.metering.add_metrics([samples.metric(project_id, "new")]),
    "usage": lambda work, project_id: work.usage.insert([samples.usage_event(project_id)]),
    "quarantine": lambda work, project_id: work.usage.quarantine(samples.quarantined(project_id)),
    "transaction": lambda work, project_id: work.ledger.append([samples.transaction(project_id, 9)]),
    "price": lambda work, project_id: work.pricing.add_price(samples.price(project_id)),
    "plan": lambda work, _: work.subscriptions.add_plan(samples.plan()),
    "decision": lambda work, project_id: work.subscriptions.add_decision(samples.decision(project_id, None)),
    "endpoint": lambda work, project_id: work.outbox.add_endpoint(samples.endpoint(project_id)),
    "message": lambda work, project_id: work.outbox.add_messages([samples.message(project_id)]),
    "lease": lambda work, _: work.schedule.lease(samples.new_id("lease"), "someone", now=NOW, until=END),
    "answer": lambda work, project_id: work.idempotency.add_answers([samples.stored_answer(project_id)]),
    "change": lambda work, project_id: work.audit.add_changes([samples.change(project_id)]),
    "tally": lambda work, project_id: work.audit.add_tallies(
        [Tally(project_id, samples.new_id("tal"), accepted=1)]
    ),
}


class Atomicity(Promises):
    """All or nothing."""

    def test_a_released_savepoint_does_not_survive_the_outer_rollback(self, storage: Storage) -> None:
        """
        SQLite's driver, left to itself, commits a savepoint that no transaction was begun around.
        """
        project_id = tenant(storage)
        event = samples.usage_event(project_id)

        with undone(storage.work()) as work:
            with work.savepoint():
                work.usage.insert([event])

        assert read(storage, lambda work: work.usage.event(project_id, event.id)) is None

    def test_a_unit_that_ends_well_is_there_for_others(self, storage: Storage) -> None:
        """
        It is committed when the block is left, and another thread's snapshot shows it.
        """
        project_id = tenant(storage)
        event = samples.usage_event(project_id)

        with storage.work() as work:
            work.usage.insert([event])

        found = answer(start(lambda: read(storage, lambda work: work.usage.event(project_id, event.id))))
        assert found == event

    def test_a_unit_reads_what_it_wrote(self, storage: Storage) -> None:
        """
        Within the unit its own writes are as good as committed.
        """
        project_id = tenant(storage)
        event = samples.usage_event(project_id)

        with storage.work() as work:
            work.usage.insert([event])
            found = work.usage.event(project_id, event.id)
            listed = work.usage.events(project_id, limit=10, before=None)
            totals = work.usage.totals(project_id, event.metric_key, samples.START, samples.END)

        assert found == event
        assert list(listed) == [event]
        assert totals.count == 1

    def test_a_unit_that_fails_leaves_nothing(self, storage: Storage) -> None:
        """
        However many kinds of writes it made, an exception undoes them all, whichever way one looks.
        """
        project_id = twin(storage, person(storage), "here before")
        exported = state(storage, project_id)
        before = write(storage, lambda work: readings(work, project_id))

        with undone(storage.work()) as work:
            everything(work, project_id)

        assert write(storage, lambda work: readings(work, project_id)) == before
        assert state(storage, project_id) == exported

    def test_an_interrupt_undoes_the_unit_too(self, storage: Storage) -> None:
        """
        Any exception rolls back, also those that are no ``Exception``.
        """
        project_id = tenant(storage)
        before = state(storage, project_id)

        with undone(storage.work(), by=KeyboardInterrupt) as work:
            everything(work, project_id)

        assert state(storage, project_id) == before

    def test_the_exception_that_ends_a_unit_comes_through_as_it_is(self, storage: Storage) -> None:
        """
        A store wraps what its database raises, never what the caller does.
        """
        error = Undone("mine")

        with pytest.raises(Undone) as caught, storage.work() as work, work.savepoint():
            raise error

        assert caught.value is error

    def test_a_unit_after_a_failed_one_works(self, storage: Storage) -> None:
        """
        A rollback leaves nothing locked.
        """
        project_id = tenant(storage)
        with undone(storage.work()) as work:
            work.ledger.lock_heads([project_id])
            work.tenancy.lock_project(project_id)

        locked = answer(start(lambda: write(storage, lambda work: work.ledger.lock_heads([project_id]))))

        assert locked == {project_id: Head(project_id)}

    # --- savepoints ---------------------------------------------------------------------------

    def test_a_savepoint_is_undone_alone(self, storage: Storage) -> None:
        """
        What the unit wrote before and after it stays.
        """
        project_id = tenant(storage)
        first, second, third = (samples.usage_event(project_id) for _ in range(3))

        with storage.work() as work:
            work.usage.insert([first])
            with undone(work.savepoint()):
                work.usage.insert([second])
            work.usage.insert([third])

        found = read(storage, lambda work: work.usage.events(project_id, limit=10, before=None))
        assert list(found) == [third, first]

    def test_a_savepoint_undoes_every_kind_of_write(self, storage: Storage) -> None:
        """
        The unit reads on as if the savepoint had never been.
        """
        project_id = twin(storage, person(storage), "here before")
        exported = state(storage, project_id)

        with storage.work() as work:
            before = readings(work, project_id)
            with undone(work.savepoint()):
                everything(work, project_id)
            after = readings(work, project_id)

        assert after == before
        assert state(storage, project_id) == exported

    def test_what_a_savepoint_undid_may_be_written_again(self, storage: Storage) -> None:
        """
        Unique keys are free again, for this is how an attempt is repeated.
        """
        project_id = tenant(storage)
        event = samples.usage_event(project_id)

        with storage.work() as work:
            with undone(work.savepoint()):
                work.usage.insert([event])
            inserted = work.usage.insert([event])

        assert inserted is None
        assert read(storage, lambda work: work.usage.event(project_id, event.id)) == event

    def test_savepoints_nest(self, storage: Storage) -> None:
        """
        The inner one undoes its own block, the outer one its own and all within.
        """
        project_id = tenant(storage)
        events = [samples.usage_event(project_id) for _ in range(5)]

        with storage.work() as work:
            work.usage.insert([events[0]])
            with work.savepoint():
                work.usage.insert([events[1]])
                with undone(work.savepoint()):
                    work.usage.insert([events[2]])
            with undone(work.savepoint()):
                work.usage.insert([events[3]])
                with work.savepoint():
                    work.usage.insert([events[4]])

        found = read(storage, lambda work: work.usage.events(project_id, limit=10, before=None))
        assert list(found) == [events[1], events[0]]

    def test_a_unit_goes_on_after_a_write_failed_in_a_savepoint(self, storage: Storage) -> None:
        """
        A database's own refusal is contained like any other exception.
        """
        project_id = tenant(storage)
        stored = samples.stored_answer(project_id)
        event = samples.usage_event(project_id)
        write(storage, lambda work: work.idempotency.add_answers([stored]))

        with storage.work() as work:
            with pytest.raises(ANY_FAILURE), work.savepoint():
                work.idempotency.add_answers([stored])
            work.usage.insert([event])

        assert read(storage, lambda work: work.usage.event(project_id, event.id)) == event

    # --- snapshots ----------------------------------------------------------------------------

    def test_nobody_sees_what_is_not_committed(self, storage: Storage) -> None:
        """
        A snapshot beside a unit in flight shows none of it, whether or not it has to wait for it.
        """
        project_id = tenant(storage)
        event = samples.usage_event(project_id)

        with Rival(storage, lambda work: work.usage.insert([event])) as rival:
            ours = start(lambda: read(storage, lambda work: work.usage.event(project_id, event.id)))
            waits(ours)
            rival.roll_back()

        assert answer(ours) is None

    def test_a_snapshot_holds_still(self, storage: Storage) -> None:
        """
        All reads of a snapshot are of one moment, whatever is committed meanwhile.
        """
        project_id = tenant(storage)
        event = samples.usage_event(project_id)

        with storage.snapshot() as work:
            before = work.usage.event(project_id, event.id), work.ledger.head(project_id)
            writer = start(
                lambda: (
                    write(storage, lambda work: work.usage.insert([event])),
                    samples.book(storage, project_id),
                )
            )
            waits(writer)
            after = work.usage.event(project_id, event.id), work.ledger.head(project_id)
            count = work.ledger.transaction_count(project_id)
        answer(writer)

        assert before == after == (None, Head(project_id))
        assert count == 0
        assert read(storage, lambda work: work.usage.event(project_id, event.id)) == event

    @pytest.mark.parametrize("kind", WRITES)
    def test_a_snapshot_refuses_to_write(self, storage: Storage, kind: str) -> None:
        """
        Reading code that writes is found out, and nothing of it stays.
        """
        project_id = tenant(storage)
        before = state(storage, project_id)

        with pytest.raises(ANY_FAILURE), storage.snapshot() as work:
            WRITES[kind](work, project_id)

        assert state(storage, project_id) == before

    def test_a_snapshot_after_a_refused_write_works(self, storage: Storage) -> None:
        """
        The refusal does not stick to the connection, and a unit may write again.
        """
        project_id = tenant(storage)
        event = samples.usage_event(project_id)
        with pytest.raises(ANY_FAILURE), storage.snapshot() as work:
            work.usage.insert([event])

        write(storage, lambda work: work.usage.insert([event]))

        assert read(storage, lambda work: work.usage.event(project_id, event.id)) == event

    # --- the store as a whole -----------------------------------------------------------------

    def test_a_store_with_its_schema_passes_its_check(self, storage: Storage) -> None:
        """
        ``check`` is silent when all is well.
        """
        storage.check()

    def test_many_threads_share_one_store(self, storage: Storage) -> None:
        """
        Units of eight threads on eight projects all commit, none in another's way.
        """
        project_ids = [tenant(storage) for _ in range(8)]

        def work_through(project_id: str) -> None:
            for _ in range(5):
                write(storage, lambda work: work.usage.insert([samples.usage_event(project_id)]))
                samples.book(storage, project_id)

        together(*(partial(work_through, project_id) for project_id in project_ids))

        with storage.snapshot() as work:
            for project_id in project_ids:
                assert len(work.usage.events(project_id, limit=100, before=None)) == 5
                assert work.ledger.head(project_id) == Head(project_id, version=5)
