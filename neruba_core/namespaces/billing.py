"""``neruba.billing``: what a project owes, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from attrs import frozen

from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.billing.model import Run
from neruba_core.billing.overview import Overview, overview
from neruba_core.billing.results import ProjectRun, RunResult
from neruba_core.billing.run import Answer, Options, run
from neruba_core.context import Context
from neruba_core.errors import NerubaError, RunNotFound
from neruba_core.instants import Instant
from neruba_core.pages import DEFAULT_LIMIT, Page, limited, page, place_of
from neruba_core.storage.port import UnitOfWork
from neruba_core.tenancy.projects import existing


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
        ``ProjectArchived``, ``FormatInvalid`` (period), ``PeriodOpen`` or ``PeriodEarlierOpen``.
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
        """Bill *period* for many projects, by default for all that are not archived, as they come.

        A project that cannot be billed is reported with its error and harms no other. Raises
        ``FormatInvalid`` (period).
        """
        raise NotImplementedError

    def run_due(self, at: Instant | None = None, *, origin: Origin = SYSTEM) -> Iterator[ProjectRun]:
        """Finalize, oldest first, every period whose grace is over at *at* (now) and that has something to
        bill."""
        raise NotImplementedError

    def next_due(self, after: Instant | None = None) -> Instant | None:
        """When the next period with something to bill falls due, later than *after* (now)."""
        raise NotImplementedError

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
        at = self._context.clock()
        return self._context.read(
            lambda work: overview(work, existing(work, project_id), at=at, period=period)
        )

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
