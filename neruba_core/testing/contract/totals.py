"""Promises of ``UsageStore``: exact totals, values of properties, days of usage."""

from __future__ import annotations

import pytest

from neruba_core.money import MAX_MICROS
from neruba_core.storage.port import Storage, UnitOfWork
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import (
    AWKWARD,
    END,
    MICROSECOND,
    NOW,
    START,
    STORED,
    TOKENS,
    later,
    tenant,
)
from neruba_core.testing.contract.units import answer, read, start, write
from neruba_core.testing.contract.usage import recorded
from neruba_core.texts import MAX_SAFE_INTEGER, PropertyValue
from neruba_core.usage.model import ActiveDay, Totals, UsageEvent, Wanted

DAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
NOTHING = Totals(count=0, sum_micros=0, max_micros=None, min_micros=None, last_micros=None)


def distinct_values(work: UnitOfWork, project_id: str, property_name: str) -> int:
    """How many values the property has in the usual period."""
    return work.usage.distinct_of([Wanted(project_id, TOKENS, START, END)], property_name)[0]


def with_property(project_id: str, name: str, *values: PropertyValue) -> list[UsageEvent]:
    """One event for each value of the property."""
    return [samples.usage_event(project_id, properties={name: value}) for value in values]


class UsageTotals(Promises):
    """What usage comes to."""

    def test_totals_are_exact(self, storage: Storage) -> None:
        """
        Count, sum, greatest, least, and the units of the latest timestamp.
        """
        project_id = tenant(storage)
        recorded(
            storage,
            samples.usage_event(project_id, units_micros=3, timestamp=later(micros=1)),
            samples.usage_event(project_id, units_micros=7, timestamp=NOW),
            samples.usage_event(project_id, units_micros=0, timestamp=START),
            samples.usage_event(project_id, units_micros=99, metric_key=STORED),
        )

        totals = read(storage, lambda work: work.usage.totals(project_id, TOKENS, START, END))

        assert totals == Totals(count=3, sum_micros=10, max_micros=7, min_micros=0, last_micros=3)

    def test_of_equal_timestamps_the_highest_id_is_the_last(self, storage: Storage) -> None:
        """
        So that the answer never depends on the order of arrival.
        """
        project_id = tenant(storage)
        events = [samples.usage_event(project_id, units_micros=n) for n in range(4)]
        recorded(storage, events[1], events[3])
        recorded(storage, events[2], events[0])

        totals = read(storage, lambda work: work.usage.totals(project_id, TOKENS, START, END))

        assert totals.last_micros == 3

    def test_totals_of_nothing_are_nothing(self, storage: Storage) -> None:
        """
        No events, no metric, an empty period.
        """
        project_id = tenant(storage)
        recorded(storage, samples.usage_event(project_id))

        with storage.snapshot() as work:
            assert work.usage.totals(project_id, STORED, START, END) == NOTHING
            assert work.usage.totals(project_id, "none", START, END) == NOTHING
            assert work.usage.totals(project_id, TOKENS, NOW, NOW) == NOTHING
            assert work.usage.totals(project_id, TOKENS, END, START) == NOTHING

    def test_sums_may_exceed_64_bits(self, storage: Storage) -> None:
        """
        A single amount fits 64 bits, three of the largest do not.
        """
        project_id = tenant(storage)
        recorded(storage, *(samples.usage_event(project_id, units_micros=MAX_MICROS) for _ in range(5)))
        recorded(storage, samples.usage_event(project_id, units_micros=1))

        totals = read(storage, lambda work: work.usage.totals(project_id, TOKENS, START, END))

        assert totals.sum_micros == 5 * MAX_MICROS + 1 > 2**64
        assert totals.max_micros == MAX_MICROS
        assert totals.min_micros == 1

    def test_periods_are_half_open(self, storage: Storage) -> None:
        """
        Neighbouring periods share a bound and count every event once, to the microsecond.
        """
        project_id = tenant(storage)
        stamps = [START - MICROSECOND, START, START + MICROSECOND, END - MICROSECOND, END]
        recorded(storage, *(samples.usage_event(project_id, timestamp=stamp) for stamp in stamps))

        with storage.snapshot() as work:
            within = work.usage.totals(project_id, TOKENS, START, END).count
            instant = work.usage.totals(project_id, TOKENS, START, START + MICROSECOND).count

        assert within == 3
        assert instant == 1

    def test_voided_events_count_no_more(self, storage: Storage) -> None:
        """
        In no aggregate, from the unit on that voids them.
        """
        project_id = tenant(storage)
        kept = samples.usage_event(project_id, units_micros=1, timestamp=NOW, properties={"region": "eu"})
        events = [
            samples.usage_event(project_id, units_micros=9, timestamp=START, properties={"region": "us"}),
            kept,
            samples.usage_event(project_id, units_micros=0, timestamp=later(seconds=1)),
            samples.usage_event(project_id, metric_key=STORED),
        ]
        recorded(storage, *events)

        with storage.work() as work:
            for event in events:
                if event is not kept:
                    work.usage.add_void(samples.void(event))
            inside = work.usage.totals(project_id, TOKENS, START, END)

        with storage.snapshot() as work:
            assert inside == work.usage.totals(project_id, TOKENS, START, END) == Totals(1, 1, 1, 1, 1)
            assert work.usage.totals(project_id, STORED, START, END) == NOTHING
            assert distinct_values(work, project_id, "region") == 1
            assert list(work.usage.active_days([project_id])) == [ActiveDay(project_id, TOKENS, DAY)]

    def test_values_of_different_types_are_different(self, storage: Storage) -> None:
        """
        ``1``, ``"1"`` and ``True`` are three values, ``0``, ``False`` and nothing at all three more.
        """
        project_id = tenant(storage)
        values: list[PropertyValue] = [1, "1", True, 0, "0", False, "", "true", "false", "null"]
        recorded(storage, *with_property(project_id, "value", *values, *values))

        distinct = read(storage, lambda work: distinct_values(work, project_id, "value"))

        assert distinct == len(values)

    def test_events_without_the_property_are_left_out(self, storage: Storage) -> None:
        """
        Whether they have others, none, or left them out altogether.
        """
        project_id = tenant(storage)
        recorded(
            storage,
            samples.usage_event(project_id, properties=None),
            samples.usage_event(project_id, properties={}),
            samples.usage_event(project_id, properties={"other": "x"}),
            samples.usage_event(project_id, properties={"value": "x"}, timestamp=END),
            samples.usage_event(project_id, properties={"value": "y"}, metric_key=STORED),
            *with_property(project_id, "value", "x", "X", "x ", "\u00e9", "e\u0301", AWKWARD),
        )

        with storage.snapshot() as work:
            distinct = distinct_values(work, project_id, "value")
            none = distinct_values(work, project_id, "none")

        assert distinct == 6
        assert none == 0

    @pytest.mark.parametrize(
        "name",
        [AWKWARD, "a.b", "$", "$.a", "a[0]", '"', "'", "a->b", "%", ":x", "*", "\\", "\u00e9", "a b", "0"],
    )
    def test_a_property_may_have_any_name(self, storage: Storage, name: str) -> None:
        """
        It is a name, never a path into the properties.
        """
        project_id = tenant(storage)
        recorded(storage, *with_property(project_id, name, "x", "y", "x"))
        recorded(storage, *with_property(project_id, f"{name} too", "z"))

        distinct = read(storage, lambda work: distinct_values(work, project_id, name))

        assert distinct == 2

    def test_great_integers_stay_apart(self, storage: Storage) -> None:
        """
        They never pass through a binary float.
        """
        project_id = tenant(storage)
        most = MAX_SAFE_INTEGER
        recorded(storage, *with_property(project_id, "n", most, most - 1, -most, str(most)))

        distinct = read(storage, lambda work: distinct_values(work, project_id, "n"))

        assert distinct == 4

    def test_totals_are_right_at_every_instant(self, storage: Storage) -> None:
        """
        While four threads insert, each reader sees every committed event once and none that is not.
        """
        project_id = tenant(storage)
        rounds, writers = 10, 4

        def insert() -> None:
            for _ in range(rounds):
                with storage.work() as work:
                    work.usage.insert([samples.usage_event(project_id, units_micros=1) for _ in range(3)])

        def look() -> bool:
            seen = 0
            for _ in range(rounds):
                with storage.snapshot() as work:
                    totals = work.usage.totals(project_id, TOKENS, START, END)
                if totals.count % 3 or totals.count < seen:
                    return False
                seen = totals.count
            return True

        running = [start(insert) for _ in range(writers)]
        looked = answer(start(look))
        for future in running:
            answer(future)

        assert looked
        total = read(storage, lambda work: work.usage.totals(project_id, TOKENS, START, END))
        assert (total.count, total.sum_micros) == (3 * rounds * writers, 3 * rounds * writers)

    # --- by the values of a property ----------------------------------------------------------

    def test_totals_come_by_the_value_of_a_property(self, storage: Storage) -> None:
        """
        Those without it first, then by the value's JSON text; at most as many as asked.
        """
        project_id = tenant(storage)
        values: list[PropertyValue] = ["b", "a", True, 10, 9, "\u00e9", ""]
        recorded(
            storage,
            *with_property(project_id, "of", *values, *values),
            samples.usage_event(project_id, properties=None, units_micros=MAX_MICROS),
            samples.usage_event(project_id, properties={"other": 1}, units_micros=MAX_MICROS),
        )
        wanted = Wanted(project_id, TOKENS, START, END)

        with storage.snapshot() as work:
            groups = work.usage.grouped_totals(wanted, "of", at_most=99)
            some = work.usage.grouped_totals(wanted, "of", at_most=3)

        assert [(type(value), value) for value, _ in groups] == [
            (type(value), value) for value in (None, "", "a", "b", "\u00e9", 10, 9, True)
        ]
        assert {totals.count for _, totals in groups} == {2}
        assert groups[0][1].sum_micros == 2 * MAX_MICROS
        assert list(some) == list(groups)[:3]

    def test_the_totals_of_a_value_are_complete(self, storage: Storage) -> None:
        """
        Greatest, least and last among its own events, without those that are voided.
        """
        project_id = tenant(storage)
        events = [
            samples.usage_event(project_id, properties={"of": of}, units_micros=units, timestamp=stamp)
            for of, units, stamp in (
                ("x", 5, NOW),
                ("x", 9, later(seconds=-1)),
                ("x", 2, later(seconds=-2)),
                ("x", 99, later(seconds=1)),
                ("y", 7, NOW),
                ("z", 1, END),
            )
        ]
        recorded(storage, *events)
        write(storage, lambda work: work.usage.add_void(samples.void(events[3])))

        groups = read(
            storage,
            lambda work: work.usage.grouped_totals(Wanted(project_id, TOKENS, START, END), "of", at_most=9),
        )

        assert list(groups) == [("x", Totals(3, 16, 9, 2, 5)), ("y", Totals(1, 7, 7, 7, 7))]

    def test_values_are_counted_by_those_of_another_property(self, storage: Storage) -> None:
        """
        A value without any is there with none, in the order of the totals.
        """
        project_id = tenant(storage)
        pairs: list[dict[str, PropertyValue]] = [
            {"of": "x", "user": 1},
            {"of": "x", "user": "1"},
            {"of": "x", "user": 1},
            {"of": "y"},
            {"user": 5},
        ]
        recorded(storage, *(samples.usage_event(project_id, properties=pair) for pair in pairs))
        wanted = Wanted(project_id, TOKENS, START, END)

        with storage.snapshot() as work:
            counts = work.usage.grouped_distinct(wanted, "of", "user", at_most=9)
            groups = work.usage.grouped_totals(wanted, "of", at_most=9)

        assert list(counts) == [(None, 1), ("x", 2), ("y", 0)]
        assert [value for value, _ in counts] == [value for value, _ in groups]
