"""Promises of ``UsageStore``: rollups that nobody can tell from the raw events, and marks.

What is checked here holds for every store, whether it has rollups or adds up raw events each time.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from neruba_core.instants import Instant
from neruba_core.money import MAX_MICROS
from neruba_core.storage.port import Storage
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import END, MICROSECOND, START, STORED, TOKENS, later, tenant
from neruba_core.testing.contract.units import Rival, answer, read, start, undone, write
from neruba_core.usage.model import ActiveDay, Totals, UsageEvent, Wanted

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
FIRST = datetime(2026, 3, 2, tzinfo=UTC)
PIECE = 7


def fold(storage: Storage, at_most: int = 1000) -> None:
    """Fold all there is, in units of their own."""
    while write(storage, lambda work: work.usage.fold(at_most=at_most)):
        pass


def totals_by_hand(events: Sequence[UsageEvent]) -> Totals:
    """What a reader with a pencil would say."""
    if not events:
        return Totals(0, 0, None, None, None)
    units = [event.units_micros for event in events]
    last = max(events, key=lambda event: (event.timestamp, event.id))
    return Totals(len(units), sum(units), max(units), min(units), last.units_micros)


class Ledger:
    """The events that count, kept beside a store."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.project_id = tenant(storage)
        self.unvoided: dict[str, UsageEvent] = {}

    def record(self, *events: UsageEvent) -> None:
        write(self.storage, lambda work: work.usage.insert(events))
        self.unvoided.update({event.id: event for event in events})

    def void(self, event: UsageEvent) -> None:
        write(self.storage, lambda work: work.usage.add_void(samples.void(event)))
        del self.unvoided[event.id]

    def within(self, wanted: Wanted) -> list[UsageEvent]:
        return [
            event
            for event in self.unvoided.values()
            if event.metric_key == wanted.metric_key and wanted.start <= event.timestamp < wanted.end
        ]

    def wanted(self, first: Instant, last: Instant, metric_key: str = TOKENS) -> Wanted:
        return Wanted(self.project_id, metric_key, first, last)

    def check(self, *wanted: Wanted) -> None:
        """Compare the store with the events."""
        project_ids = [self.project_id]
        first, last = wanted[0].start, wanted[0].end
        with self.storage.snapshot() as work:
            totals = work.usage.totals_of(wanted)
            days = work.usage.active_days(project_ids)
            bounded = work.usage.active_days(project_ids, start=first, end=last)
        assert list(totals) == [totals_by_hand(self.within(each)) for each in wanted]
        assert list(days) == self.days()
        assert list(bounded) == self.days(first, last)

    def days(self, first: Instant | None = None, last: Instant | None = None) -> list[ActiveDay]:
        found = {
            (event.metric_key, event.timestamp.replace(hour=0, minute=0, second=0, microsecond=0))
            for event in self.unvoided.values()
            if (first is None or first <= event.timestamp) and (last is None or event.timestamp < last)
        }
        return [ActiveDay(self.project_id, metric_key, day) for metric_key, day in sorted(found)]


def moments(chance: random.Random) -> Iterator[Instant]:
    """Moments of four days, many of them at or beside a full hour."""
    while True:
        near = chance.choice((timedelta(0), MICROSECOND, -MICROSECOND, chance.random() * HOUR))
        yield FIRST + DAY + chance.randrange(3 * 24) * HOUR + near


