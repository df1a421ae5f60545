"""What falls due, and how the work is going."""

from __future__ import annotations

from attrs import frozen

from neruba_core.namespaces.agenda import Agenda, DueKind
from neruba_core.schedule.model import JobState, JobStatus
from neruba_server.wire.kinds import Moment, Money


@frozen
class Due:
    """Something that falls due: a grant or a hold that expires, a billing run, a message that is sent, a
    payment or refund that its provider is asked about, an invoice that is collected, or a top-up.
    ``subjectId`` is the grant, the hold, the period, the delivery, the payment, the refund, the invoice or
    the project."""

    kind: DueKind
    subject_id: str
    due_at: Moment
    amount: Money | None
    late: bool


@frozen
class Job:
    """How one kind of scheduled work is doing in this deployment."""

    name: str
    state: JobState
    started_at: Moment | None
    succeeded_at: Moment | None


@frozen
class Schedule:
    """What falls due in a project, soonest first, and the jobs that will do it."""

    as_of: Moment
    items: tuple[Due, ...]
    jobs: tuple[Job, ...]

    @classmethod
    def of(cls, agenda: Agenda, jobs: tuple[JobStatus, ...]) -> Schedule:
        """The schedule as people see it."""
        return cls(
            as_of=agenda.as_of,
            items=tuple(
                Due(due.kind, due.subject, due.at, due.amount_micros, due.late(agenda.as_of))
                for due in agenda.items
            ),
            jobs=tuple(
                Job(
                    job.name,
                    job.state,
                    None if job.record is None else job.record.started_at,
                    None if job.record is None else job.record.succeeded_at,
                )
                for job in jobs
            ),
        )
