"""Promises of ``UsageStore``: what a strict project could not place."""

from __future__ import annotations

import pytest
from attrs import evolve

from neruba_core.money import MAX_MICROS
from neruba_core.storage.port import Storage
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import (
    AWKWARD,
    later,
    new_id,
    tenant,
)
from neruba_core.testing.contract.units import read, together, write
from neruba_core.testing.contract.usage import ODD_PROPERTIES
from neruba_core.usage.held import hold_of
from neruba_core.usage.model import HoldKind, QuarantinedUsage, QuarantineState


class Quarantine(Promises):
    """Usage that a strict project could not place."""

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"properties": {}, "event_id": AWKWARD},
            {"properties": ODD_PROPERTIES, "metric_key": "Some.Metric:1", "units_micros": MAX_MICROS},
            {"timestamp": later(micros=1), "units_micros": 0},
        ],
        ids=["plain", "no properties", "odd properties", "precise"],
    )
    def test_a_quarantined_event_comes_back_as_it_was_stored(
        self, storage: Storage, changes: dict[str, object]
    ) -> None:
        """
        Whole, for it may become usage one day; what was left out stays left out.
        """
        event = samples.new_usage(**changes)
        row = samples.quarantined(tenant(storage), event, reason=AWKWARD, request_id="req_1")

        stored = write(storage, lambda work: work.usage.quarantine(row))

        with storage.snapshot() as work:
            assert stored == row
            assert work.usage.quarantined(row.project_id, row.id) == row
            assert work.usage.quarantined(row.project_id, "qua_none") is None
            assert list(work.usage.quarantined_by_keys(row.project_id, [event.idempotency_key])) == [row]

    def test_the_same_request_is_quarantined_once(self, storage: Storage) -> None:
        """
        Sent again it is answered with the row as it is, closed or not.
        """
        row = samples.quarantined(tenant(storage))
        write(storage, lambda work: work.usage.quarantine(row))
        again = evolve(row, id=new_id("qua"), reason="another reason")

        waiting = write(storage, lambda work: work.usage.quarantine(again))
        write(
            storage,
            lambda work: work.usage.close_quarantined(row.project_id, row.id, QuarantineState.DISCARDED),
        )
        closed = write(storage, lambda work: work.usage.quarantine(again))

        assert waiting == row
        assert closed == evolve(row, state=QuarantineState.DISCARDED)
        assert read(storage, lambda work: work.usage.quarantined(row.project_id, again.id)) is None

    def test_another_request_of_the_same_key_is_another_row(self, storage: Storage) -> None:
        """
        It is the fingerprint that tells them apart; both wait, by ascending id.
        """
        row = samples.quarantined(tenant(storage))
        other = evolve(row, id=new_id("qua"), fingerprint=samples.digest("corrected"))
        elsewhere = samples.quarantined(row.project_id)

        with storage.work() as work:
            work.usage.quarantine(other)
            work.usage.quarantine(row)
            work.usage.quarantine(elsewhere)

        with storage.snapshot() as work:
            key = row.event.idempotency_key
            assert list(work.usage.quarantined_by_keys(row.project_id, [key])) == [row, other]
            both = work.usage.quarantined_by_keys(row.project_id, [elsewhere.event.idempotency_key, key])
            assert list(both) == [row, other, elsewhere]
            assert list(work.usage.quarantined_by_keys(row.project_id, [])) == []

    def test_of_many_same_requests_at_once_one_is_quarantined(self, storage: Storage) -> None:
        """
        All are answered with that one.
        """
        row = samples.quarantined(tenant(storage))

        def quarantine(candidate: QuarantinedUsage) -> QuarantinedUsage:
            return write(storage, lambda work: work.usage.quarantine(candidate))

        stored = together(*(lambda: quarantine(evolve(row, id=new_id("qua"))) for _ in range(5)))

        found = read(
            storage,
            lambda work: work.usage.quarantined_by_keys(row.project_id, [row.event.idempotency_key]),
        )
        assert len(found) == 1
        assert stored == list(found) * 5

    @pytest.mark.parametrize(
        "state", [QuarantineState.REPLAYED, QuarantineState.DISCARDED, QuarantineState.SUPERSEDED]
    )
    def test_a_quarantined_event_is_closed_once(self, storage: Storage, state: QuarantineState) -> None:
        """
        Compare and set from waiting; it is found by id still, but no longer among the waiting.
        """
        row = samples.quarantined(tenant(storage))
        project_id = row.project_id
        write(storage, lambda work: work.usage.quarantine(row))

        first = write(storage, lambda work: work.usage.close_quarantined(project_id, row.id, state))
        second = write(
            storage,
            lambda work: work.usage.close_quarantined(project_id, row.id, QuarantineState.REPLAYED),
        )
        unknown = write(storage, lambda work: work.usage.close_quarantined(project_id, "qua_none", state))

        with storage.snapshot() as work:
            assert (first, second, unknown) == (True, False, False)
            assert work.usage.quarantined(project_id, row.id) == evolve(row, state=state)
            assert list(work.usage.quarantined_by_keys(project_id, [row.event.idempotency_key])) == []

    def test_of_many_who_close_at_once_one_does(self, storage: Storage) -> None:
        """
        An event is not replayed by one and discarded by another.
        """
        row = samples.quarantined(tenant(storage))
        write(storage, lambda work: work.usage.quarantine(row))
        states = [QuarantineState.REPLAYED, QuarantineState.DISCARDED, QuarantineState.SUPERSEDED] * 2

        def close(state: QuarantineState) -> bool:
            return write(storage, lambda work: work.usage.close_quarantined(row.project_id, row.id, state))

        closed = together(*(lambda state=state: close(state) for state in states))

        found = read(storage, lambda work: work.usage.quarantined(row.project_id, row.id))
        assert closed.count(True) == 1
        assert found is not None
        assert found.state is states[closed.index(True)]

    def test_late_usage_is_held_once_and_let_go_once(self, storage: Storage) -> None:
        """
        What is held already stays as it is; of two who close it, one does.
        """
        project_id, other = tenant(storage), tenant(storage)
        event = samples.usage_event(project_id)
        foreign = samples.usage_event(other)
        held = [hold_of(event, kind, later(micros=1)) for kind in HoldKind]
        with storage.work() as work:
            work.usage.insert([event, foreign])
            work.usage.hold([held[1], held[0], hold_of(foreign, HoldKind.EVENT, later())])
            work.usage.hold([evolve(held[0], held_at=later(seconds=9))])
            work.usage.hold([])

        with storage.work() as work:
            dropped = QuarantineState.DISCARDED
            closed = work.usage.close_hold(project_id, event.id, HoldKind.VOID, dropped)
            again = work.usage.close_hold(project_id, event.id, HoldKind.VOID, QuarantineState.REPLAYED)
            unknown = work.usage.close_hold(project_id, "use_none", HoldKind.EVENT, dropped)

        with storage.snapshot() as work:
            ours = list(work.usage.holds([project_id]))
            both = work.usage.holds([other, project_id])
            assert list(work.usage.holds([])) == []
        assert (closed, again, unknown) == (True, False, False)
        assert ours == [held[0], evolve(held[1], state=QuarantineState.DISCARDED)]
        assert {hold.project_id for hold in both} == {project_id, other}
