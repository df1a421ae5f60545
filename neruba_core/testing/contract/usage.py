"""Promises of ``UsageStore``: two unique keys an event, lists, voids."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from operator import attrgetter

import pytest
from attrs import evolve

from neruba_core.errors import StorageConflict
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
from neruba_core.usage.model import UsageEvent

_ID = attrgetter("id")

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

    @pytest.mark.parametrize("same", ["idempotency_key", "event_id"])
    def test_an_event_that_was_presumed_to_be_new_stays_out_too(self, storage: Storage, same: str) -> None:
        """
        With its neighbours in, or with all of its unit undone for whoever can run it again.
        """
        project_id = tenant(storage)
        first = samples.usage_event(project_id)
        recorded(storage, first)
        collides = samples.usage_event(project_id, **{same: getattr(first, same)})
        new = samples.usage_event(project_id)

        inserted: set[str] | None = set()
        with suppress(StorageConflict):
            inserted = write(storage, lambda work: work.usage.insert([collides, new], presumed_new=True))

        assert inserted in (set(), {new.id})
        there = {first.id, *inserted}
        events = read(storage, lambda work: work.usage.events(project_id, limit=9, before=None))
        assert {event.id for event in events} == there
        assert write(storage, lambda work: work.usage.insert([collides])) == set()

    def test_events_that_were_rightly_presumed_to_be_new_go_in(self, storage: Storage) -> None:
        """
        One or many; whoever asks in the same unit finds them.
        """
        project_id = tenant(storage)
        events = [samples.usage_event(project_id) for _ in range(300)]

        def insert(work: UnitOfWork) -> int:
            assert work.usage.insert(events[:1], presumed_new=True) is None
            assert work.usage.insert(events[1:], presumed_new=True) is None
            return len(work.usage.events(project_id, limit=999, before=None))

        assert write(storage, insert) == 300
        found = read(storage, lambda work: work.usage.events(project_id, limit=999, before=None))
        assert sorted(found, key=_ID) == sorted(events, key=_ID)

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
