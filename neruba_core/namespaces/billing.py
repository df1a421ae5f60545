"""``neruba.billing``: what a project owes, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

from attrs import frozen

from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.billing.due import billable, due_periods, next_dues
from neruba_core.billing.model import Run, RunState
from neruba_core.billing.overview import Overview, overview
from neruba_core.billing.results import ProjectRun, RunResult
from neruba_core.billing.run import Answer, Options, run
from neruba_core.context import Context
from neruba_core.errors import NerubaError, RunNotFound, StorageError
from neruba_core.instants import Instant, month, utc
from neruba_core.pages import DEFAULT_LIMIT, Page, limited, page, place_of
from neruba_core.storage.port import UnitOfWork
from neruba_core.tenancy.projects import existing, open_ids

TOGETHER = 50
"""How many projects share a unit of work."""

LEASE = timedelta(minutes=1)


@frozen
class Billing:
    """Reached as ``neruba.billing``."""

    _context: Context

    def run(
        self,
        project_id: str,
        period: str,
        *,
        dry_run: bool = False,
        finalize: bool | None = None,
        ignore_unpriced: bool = False,
        origin: Origin = SYSTEM,
    ) -> RunResult:
        """Bill one *period* such as ``"2026-03"``: again as often as you like, with the same outcome.

        A *dry_run* answers the same and writes nothing. Without *finalize* the invoice is a draft until the
        project's grace is over; ``True`` waives the grace, ``False`` leaves a draft in any case. Usage
        without a price keeps it in draft, unless *ignore_unpriced*. Raises ``ProjectNotFound``,
        ``ProjectArchived`` (before the period began), ``FormatInvalid`` (period), ``PeriodNotBegun``,
        ``PeriodOpen`` or ``PeriodEarlierOpen``.
        """
        options = Options(dry_run, finalize, ignore_unpriced)
        (answer,) = self._run([project_id], period, options, origin)
        if isinstance(answer, NerubaError):
            raise answer
        assert answer is not None, "a period is left alone only where that is asked for"
        return answer

    def run_all(
        self,
        period: str,
        *,
        project_ids: Iterable[str] | None = None,
        dry_run: bool = False,
        finalize: bool | None = None,
        ignore_unpriced: bool = False,
        origin: Origin = SYSTEM,
    ) -> Iterator[ProjectRun]:
        """Bill *period* for many projects, by default for all that are not archived before it, as they come.

        A project that cannot be billed is reported with its error and harms no other. Raises
        ``FormatInvalid`` (period).
        """
        month(period, "UTC")

        def begun(work: UnitOfWork) -> list[str]:
            closing = billable(work, work.tenancy.closing_ids(), period)
            return sorted([*work.tenancy.live_ids(), *closing])

        options = Options(dry_run, finalize, ignore_unpriced)
        ids = self._context.read(begun) if project_ids is None else list(project_ids)
        return self._rounds(ids, period, options, origin)

    def run_due(self, at: Instant | None = None, *, origin: Origin = SYSTEM) -> list[ProjectRun]:
        """Finalize, oldest first, every period whose grace is over at *at* (now) and that has something to
        bill; those runs that did something or failed."""
        moment = self._context.clock() if at is None else utc(at)
        done: list[ProjectRun] = []
        for chunk in _chunks(self._context.read(open_ids)):
            waiting = self._context.read(partial(due_periods, project_ids=chunk, at=moment))
            while waiting:
                # All projects of the chunk that are at the same month go together, the oldest first.
                name = min(names[0] for names in waiting.values())
                ids = [each for each in sorted(waiting) if waiting[each][0] == name]
                options = Options(only_billable=True)
                for ran in self._rounds(ids, name, options, origin):
                    if ran.result is not None or ran.error is not None:
                        done.append(ran)
                    waiting[ran.project_id] = [] if _stuck(ran) else waiting[ran.project_id][1:]
                waiting = {each: names for each, names in waiting.items() if names}
        return done

    def next_due(self, after: Instant | None = None) -> Instant | None:
        """When the next period's grace is over, later than *after* (now); ``None`` without projects."""
        moment = self._context.clock() if after is None else utc(after)
        found: list[Instant] = []
        for chunk in _chunks(self._context.read(open_ids)):
            found += self._context.read(partial(next_dues, project_ids=chunk, after=moment))
        return min(found, default=None)

    def runs(
        self,
        project_id: str,
        *,
        period: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[Run]:
        """The records of runs, newest first; *limit* 1–200.

        Raises ``ProjectNotFound``, ``FormatInvalid``, ``CursorInvalid`` or ``CursorMismatch``.
        """
        most = limited(limit)
        filters = ("runs", project_id, period)
        before = place_of(cursor, *filters)

        def read(work: UnitOfWork) -> Sequence[Run]:
            existing(work, project_id)
            return work.billing.runs(project_id, limit=most + 1, before=before, period=period)

        return page(self._context.read(read), most, "id", *filters)

    def get_run(self, project_id: str, run_id: str) -> Run:
        """The record of one run. Raises ``ProjectNotFound`` or ``RunNotFound``."""

        def read(work: UnitOfWork) -> Run:
            found = work.billing.run(existing(work, project_id).id, run_id)
            if found is None:
                raise RunNotFound(run_id)
            return found

        return self._context.read(read)

    def overview(self, project_id: str, *, period: str | None = None) -> Overview:
        """One page that explains the present, from one consistent moment; *period* such as
        ``"2026-03"`` narrows the usage to that month. Raises ``ProjectNotFound`` or ``FormatInvalid``."""
        at, chart = self._context.clock(), self._context.chart
        return self._context.read(
            lambda work: overview(work, existing(work, project_id), chart=chart, at=at, period=period)
        )

    def _rounds(
        self, project_ids: Sequence[str], period: str, options: Options, origin: Origin
    ) -> Iterator[ProjectRun]:
        """Run the projects some at a time; those that another scheduler is busy with come last, and are
        mostly found done by then."""
        total, done = len(project_ids), 0
        waiting = [(chunk, True) for chunk in _chunks(project_ids)]
        while waiting:
            chunk, may_wait = waiting.pop(0)
            with self._lease(f"run:{period}:{chunk[0]}", options) as ours:
                if not ours and may_wait and waiting:
                    waiting.append((chunk, False))
                    continue
                answers = self._isolated(chunk, period, options, origin)
            for project_id, answer in zip(chunk, answers, strict=True):
                done += 1
                yield ProjectRun(
                    project_id=project_id,
                    period=period,
                    done=done,
                    total=total,
                    result=answer if isinstance(answer, RunResult) else None,
                    error=answer if isinstance(answer, Exception) else None,
                )

    @contextmanager
    def _lease(self, name: str, options: Options) -> Iterator[bool]:
        """Whether the work called *name* is ours to do. A lease only saves two schedulers from doing the same
        work twice: doing it twice is harmless."""
        context = self._context
        if options.dry_run or context.bound is not None:
            yield True
            return
        holder = context.ids.new("hld")
        now = context.clock()
        ours = context.write(lambda work: work.schedule.lease(name, holder, now=now, until=now + LEASE))
        try:
            yield ours
        finally:
            if ours:
                context.write(lambda work: work.schedule.release(name, holder))

    def _isolated(
        self, project_ids: Sequence[str], period: str, options: Options, origin: Origin
    ) -> list[Answer | Exception]:
        """One unit for all; where something unexpected happens, one for each, and only the offender fails."""
        try:
            return list(self._run(project_ids, period, options, origin))
        except StorageError:
            raise
        except Exception as defect:
            if len(project_ids) == 1:
                return [defect]
            return [
                answer
                for project_id in project_ids
                for answer in self._isolated([project_id], period, options, origin)
            ]

    def _run(
        self, project_ids: Sequence[str], period: str, options: Options, origin: Origin
    ) -> Sequence[Answer]:
        context = self._context

        def act(work: UnitOfWork) -> Sequence[Answer]:
            return run(
                work,
                project_ids,
                period,
                options,
                at=context.clock(),
                ids=context.ids,
                chart=context.chart,
                origin=origin,
            )

        return context.read(act) if options.dry_run else context.write(act)


def _stuck(ran: ProjectRun) -> bool:
    """Whether the project's later periods have to wait for this one."""
    return ran.result.run.state is RunState.DRAFT if ran.result is not None else ran.error is not None


def _chunks(project_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(project_ids), TOGETHER):
        yield project_ids[start : start + TOGETHER]