class Rollups(Promises):
    """Folding changes no total, ever."""

    @pytest.mark.parametrize("seed", range(12))
    def test_totals_are_those_of_the_events_whatever_is_folded(self, storage: Storage, seed: int) -> None:
        """
        Events, voids, folds of any size and folding anew in any order, spans with any bounds.
        """
        chance = random.Random(seed)
        books, moment = Ledger(storage), moments(chance)
        for _ in range(40):
            step = chance.random()
            if step < 0.5:
                books.record(
                    *(
                        samples.usage_event(
                            books.project_id,
                            metric_key=chance.choice((TOKENS, STORED)),
                            timestamp=next(moment),
                            units_micros=chance.choice((0, 1, 5, 2**62, MAX_MICROS)),
                        )
                        for _ in range(chance.randrange(1, PIECE))
                    )
                )
            elif step < 0.7 and books.unvoided:
                books.void(chance.choice(list(books.unvoided.values())))
            elif step < 0.95:
                write(storage, lambda work: work.usage.fold(at_most=chance.choice((1, PIECE, 1000))))
            else:
                write(storage, lambda work: work.usage.refold(books.project_id))
            spans = [sorted((next(moment), next(moment))) for _ in range(4)]
            books.check(*(books.wanted(a, b, chance.choice((TOKENS, STORED))) for a, b in spans))

    def test_a_fold_takes_about_as_much_as_it_may(self, storage: Storage) -> None:
        """
        However it is cut into pieces, nothing is lost or counted twice at a cut.
        """
        books = Ledger(storage)
        for n in range(10):
            books.record(
                *(
                    samples.usage_event(books.project_id, timestamp=later(seconds=600 * n), units_micros=1)
                    for _ in range(3)
                )
            )

        for _ in range(12):
            write(storage, lambda work: work.usage.fold(at_most=4))
            books.check(books.wanted(START, END))

        assert read(storage, lambda work: work.usage.totals(books.project_id, TOKENS, START, END)).count == 30

    def test_a_folded_event_that_is_voided_counts_no_more(self, storage: Storage) -> None:
        """
        At once, and after the void was folded too; the greatest, least and last of the rest take its place.
        """
        books = Ledger(storage)
        events = [
            samples.usage_event(books.project_id, timestamp=FIRST + minutes * HOUR / 60, units_micros=units)
            for minutes, units in ((0, 5), (10, 9), (20, 1), (30, 7))
        ]
        books.record(*events)
        fold(storage)

        for event in (events[1], events[2], events[3], events[0]):
            books.void(event)
            books.check(books.wanted(FIRST, FIRST + DAY), books.wanted(FIRST, FIRST + HOUR / 4))
            fold(storage)
            books.check(books.wanted(FIRST, FIRST + DAY), books.wanted(FIRST, FIRST + HOUR / 4))

        assert books.unvoided == {}

    def test_what_a_unit_recorded_counts_within_it(self, storage: Storage) -> None:
        """
        Before it commits, beside what is folded.
        """
        books = Ledger(storage)
        first = samples.usage_event(books.project_id, units_micros=2, timestamp=FIRST)
        books.record(first)
        fold(storage)

        with storage.work() as work:
            work.usage.insert(
                [samples.usage_event(books.project_id, units_micros=3, timestamp=FIRST + MICROSECOND)]
            )
            added = work.usage.totals(books.project_id, TOKENS, FIRST, FIRST + DAY)
            work.usage.add_void(samples.void(first))
            voided = work.usage.totals(books.project_id, TOKENS, FIRST, FIRST + DAY)

        assert added == Totals(2, 5, 3, 2, 3)
        assert voided == Totals(1, 3, 3, 3, 3)

    def test_a_fold_that_fails_leaves_everything_as_it_was(self, storage: Storage) -> None:
        """
        What is folded and how far go together.
        """
        books = Ledger(storage)
        books.record(samples.usage_event(books.project_id, timestamp=FIRST))

        with undone(storage.work()) as work:
            work.usage.fold(at_most=1000)

        books.check(books.wanted(FIRST, FIRST + DAY))
        fold(storage)
        books.check(books.wanted(FIRST, FIRST + DAY))

    def test_an_event_that_commits_late_is_not_passed_over(self, storage: Storage) -> None:
        """
        Its unit began before a neighbour's that is folded already.
        """
        books = Ledger(storage)
        books.record(samples.usage_event(books.project_id, timestamp=FIRST))
        slow = samples.usage_event(books.project_id, timestamp=FIRST + MICROSECOND)

        with Rival(storage, lambda work: work.usage.insert([slow])) as rival:
            if self.concurrent_writers:
                books.record(samples.usage_event(books.project_id, timestamp=FIRST + HOUR))
                write(storage, lambda work: work.usage.fold(at_most=1000))
            rival.commit()
        books.unvoided[slow.id] = slow

        books.check(books.wanted(FIRST, FIRST + DAY))
        fold(storage)
        books.check(books.wanted(FIRST, FIRST + DAY))

    def test_of_two_folds_at_once_one_has_no_effect(self, storage: Storage) -> None:
        """
        Everything is folded once, whoever does it.
        """
        books = Ledger(storage)
        for n in range(20):
            books.record(samples.usage_event(books.project_id, timestamp=FIRST + n * HOUR))

        folding = [start(lambda: fold(storage, at_most=3)) for _ in range(4)]
        for each in folding:
            answer(each)
        fold(storage)

        books.check(books.wanted(FIRST, FIRST + DAY))

    def test_totals_are_right_while_others_record_void_and_fold(self, storage: Storage) -> None:
        """
        A reader sees each committed event once: units are recorded three by three and voided none or all.
        """
        project_id = tenant(storage)
        rounds = 15

        def record() -> None:
            for n in range(rounds):
                events = [
                    samples.usage_event(project_id, units_micros=1, timestamp=FIRST + n * HOUR)
                    for _ in range(3)
                ]
                with storage.work() as work:
                    work.usage.insert(events)
                if n % 3 == 0:
                    with storage.work() as work:
                        for event in events:
                            work.usage.add_void(samples.void(event))

        def keep_folding() -> None:
            for _ in range(2 * rounds):
                write(storage, lambda work: work.usage.fold(at_most=PIECE))

        def look() -> list[int]:
            return [
                read(storage, lambda work: work.usage.totals(project_id, TOKENS, START, END)).count % 3
                for _ in range(2 * rounds)
            ]

        running = [start(record), start(record), start(keep_folding)]
        looked = answer(start(look))
        for each in running:
            answer(each)
        fold(storage)

        total = read(storage, lambda work: work.usage.totals(project_id, TOKENS, START, END))
        assert set(looked) == {0}
        assert total.count == total.sum_micros == 2 * 3 * (rounds - rounds // 3)

    def test_totals_of_many_come_in_the_order_asked(self, storage: Storage) -> None:
        """
        Of several projects, metrics and spans, some of them twice, many without usage.
        """
        books = [Ledger(storage), Ledger(storage)]
        for n, each in enumerate(books):
            each.record(samples.usage_event(each.project_id, units_micros=n, timestamp=FIRST))
        asked = [
            books[n % 2].wanted(FIRST, FIRST + (n % 3) * HOUR, (TOKENS, STORED)[n % 5 == 0])
            for n in range(1200)
        ]

        totals = read(storage, lambda work: work.usage.totals_of(asked))

        assert [each.count for each in totals] == [int(n % 3 > 0 and n % 5 > 0) for n in range(1200)]
        assert list(read(storage, lambda work: work.usage.totals_of([]))) == []

    # --- marks --------------------------------------------------------------------------------

    def test_days_that_changed_since_a_mark_are_known(self, storage: Storage) -> None:
        """
        By an event or by a void, of what lies before a moment; folding is no change.
        """
        books = Ledger(storage)
        first = samples.usage_event(books.project_id, timestamp=FIRST)
        books.record(first, samples.usage_event(books.project_id, timestamp=FIRST + DAY))
        books.record(samples.usage_event(tenant(storage)))
        mark = read(storage, lambda work: work.usage.mark())

        fold(storage)
        books.record(
            samples.usage_event(books.project_id, timestamp=FIRST + 2 * DAY, metric_key=STORED),
            samples.usage_event(books.project_id, timestamp=FIRST + 3 * DAY),
        )
        books.void(first)
        changed = read(
            storage,
            lambda work: work.usage.changed_days(books.project_id, since=mark, before=FIRST + 3 * DAY),
        )

        assert set(changed) == {
            ActiveDay(books.project_id, STORED, FIRST + 2 * DAY),
            ActiveDay(books.project_id, TOKENS, FIRST),
        }

    def test_what_is_recorded_after_a_mark_lies_above_it(self, storage: Storage) -> None:
        """
        Even by a unit that had begun before the mark was taken; marks never go back.
        """
        books = Ledger(storage)
        slow = samples.usage_event(books.project_id, timestamp=FIRST)

        with Rival(storage, lambda work: work.usage.insert([slow])) as rival:
            before = read(storage, lambda work: work.usage.mark()) if self.concurrent_writers else 0
            rival.commit()
        changed = read(
            storage,
            lambda work: work.usage.changed_days(books.project_id, since=before, before=FIRST + DAY),
        )
        after = read(storage, lambda work: work.usage.mark())

        assert list(changed) == [ActiveDay(books.project_id, TOKENS, FIRST)]
        assert after >= before

    def test_a_store_tells_whether_there_is_something_to_fold(self, storage: Storage) -> None:
        """
        So that nobody writes where nothing waits.
        """
        books = Ledger(storage)
        books.record(samples.usage_event(books.project_id, timestamp=FIRST))

        due = read(storage, lambda work: work.usage.folds_due())
        folded = write(storage, lambda work: work.usage.fold(at_most=PIECE))
        fold(storage)

        assert due == (folded > 0)
        assert not read(storage, lambda work: work.usage.folds_due())
