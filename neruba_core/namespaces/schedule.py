"""``neruba.schedule``: doing what falls due, and telling what will."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from neruba_core.context import Context
from neruba_core.instants import Instant, utc
from neruba_core.namespaces.agenda import Agenda, agenda
from neruba_core.namespaces.jobs import ALL, JOBS, Job
from neruba_core.schedule import turns
from neruba_core.schedule.model import SOON, JobStatus, is_due, status
from neruba_core.tenancy.projects import existing

if TYPE_CHECKING:
    from neruba_core.neruba import Neruba

MOST_PIECES = 100
"""How many pieces of a job are done in a row before the others get their turn."""


@frozen
class Ran:
    """A job that had its turn, and what went wrong, if anything did."""

    name: str
    error: Exception | None = None


@frozen
class Schedule:
    """Reached as ``neruba.schedule``."""

    _context: Context
    _neruba: Neruba

    def tick(
        self, jobs: Sequence[Job] = JOBS, *, stopping: Callable[[], bool] = lambda: False
    ) -> tuple[Ran, ...]:
        """Do once what of *jobs* is due, each under a lease; those that had their turn.

        Call it every second or so, from any number of threads and processes: each job is done by one of
        them at a time, and by another if that one dies. A job that fails is recorded, harms no other and
        pauses for a while, longer each time. *stopping* ends the round after the piece in hand. Raises
        ``StorageError`` where the database does not answer.
        """
        ran: list[Ran] = []
        records = self._context.read(lambda work: work.schedule.jobs())
        for job in jobs:
            if stopping():
                break
            since = self._waiting_since(job)
            if is_due(job, records.get(job.name), since, at=self._context.clock()):
                turn = self._turn(job, since, stopping)
                ran.extend(() if turn is None else (turn,))
        return tuple(ran)

    def catch_up(self, jobs: Sequence[Job] = ALL) -> None:
        """Do at once all that waits for those of *jobs* that name their moments, whoever else may be at it;
        for clocks that are moved by hand. What fails is raised."""
        for job in jobs:
            if job.next_after is None or (job.waits is not None and self._waiting_since(job) is None):
                continue
            while job.act(self._neruba):
                pass

    def next_after(self, after: Instant | None = None, jobs: Sequence[Job] = ALL) -> Instant | None:
        """The next moment later than *after* (now) at which something falls due that bears its time; what is
        due already is done a second later."""
        moment = self._context.clock() if after is None else utc(after)
        found = [job.next_after(self._neruba, moment) for job in jobs if job.next_after is not None]
        if any(job.next_after is not None and self._waits_at(job, moment) for job in jobs):
            found.append(moment + SOON)
        return min((due for due in found if due is not None), default=None)

    def status(self, jobs: Sequence[Job] = JOBS) -> tuple[JobStatus, ...]:
        """How each job is doing: on time, late, failing or stuck."""
        records = self._context.read(lambda work: work.schedule.jobs())
        return tuple(
            status(job, records.get(job.name), self._waiting_since(job), at=self._context.clock())
            for job in jobs
        )

    def of_project(self, project_id: str, *, limit: int = 50) -> Agenda:
        """What falls due next in one project, soonest first, at most *limit* of it. Raises
        ``ProjectNotFound``."""
        at = self._context.clock()
        return self._context.read(
            lambda work: agenda(
                work,
                existing(work, project_id),
                at=at,
                limit=limit,
                ids=self._context.ids,
                chart=self._context.chart,
            )
        )

    def _waiting_since(self, job: Job) -> Instant | None:
        return None if job.waits is None else job.waits(self._neruba)

    def _waits_at(self, job: Job, moment: Instant) -> bool:
        since = self._waiting_since(job)
        return since is not None and since <= moment

    def _turn(self, job: Job, since: Instant | None, stopping: Callable[[], bool]) -> Ran | None:
        context, holder = self._context, self._context.ids.new("hld")
        if not context.write(lambda work: turns.begin(work, job, holder, since, at=context.clock())):
            return None
        error: Exception | None = None
        try:
            for _ in range(MOST_PIECES):
                if not job.act(self._neruba) or stopping():
                    break
                if not context.write(lambda work: turns.prolong(work, job, holder, at=context.clock())):
                    break
        except Exception as trouble:
            error = trouble
        told = None if error is None else f"{type(error).__name__}: {error}"
        context.write(lambda work: turns.end(work, job, holder, told, at=context.clock()))
        return Ran(job.name, error)
