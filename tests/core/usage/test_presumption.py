"""Units that presume their events to be new: what they record is what careful ones would."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_core import Neruba
from neruba_core.errors import NerubaError
from neruba_core.storage.memory import MemoryStorage
from neruba_core.storage.port import Storage
from neruba_core.storage.sql import SqlStorage
from neruba_core.testing.clock import NOON
from neruba_core.testing.contract.units import together
from neruba_core.usage import presumption
from neruba_core.usage.presumption import CAREFUL_UNITS, ENOUGH_UNITS, Presumption

Told = dict[str, Any]
HOUR = timedelta(hours=1)

sent = st.builds(
    lambda key, name, units: {
        "metric_key": "tokens",
        "units": units,
        "timestamp": NOON,
        "idempotency_key": key,
        "event_id": name,
    },
    st.sampled_from("abcdef"),
    st.sampled_from([None, None, None, "a", "g", "h"]),
    st.sampled_from(["1", "1", "1", "2"]),
)
batches = st.lists(st.lists(sent, min_size=1, max_size=4), min_size=1, max_size=8)


def record(neruba: Neruba, project_id: str, batch: Sequence[Told]) -> list[str]:
    """
    What became of the events; those that come alone are sent alone.
    """
    if len(batch) == 1:
        try:
            return [neruba.usage.record(project_id, **batch[0]).name.value]
        except NerubaError as refusal:
            return [refusal.code]
    return [outcome.name.value for outcome in neruba.usage.record_many(project_id, batch)]


def told(neruba: Neruba, project_id: str) -> Any:
    """
    All that is known of the project's usage, but ids and times.
    """
    events = neruba.usage.events(project_id, limit=100).items
    totals = neruba.audit.totals(project_id)
    attempts = neruba.audit.attempts(project_id, limit=100).items
    return (
        sorted((event.idempotency_key, event.event_id, event.units_micros) for event in events),
        (totals.accepted, totals.replayed, totals.deduped, totals.conflict, totals.rejected),
        sorted((attempt.outcome, attempt.idempotency_key, attempt.content) for attempt in attempts),
        [line.units_micros for line in neruba.usage.quantities(project_id, start=NOON, end=NOON + HOUR)],
    )


@given(batches)
def test_what_is_presumed_is_recorded_as_memory_records_it(database: SqlStorage, batches: Any) -> None:
    """
    Whatever is new and whatever is not, in units that presume as often as they may.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presumption, "CAREFUL_UNITS", 1)
        neruba, memory = Neruba(database), Neruba(MemoryStorage())
        here, there = (engine.projects.create(name="Acme").id for engine in (neruba, memory))

        for batch in batches:
            assert record(neruba, here, batch) == record(memory, there, batch)

        assert told(neruba, here) == told(memory, there)


class Counted:
    """A store that counts its units."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.units = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.storage, name)

    def work(self) -> Any:
        self.units += 1
        return self.storage.work()


@pytest.fixture
def postgresql(postgres_url: str) -> Iterator[SqlStorage]:
    storage = SqlStorage(postgres_url)
    yield storage
    storage.close()


@pytest.mark.postgres
def test_a_replayed_queue_costs_one_unit_more(postgresql: SqlStorage) -> None:
    """
    Not one for each batch that it repeats, and none as long as all is new.
    """
    counted = Counted(postgresql)
    neruba = Neruba(counted)
    project_id = neruba.projects.create(name="Acme").id
    queue = [
        [
            {"metric_key": "tokens", "units": "1", "timestamp": NOON, "idempotency_key": f"{number}-{place}"}
            for place in range(3)
        ]
        for number in range(2 * CAREFUL_UNITS)
    ]

    def units(act: Any) -> int:
        before = counted.units
        act()
        return counted.units - before

    def send() -> None:
        for batch in queue:
            neruba.usage.record_many(project_id, batch)

    # The first event of all declares its metric, which costs no unit of its own.
    assert units(send) == len(queue)
    assert units(send) == len(queue) + 1
    assert len(neruba.usage.events(project_id, limit=200).items) == 3 * len(queue)


@pytest.mark.postgres
def test_whoever_repeats_beside_others_is_never_refused(
    postgresql: SqlStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Its second run is careful, whatever other threads have presumed meanwhile.
    """
    monkeypatch.setattr(presumption, "CAREFUL_UNITS", 1)
    neruba = Neruba(postgresql)
    project_id = neruba.projects.create(name="Acme").id
    numbers = count()
    told: Told = {"metric_key": "tokens", "units": "1", "timestamp": NOON, "idempotency_key": "again"}
    neruba.usage.record(project_id, **told)

    def send_new() -> list[str]:
        return [
            neruba.usage.record(project_id, **{**told, "idempotency_key": f"n{next(numbers)}"}).name.value
            for _ in range(40)
        ]

    def repeat() -> list[str]:
        return [neruba.usage.record(project_id, **told).name.value for _ in range(40)]

    answers = together(send_new, send_new, send_new, send_new, repeat, repeat)

    assert [set(each) for each in answers] == [{"accepted"}] * 4 + [{"replayed"}] * 2
    assert neruba.audit.totals(project_id).accepted == 161


def test_what_failed_runs_again_with_care_whatever_others_do() -> None:
    """
    Care is each thread's own: no number of other units uses it up.
    """
    presumed = Presumption()

    assert presumed.holds()
    assert presumed.failed()
    with ThreadPoolExecutor(1) as other:
        assert [other.submit(presumed.holds).result() for _ in range(CAREFUL_UNITS + 1)][-1]
    presumed.begins()
    assert not presumed.holds()
    assert not presumed.failed()
    presumed.begins()
    assert not presumed.holds()
    assert presumed.holds()


def careful(presumed: Presumption) -> int:
    """
    How many units look first from now on.
    """
    return next(number for number in count() if presumed.holds())


def test_a_presumption_that_failed_holds_again_after_a_while() -> None:
    """
    After so many units that looked first; each that meets a repeat begins the count anew.
    """
    presumed = Presumption()
    presumed.holds()
    presumed.failed()
    assert [presumed.holds() for _ in range(CAREFUL_UNITS - 1)] == [False] * (CAREFUL_UNITS - 1)
    presumed.met_repeat()

    assert careful(presumed) == CAREFUL_UNITS


def test_presumptions_that_keep_failing_grow_rare() -> None:
    """
    Twice as many careful units each time, up to a point, until enough were right in a row.
    """
    presumed = Presumption()

    def spans(times: int) -> list[int]:
        found = []
        for _ in range(times):
            presumed.failed()
            found.append(careful(presumed))
        return found

    presumed.holds()
    assert spans(9) == [32, 64, 128, 256, 512, 1024, 2048, 4096, 4096]
    for _ in range(ENOUGH_UNITS):
        presumed.holds()
    assert spans(2) == [32, 64]


def test_a_conflict_of_units_that_presumed_nothing_is_no_failed_presumption() -> None:
    """
    The thread's next unit is careful, and that is all.
    """
    presumed = Presumption()
    presumed.begins()
    presumed.holds()
    presumed.begins()

    assert not presumed.failed()
    assert careful(presumed) == 1
