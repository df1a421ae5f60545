"""Jobs: each by one at a time, again after a crash, and with a record of how they went."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_core import Neruba
from neruba_core.instants import Instant
from neruba_core.namespaces.jobs import Job
from neruba_core.schedule.model import (
    FAILING_AFTER,
    LATE_AFTER,
    MAX_PAUSE,
    STUCK_AFTER,
    JobRecord,
    JobState,
    is_due,
    status,
)
from neruba_core.testing.builders import Rehearsal, rehearsal
from neruba_core.testing.clock import NOON

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def neruba() -> Rehearsal:
    return rehearsal(runs_due=False)


class Work:
    """A job that notes when it was done; what is in *outcomes* it answers, or raises, in turn."""

    def __init__(self, *outcomes: bool | BaseException, every: timedelta = MINUTE) -> None:
        self.done: list[Instant] = []
        self.outcomes = list(outcomes)
        self.job = Job("work", every, self._act)

    def _act(self, neruba: Neruba) -> bool:
        self.done.append(neruba.now())
        outcome = self.outcomes.pop(0) if self.outcomes else False
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def record_of(neruba: Neruba) -> JobRecord:
    (found,) = neruba.schedule.status([Work().job])
    assert found.record is not None
    return found.record


def test_a_job_is_done_as_often_as_it_wants(neruba):
    """
    At once, and then each time its interval has passed, however often somebody ticks.
    """
    work = Work()

    for _ in range(10):
        neruba.schedule.tick([work.job])
        neruba.clock.advance(timedelta(seconds=20))

    assert work.done == [NOON + n * MINUTE for n in range(4)]
    assert record_of(neruba).succeeded_at == NOON + 3 * MINUTE


def test_a_clock_that_is_set_back_keeps_nothing_waiting(neruba):
    """
    What was done in a future that is none any more counts no more.
    """
    work = Work()
    neruba.schedule.tick([work.job])
    neruba.clock.set(NOON - timedelta(days=1))

    neruba.schedule.tick([work.job])

    assert len(work.done) == 2


def test_what_waits_is_done_at_every_tick_and_nothing_else_is(neruba):
    """
    A job that knows whether something waits for it leaves no trace while nothing does.
    """
    waiting: list[Instant | None] = [None, NOON + SECOND, NOON, NOON, None]
    seen: list[Instant] = []

    def act(neruba: Neruba) -> bool:
        seen.append(neruba.now())
        return False

    job = Job("waits", timedelta(0), act, waits=lambda _: waiting.pop(0))

    ran = [[each.name for each in neruba.schedule.tick([job])] for _ in range(5)]

    assert ran == [[], [], ["waits"], ["waits"], []]


def test_a_piece_at_a_time_until_nothing_waits(neruba):
    """
    Within one turn, which counts as one.
    """
    work = Work(True, True, False, True)

    ran = neruba.schedule.tick([work.job])

    assert len(work.done) == 3
    assert [each.error for each in ran] == [None]


def test_whoever_is_told_to_end_does_so_after_the_piece_in_hand(neruba):
    """
    And what it has begun is recorded.
    """
    work, other = Work(True, True, True), Work()
    stopped = iter([False, True, True])

    neruba.schedule.tick([work.job, other.job], stopping=lambda: next(stopped))

    assert (len(work.done), other.done) == (1, [])
    assert record_of(neruba).succeeded_at == NOON


def test_a_failure_is_recorded_and_harms_no_other(neruba):
    """
    It pauses longer each time, five minutes at most, and is forgotten with the next success.
    """
    failures = [OSError("gone") for _ in range(12)]
    work, other = Work(*failures, every=SECOND), Work()
    other_job = Job("other", SECOND, other.job.act)

    ran = neruba.schedule.tick([work.job, other_job])
    after_one = record_of(neruba)
    neruba.clock.advance(SECOND)
    neruba.schedule.tick([work.job])
    paused = len(work.done)
    while len(work.done) < 12:
        neruba.clock.advance(SECOND)
        neruba.schedule.tick([work.job])
    pauses = [later - earlier for earlier, later in zip(work.done, work.done[1:], strict=False)]
    (failing,) = neruba.schedule.status([work.job])
    neruba.clock.advance(MAX_PAUSE)
    neruba.schedule.tick([work.job])

    assert [str(each.error) for each in ran] == ["gone", "None"]
    assert (after_one.failures, after_one.error, after_one.succeeded_at) == (1, "OSError: gone", None)
    assert paused == 1
    assert pauses == [min(2**n * SECOND, MAX_PAUSE) for n in range(1, 12)]
    assert failing.state is JobState.FAILING
    assert (record_of(neruba).failures, record_of(neruba).succeeded_at) == (0, neruba.now())
    assert record_of(neruba).error == "OSError: gone"


def test_what_a_crash_cut_off_is_taken_up_by_the_next(neruba):
    """
    Once the lease has run out; until then nobody knows that nobody is at it.
    """
    work = Work(KeyboardInterrupt(), every=SECOND)
    with pytest.raises(KeyboardInterrupt):
        neruba.schedule.tick([work.job])
    cut_off = record_of(neruba)

    neruba.clock.advance(work.job.lease - SECOND)
    early = neruba.schedule.tick([work.job])
    neruba.clock.advance(SECOND)
    neruba.schedule.tick([work.job])

    assert (cut_off.ended_at, early) == (None, ())
    assert work.done == [NOON, NOON + work.job.lease]
    assert record_of(neruba).failures == 0


def test_of_many_workers_one_does_it(neruba):
    """
    The others find it taken, or done.
    """
    inside, most, done = 0, 0, 0
    guard = threading.Lock()

    def act(_: Neruba) -> bool:
        nonlocal inside, most, done
        with guard:
            inside, done = inside + 1, done + 1
            most = max(most, inside)
        threading.Event().wait(0.02)
        with guard:
            inside -= 1
        return False

    job = Job("alone", MINUTE, act)
    workers = [threading.Thread(target=neruba.schedule.tick, args=([job],)) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert (most, done) == (1, 1)


def test_whoever_lost_the_lease_says_nothing(neruba):
    """
    Another has taken over, and its word counts.
    """
    other = Work()

    def act(_: Neruba) -> bool:
        neruba.clock.advance(2 * MINUTE)
        neruba.schedule.tick([other.job])
        raise OSError("too late")

    neruba.schedule.tick([Job("work", MINUTE, act)])

    assert len(other.done) == 1
    assert (record_of(neruba).failures, record_of(neruba).error) == (0, None)


@given(
    started=st.integers(0, 4000),
    took=st.none() | st.integers(0, 4000),
    failures=st.integers(0, 20),
    waits=st.booleans(),
    since=st.none() | st.integers(0, 8000),
    at=st.integers(0, 9000),
)
def test_how_a_job_is_doing_is_told_by_its_record_and_what_waits(started, took, failures, waits, since, at):
    """
    And what is called late or failing is never said of a job that has nothing to do.
    """
    job = Job("any", MINUTE, lambda _: False, waits=(lambda _: None) if waits else None)
    begun, now = NOON + started * SECOND, NOON + at * SECOND
    ended = None if took is None else begun + took * SECOND
    record = JobRecord("any", begun, ended, None if failures else ended, None, None, failures)
    waiting = NOON + since * SECOND if waits and since is not None else None

    found = status(job, record, waiting, at=now)

    late = waiting is not None and now - waiting >= LATE_AFTER
    if found.state is JobState.STUCK:
        assert ended is None
        assert now - begun >= STUCK_AFTER
    elif found.state is JobState.FAILING:
        assert failures >= FAILING_AFTER
    elif waits:
        assert (found.state is JobState.LATE) == late
    if waits and (waiting is None or waiting > now):
        assert not is_due(job, record, waiting, at=now)
