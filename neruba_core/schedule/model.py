"""Jobs: work that comes up again and again, and the record of how it went.

A job is done a bounded piece at a time, by whoever has its lease; it is idempotent, so that doing it twice
is harmless and a crash in the middle loses nothing. What has become of it is a row, the same for every
process: when it last started, ended and succeeded, what went wrong last, and how often in a row.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from attrs import evolve, frozen

from neruba_core.instants import Instant

F = TypeVar("F")

LATE_AFTER = timedelta(minutes=5)
"""How long what is due may wait before it is called late."""

SOON = timedelta(seconds=1)
"""After how long what is due already is done where a clock is moved by hand: a loop ticks as often."""

STUCK_AFTER = timedelta(minutes=20)
"""How long a turn may take before it is called stuck; longer than any lease."""

FAILING_AFTER = 3
"""How many failures in a row make a job failing; fewer are a database that was gone for a moment."""

MAX_PAUSE = timedelta(minutes=5)
ERROR_MOST = 500


@frozen
class Job(Generic[F]):
    """Work on a façade ``F`` that wants to be done again and again.

    *act* does a bounded piece of it and tells whether more waits. Where *waits* is given it tells since when
    something has waited (``None``: nothing does), and the job runs only then; otherwise it runs each time
    *every* has passed. *next_after* names the next moment later than a given one at which something falls
    due, for clocks that are moved by hand. A *slow* job may be busy for a while, up to *lease*.
    """

    name: str
    every: timedelta
    act: Callable[[F], bool]
    waits: Callable[[F], Instant | None] | None = None
    next_after: Callable[[F, Instant], Instant | None] | None = None
    slow: bool = False
    lease: timedelta = timedelta(minutes=1)


@frozen
class JobRecord:
    """How a job has gone. *ended_at* is missing while a turn is under way, or was cut off; *failures* counts
    those since it last succeeded, and *error* is the last of them."""

    name: str
    started_at: Instant
    ended_at: Instant | None = None
    succeeded_at: Instant | None = None
    failed_at: Instant | None = None
    error: str | None = None
    failures: int = 0

    def started(self, at: Instant) -> JobRecord:
        """The record once a turn has begun at *at*."""
        return evolve(self, started_at=at, ended_at=None)

    def succeeded(self, at: Instant) -> JobRecord:
        """The record once the turn has ended well."""
        return evolve(self, ended_at=at, succeeded_at=at, failures=0)

    def failed(self, at: Instant, error: str) -> JobRecord:
        """The record once the turn has ended with *error*."""
        return evolve(self, ended_at=at, failed_at=at, error=error[:ERROR_MOST], failures=self.failures + 1)


class JobState(StrEnum):
    """How a job is doing."""

    OK = "ok"
    LATE = "late"
    FAILING = "failing"
    STUCK = "stuck"


@frozen
class JobStatus:
    """A job as operators see it: its record, if it ever ran, and since when something has waited for it."""

    name: str
    state: JobState
    record: JobRecord | None
    waiting_since: Instant | None


def is_due(job: Job[F], record: JobRecord | None, waiting_since: Instant | None, *, at: Instant) -> bool:
    """Whether *job* is to be done at *at*; after failures it pauses, longer each time."""
    if job.waits is not None and (waiting_since is None or waiting_since > at):
        return False
    if record is None or record.started_at > at:
        # A record of the future is one of before the clock was set back.
        return True
    if record.failures and record.ended_at is not None:
        pause = min(timedelta(seconds=2 ** min(record.failures, 16)), MAX_PAUSE)
        return record.ended_at + max(job.every, pause) <= at
    return record.started_at + job.every <= at


def status(job: Job[F], record: JobRecord | None, waiting_since: Instant | None, *, at: Instant) -> JobStatus:
    """How *job* is doing at *at*."""
    return JobStatus(job.name, _state(job, record, waiting_since, at), record, waiting_since)


def _state(job: Job[F], record: JobRecord | None, waiting_since: Instant | None, at: Instant) -> JobState:
    if record is not None:
        if record.ended_at is None and record.started_at <= at - STUCK_AFTER:
            return JobState.STUCK
        if record.failures >= FAILING_AFTER:
            return JobState.FAILING
    if waiting_since is not None and waiting_since <= at - LATE_AFTER:
        return JobState.LATE
    if job.waits is None and record is not None:
        # Whoever has a deployment that nobody ticks hears of it by what waits; here it once was ticked.
        last = record.succeeded_at or record.started_at
        if last <= at - 2 * job.every - LATE_AFTER:
            return JobState.LATE
    return JobState.OK
