"""Promises of ``UsageStore``: two unique keys an event, exact aggregates, voids, quarantine."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import pytest
from attrs import evolve

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
    new_id,
    tenant,
)
from neruba_core.testing.contract.units import Rival, answer, read, start, together, waits, write
from neruba_core.texts import MAX_SAFE_INTEGER, PropertyValue
from neruba_core.usage.model import QuarantinedUsage, QuarantineState, Totals, UsageEvent

NOTHING = Totals(count=0, sum_micros=0, max_micros=None, min_micros=None, last_micros=None)

ODD_PROPERTIES: dict[str, PropertyValue] = {
    "text": AWKWARD,
    AWKWARD: "awkward name",
    "blank": "",
    "yes": True,
    "no": False,
    "one": 1,
    "zero": 0,
    "digits": "1",
    "most": MAX_SAFE_INTEGER,
    "least": -MAX_SAFE_INTEGER,
}


def recorded(storage: Storage, *events: UsageEvent) -> None:
    """Commit the events."""
    write(storage, lambda work: work.usage.insert(events))


def with_property(project_id: str, name: str, *values: PropertyValue) -> list[UsageEvent]:
    """One event for each value of the property."""
    return [samples.usage_event(project_id, properties={name: value}) for value in values]


class Usage(Promises):
    """Usage events and their voids."""

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"properties": {}},
            {"properties": ODD_PROPERTIES, "request_id": AWKWARD, "actor": "key:key_1"},
            {"units_micros": 0, "timestamp": datetime(1970, 1, 1, tzinfo=UTC), "late": True},
            {
                "units_micros": MAX_MICROS,
                "timestamp": datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
                "received_at": later(micros=1),
                "fingerprint": bytes(range(256)),
                "fingerprint_version": 2,
                "render_version": 3,
            },
        ],
        ids=["plain", "no properties", "odd properties", "least", "most"],
    )
    def test_an_event_comes_back_as_it_was_stored(self, storage: Storage, changes: dict[str, object]) -> None:
        """
        By id, by idempotency key and by event id: it is answered again from this row.
        """
        event = samples.usage_event(tenant(storage), **changes)

        inserted = write(storage, lambda work: work.usage.insert([event]))

        project_id = event.project_id
        with storage.snapshot() as work:
            assert inserted is None
            assert work.usage.event(project_id, event.id) == event
            assert work.usage.by_keys(project_id, [event.idempotency_key, "-"]) == {
                event.idempotency_key: event
            }
            assert work.usage.by_event_ids(project_id, [event.event_id, "-"]) == {event.event_id: event}
            assert list(work.usage.events(project_id, limit=9, before=None)) == [event]
            assert work.usage.event(project_id, "use_none") is None
            assert work.usage.by_keys(project_id, []) == work.usage.by_event_ids(project_id, []) == {}

    def test_property_values_keep_their_types(self, storage: Storage) -> None:
        """
        ``True`` is not 1, although Python holds them to be equal.
        """
        event = samples.usage_event(tenant(storage), properties=ODD_PROPERTIES)
        recorded(storage, event)

        found = read(storage, lambda work: work.usage.event(event.project_id, event.id))

        assert found is not None
        assert found.properties is not None
        kinds = {name: type(value) for name, value in found.properties.items()}
        assert kinds == {name: type(value) for name, value in ODD_PROPERTIES.items()}

    def test_what_is_stored_cannot_be_changed_from_outside(self, storage: Storage) -> None:
        """
        The caller's dictionary stays the caller's.
        """
        properties: dict[str, PropertyValue] = {"region": "eu"}
        event = samples.usage_event(tenant(storage), properties=properties)
        recorded(storage, event)

        properties["region"] = "us"

        found = read(storage, lambda work: work.usage.event(event.project_id, event.id))
        assert found is not None
        assert found.properties == {"region": "eu"}

    @pytest.mark.parametrize("event_id", [AWKWARD, "Case", "case", "caf\u00e9", "cafe\u0301", "trailing "])
    def test_event_ids_are_compared_byte_by_byte(self, storage: Storage, event_id: str) -> None:
        """
        Neither case nor normal form nor blanks are smoothed over.
        """
        project_id = tenant(storage)
        others = [AWKWARD, "Case", "case", "caf\u00e9", "cafe\u0301", "trailing ", "trailing"]
        events = [samples.usage_event(project_id, event_id=each) for each in others]

        inserted = write(storage, lambda work: work.usage.insert(events))

        found = read(storage, lambda work: work.usage.by_event_ids(project_id, [event_id]))
        assert inserted is None
        assert [event.event_id for event in found.values()] == [event_id]

    # --- uniqueness ---------------------------------------------------------------------------

    def test_inserting_nothing_is_no_fault(self, storage: Storage) -> None:
        """
        Nothing was left out of nothing.
        """
        assert write(storage, lambda work: work.usage.insert([])) is None

    def test_an_event_that_collides_stays_out(self, storage: Storage) -> None:
        """
        By idempotency key or by event id; its neighbours go in, and the recorded row stays as it is.
        """
        project_id = tenant(storage)
        first = samples.usage_event(project_id)
        recorded(storage, first)
        same_key = samples.usage_event(project_id, idempotency_key=first.idempotency_key, units_micros=1)
        same_event = samples.usage_event(project_id, event_id=first.event_id, units_micros=2)
        new = samples.usage_event(project_id)

        inserted = write(storage, lambda work: work.usage.insert([same_key, new, same_event]))

        with storage.snapshot() as work:
            assert inserted == {new.id}
            assert list(work.usage.events(project_id, limit=9, before=None)) == [new, first]
            assert work.usage.by_keys(project_id, [first.idempotency_key]) == {first.idempotency_key: first}
            assert work.usage.by_event_ids(project_id, [first.event_id]) == {first.event_id: first}

    def test_a_single_event_that_collides_stays_out(self, storage: Storage) -> None:
        """
        A batch of one may go its own way through the store.
        """
        first = samples.usage_event(tenant(storage))
        recorded(storage, first)

        inserted = write(storage, lambda work: work.usage.insert([evolve(first, id=new_id("use"))]))

        assert inserted == set()

    def test_an_event_collides_within_its_own_unit_too(self, storage: Storage) -> None:
        """
        Two calls in one unit are as good as two units.
        """
        first = samples.usage_event(tenant(storage))

        with storage.work() as work:
            before = work.usage.insert([first])
            inserted = work.usage.insert([evolve(first, id=new_id("use"))])

        assert before is None
        assert inserted == set()

    def test_a_key_and_an_event_id_do_not_collide_with_each_other(self, storage: Storage) -> None:
        """
        They are two different names, even where they read the same.
        """
        project_id = tenant(storage)
        one = samples.usage_event(project_id, idempotency_key="a", event_id="b")
        other = samples.usage_event(project_id, idempotency_key="b", event_id="a")

        inserted = write(storage, lambda work: work.usage.insert([one, other]))

        assert inserted is None

    def test_a_thousand_events_go_in_at_once(self, storage: Storage) -> None:
        """
        Of several projects and metrics, some recorded before by key and some by event id.
        """
        projects = [tenant(storage), tenant(storage)]
        events = [
            samples.usage_event(projects[n % 2], metric_key=(TOKENS, STORED)[n % 3 == 0], units_micros=n)
            for n in range(1000)
        ]
        earlier = [
            samples.usage_event(event.project_id, idempotency_key=event.idempotency_key)
            for event in events[10:400:7]
        ] + [samples.usage_event(event.project_id, event_id=event.event_id) for event in events[500:900:11]]
        recorded(storage, *earlier)
        collide = {event.id for event in events[10:400:7] + events[500:900:11]}

        inserted = write(storage, lambda work: work.usage.insert(events))

        ours = [event for event in events if event.project_id == projects[0] and event.id not in collide]
        with storage.snapshot() as work:
            assert inserted == {event.id for event in events} - collide
            keys = [event.idempotency_key for event in ours]
            event_ids = [event.event_id for event in ours]
            assert list(work.usage.by_keys(projects[0], keys).values()) != []
            assert work.usage.by_keys(projects[0], keys) == dict(zip(keys, ours, strict=True))
            assert work.usage.by_event_ids(projects[0], event_ids) == dict(zip(event_ids, ours, strict=True))

    def test_of_many_same_events_at_once_one_gets_in(self, storage: Storage) -> None:
        """
        The unique keys hold under a race, whichever of the two is the same.
        """
        project_id = tenant(storage)
        keys = [samples.usage_event(project_id, idempotency_key="same") for _ in range(4)]
        event_ids = [samples.usage_event(project_id, event_id="same") for _ in range(4)]

        def insert(event: UsageEvent) -> bool:
            return write(storage, lambda work: work.usage.insert([event])) is None

        by_key = together(*(lambda event=event: insert(event) for event in keys))
        by_event_id = together(*(lambda event=event: insert(event) for event in event_ids))

        assert sorted(by_key) == sorted(by_event_id) == [False, False, False, True]
        assert len(read(storage, lambda work: work.usage.events(project_id, limit=9, before=None))) == 2

    def test_batches_of_the_same_events_in_any_order_all_commit(self, storage: Storage) -> None:
        """
        Senders repeat whole batches, shuffled; the batches share the events and none waits in a circle.
        """
        project_id = tenant(storage)
        events = [samples.usage_event(project_id) for _ in range(300)]

        def insert(reverse: bool) -> int:
            given = [evolve(event, id=new_id("use")) for event in (events[::-1] if reverse else events)]
            inserted = write(storage, lambda work: work.usage.insert(given))
            return len(given) if inserted is None else len(inserted)

        inserted = together(*(partial(insert, n % 2 == 1) for n in range(6)))

        assert sum(inserted) == 300
        assert len(read(storage, lambda work: work.usage.events(project_id, limit=999, before=None))) == 300

    @pytest.mark.parametrize("same", ["idempotency_key", "event_id"])
    def test_an_insert_waits_for_a_competitor_in_flight(self, storage: Storage, same: str) -> None:
        """
        It stays out if the competitor commits, and can then read what it lost against.
        """
        theirs = samples.usage_event(tenant(storage))
        project_id = theirs.project_id
        ours = samples.usage_event(project_id, **{same: getattr(theirs, same)})
        neighbour = samples.usage_event(project_id)

        def insert(work: UnitOfWork) -> tuple[object, object]:
            inserted = work.usage.insert([ours, neighbour])
            found = work.usage.by_keys(project_id, [theirs.idempotency_key])
            return inserted, found

        with Rival(storage, lambda work: work.usage.insert([theirs])) as rival:
            running = start(lambda: write(storage, insert))
            waited = waits(running)
            rival.commit()

        assert waited
        assert answer(running) == ({neighbour.id}, {theirs.idempotency_key: theirs})

    def test_an_insert_gets_in_when_its_competitor_failed(self, storage: Storage) -> None:
        """
        What was rolled back has never been recorded.
        """
        theirs = samples.usage_event(tenant(storage))
        ours = evolve(theirs, id=new_id("use"))

        with Rival(storage, lambda work: work.usage.insert([theirs])) as rival:
            running = start(lambda: write(storage, lambda work: work.usage.insert([ours])))
            waits(running)
            rival.roll_back()

        assert answer(running) is None
        assert read(storage, lambda work: work.usage.event(ours.project_id, ours.id)) == ours

    # --- lists --------------------------------------------------------------------------------

    def test_events_are_listed_newest_first(self, storage: Storage) -> None:
        """
        By descending id whatever their timestamps, strictly below ``before``, at most ``limit``.
        """
        project_id = tenant(storage)
        events = [samples.usage_event(project_id, timestamp=later(seconds=-n)) for n in range(5)]
        recorded(storage, *events[3:])
        recorded(storage, *events[:3])

        with storage.snapshot() as work:
            first = work.usage.events(project_id, limit=2, before=None)
            second = work.usage.events(project_id, limit=2, before=events[3].id)
            third = work.usage.events(project_id, limit=2, before=events[1].id)
            end = work.usage.events(project_id, limit=2, before=events[0].id)

        assert list(first) == [events[4], events[3]]
        assert list(second) == [events[2], events[1]]
        assert list(third) == [events[0]]
        assert list(end) == []

    def test_ids_are_ordered_byte_by_byte(self, storage: Storage) -> None:
        """
        Upper case before lower, what is beyond ASCII after it, as UTF-8 has it and no locale.
        """
        project_id = tenant(storage)
        ids = [
            "use_a",
            "use_B",
            "use_b",
            "use_A",
            "use_",
            "use_-",
            "use_1",
            "use_\u00e9",
            "use_\U0001f600",
            "use_\uff21",
        ]
        recorded(storage, *(samples.usage_event(project_id, id=each) for each in ids))
        expected = sorted(ids, key=str.encode, reverse=True)

        with storage.snapshot() as work:
            listed = work.usage.events(project_id, limit=99, before=None)
            below = work.usage.events(project_id, limit=99, before="use_a")

        assert [event.id for event in listed] == expected
        assert [event.id for event in below] == expected[expected.index("use_a") + 1 :]

    def test_events_are_filtered_by_metric_and_period(self, storage: Storage) -> None:
        """
        Periods are half-open to the microsecond; a filter never shortens a page that could be full.
        """
        project_id = tenant(storage)
        stamps = [START - MICROSECOND, START, NOW, END - MICROSECOND, END]
        events = [
            samples.usage_event(project_id, metric_key=key, timestamp=stamp)
            for stamp in stamps
            for key in (TOKENS, STORED)
        ]
        recorded(storage, *events)
        newest_first = events[::-1]

        with storage.snapshot() as work:
            of_metric = work.usage.events(project_id, limit=9, before=None, metric_key=TOKENS)
            within = work.usage.events(project_id, limit=9, before=None, start=START, end=END)
            begun = work.usage.events(project_id, limit=9, before=None, start=END)
            ended = work.usage.events(project_id, limit=9, before=None, end=START)
            all_three = work.usage.events(
                project_id, limit=2, before=events[7].id, metric_key=TOKENS, start=START, end=END
            )

        assert list(of_metric) == [event for event in newest_first if event.metric_key == TOKENS]
        assert list(within) == [event for event in newest_first if START <= event.timestamp < END]
        assert list(begun) == newest_first[:2]
        assert list(ended) == newest_first[-2:]
        assert list(all_three) == [events[6], events[4]]

    # --- voids --------------------------------------------------------------------------------

    def test_an_event_is_voided_once(self, storage: Storage) -> None:
        """
        The second decision is answered with the first, and the event itself stays.
        """
        event = samples.usage_event(tenant(storage))
        recorded(storage, event)
        first = samples.void(event, reason=AWKWARD, voided_at=later(micros=1))
        second = samples.void(event, reason="another reason")

        before = write(storage, lambda work: work.usage.add_void(first))
        earlier = write(storage, lambda work: work.usage.add_void(second))

        with storage.snapshot() as work:
            assert before is None
            assert earlier == first
            assert work.usage.voids(event.project_id, [event.id, "use_none"]) == {event.id: first}
            assert work.usage.voids(event.project_id, []) == {}
            assert work.usage.event(event.project_id, event.id) == event

    def test_of_many_voids_at_once_one_is_kept(self, storage: Storage) -> None:
        """
        And all others are given that one.
        """
        event = samples.usage_event(tenant(storage))
        recorded(storage, event)

        def decide(number: int) -> str | None:
            void = samples.void(event, reason=str(number))
            earlier = write(storage, lambda work: work.usage.add_void(void))
            return None if earlier is None else earlier.reason

        reasons = together(*(lambda n=n: decide(n) for n in range(5)))

        assert reasons.count(None) == 1
        assert set(reasons) == {None, str(reasons.index(None))}

    # --- aggregates ---------------------------------------------------------------------------

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
            counts = work.usage.counts(project_id, START, END)
            instant = work.usage.totals(project_id, TOKENS, START, START + MICROSECOND).count

        assert within == 3
        assert counts == {TOKENS: 3}
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
            assert work.usage.distinct(project_id, TOKENS, "region", START, END) == 1
            assert work.usage.counts(project_id, START, END) == {TOKENS: 1}
            assert work.usage.extent(project_id) == {TOKENS: (NOW, NOW)}

    def test_values_of_different_types_are_different(self, storage: Storage) -> None:
        """
        ``1``, ``"1"`` and ``True`` are three values, ``0``, ``False`` and nothing at all three more.
        """
        project_id = tenant(storage)
        values: list[PropertyValue] = [1, "1", True, 0, "0", False, "", "true", "false", "null"]
        recorded(storage, *with_property(project_id, "value", *values, *values))

        distinct = read(storage, lambda work: work.usage.distinct(project_id, TOKENS, "value", START, END))

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
            distinct = work.usage.distinct(project_id, TOKENS, "value", START, END)
            none = work.usage.distinct(project_id, TOKENS, "none", START, END)

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

        distinct = read(storage, lambda work: work.usage.distinct(project_id, TOKENS, name, START, END))

        assert distinct == 2

    def test_great_integers_stay_apart(self, storage: Storage) -> None:
        """
        They never pass through a binary float.
        """
        project_id = tenant(storage)
        most = MAX_SAFE_INTEGER
        recorded(storage, *with_property(project_id, "n", most, most - 1, -most, str(most)))

        distinct = read(storage, lambda work: work.usage.distinct(project_id, TOKENS, "n", START, END))

        assert distinct == 4

    def test_the_extent_of_each_metric_is_known(self, storage: Storage) -> None:
        """
        Its first and last timestamp, whatever came first; metrics without events have none.
        """
        project_id = tenant(storage)
        recorded(
            storage,
            samples.usage_event(project_id, timestamp=later(micros=1)),
            samples.usage_event(project_id, timestamp=later(micros=-1)),
            samples.usage_event(project_id, timestamp=NOW),
        )

        extent = read(storage, lambda work: work.usage.extent(project_id))

        assert extent == {TOKENS: (later(micros=-1), later(micros=1))}

    def test_counts_come_by_metric(self, storage: Storage) -> None:
        """
        Metrics without events in the period are left out.
        """
        project_id = tenant(storage)
        recorded(
            storage,
            *(samples.usage_event(project_id) for _ in range(3)),
            *(samples.usage_event(project_id, metric_key=STORED, timestamp=END) for _ in range(2)),
        )

        with storage.snapshot() as work:
            assert work.usage.counts(project_id, START, END) == {TOKENS: 3}
            assert work.usage.counts(project_id, START, END + MICROSECOND) == {TOKENS: 3, STORED: 2}
            assert work.usage.counts(project_id, END + MICROSECOND, END + MICROSECOND) == {}

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
                    counts = work.usage.counts(project_id, START, END)
                if totals.count % 3 or totals.count < seen or counts.get(TOKENS, 0) != totals.count:
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
