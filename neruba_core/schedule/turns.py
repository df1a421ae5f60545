"""Turns: taking a job's lease, and saying what came of it.

The lease and the record change together. Whoever lost the lease meanwhile, for having been away too long,
says nothing: another has taken over, and its word counts.
"""

from __future__ import annotations

from neruba_core.instants import Instant
from neruba_core.schedule.model import F, Job, JobRecord, is_due
from neruba_core.schedule.store import HasSchedule


def begin(work: HasSchedule, job: Job[F], holder: str, waiting_since: Instant | None, *, at: Instant) -> bool:
    """Take the turn, unless somebody else has it or has had it just now; whether it is ours."""
    if not work.schedule.lease(_lease(job.name), holder, now=at, until=at + job.lease):
        return False
    # Read under the lease: whoever had it before has written what it did.
    record = work.schedule.jobs().get(job.name)
    if not is_due(job, record, waiting_since, at=at):
        work.schedule.release(_lease(job.name), holder)
        return False
    work.schedule.put_job((record or JobRecord(job.name, at)).started(at))
    return True


def prolong(work: HasSchedule, job: Job[F], holder: str, *, at: Instant) -> bool:
    """Keep the turn for another piece of the job; whether it is still ours."""
    held = work.schedule.leased(_lease(job.name))
    if held is None or held[0] != holder:
        # Even if it is free again: whoever had it after us has said how it went.
        return False
    return work.schedule.lease(_lease(job.name), holder, now=at, until=at + job.lease)


def end(work: HasSchedule, job: Job[F], holder: str, error: str | None, *, at: Instant) -> bool:
    """Write how the turn went and give it back; whether it was still ours."""
    if not prolong(work, job, holder, at=at):
        return False
    record = work.schedule.jobs()[job.name]
    work.schedule.put_job(record.succeeded(at) if error is None else record.failed(at, error))
    work.schedule.release(_lease(job.name), holder)
    return True


def _lease(name: str) -> str:
    return f"job:{name}"
