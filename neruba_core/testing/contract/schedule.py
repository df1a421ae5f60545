"""Promises of ``ScheduleStore``: a lease has one holder at a time."""

from __future__ import annotations

from datetime import datetime

from neruba_core.schedule.model import JobRecord
from neruba_core.storage.port import Storage
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import AWKWARD, NOW, later, new_id
from neruba_core.testing.contract.units import (
    Rival,
    answer,
    read,
    start,
    together,
    undone,
    waits,
    write,
)


def lease(storage: Storage, name: str, holder: str, now: datetime, until: datetime) -> bool:
    """Ask for the lease in a unit of its own."""
    return write(storage, lambda work: work.schedule.lease(name, holder, now=now, until=until))


def leased(storage: Storage, name: str) -> tuple[str, datetime] | None:
    """Who holds it, and until when."""
    return read(storage, lambda work: work.schedule.leased(name))


class Schedule(Promises):
    """Leases, and the records of jobs."""

    def test_a_lease_is_taken_by_the_first_who_asks(self, storage: Storage) -> None:
        """
        Another holder is refused as long as it runs, and changes nothing.
        """
        name = new_id(AWKWARD)

        before = leased(storage, name)
        first = lease(storage, name, "one", NOW, later(seconds=60))
        second = lease(storage, name, "other", later(seconds=59), later(seconds=120))

        assert (before, first, second) == (None, True, False)
        assert leased(storage, name) == ("one", later(seconds=60))

    def test_a_lease_can_be_prolonged_by_its_holder(self, storage: Storage) -> None:
        """
        And cut short, whether or not it has run out.
        """
        name = new_id("lease")
        lease(storage, name, "one", NOW, later(seconds=60))

        assert lease(storage, name, "one", later(seconds=1), later(seconds=120))
        assert leased(storage, name) == ("one", later(seconds=120))
        assert lease(storage, name, "one", later(seconds=500), later(seconds=501))
        assert leased(storage, name) == ("one", later(seconds=501))

    def test_a_lease_that_has_run_out_goes_to_the_next(self, storage: Storage) -> None:
        """
        At the very moment of its end; until somebody takes it, it is shown as it is.
        """
        name = new_id("lease")
        lease(storage, name, "one", NOW, later(seconds=60))

        early = lease(storage, name, "other", later(seconds=60, micros=-1), later(seconds=120))
        shown = leased(storage, name)
        late = lease(storage, name, "other", later(seconds=60), later(seconds=120))

        assert (early, late) == (False, True)
        assert shown == ("one", later(seconds=60))
        assert leased(storage, name) == ("other", later(seconds=120))

    def test_a_lease_is_given_back_by_its_holder_alone(self, storage: Storage) -> None:
        """
        A holder whose lease went to another does not end the other's.
        """
        name, untouched = new_id("lease"), new_id("lease")
        lease(storage, name, "one", NOW, later(seconds=60))
        lease(storage, untouched, "one", NOW, later(seconds=60))

        write(storage, lambda work: work.schedule.release(name, "other"))
        kept = leased(storage, name)
        write(storage, lambda work: work.schedule.release(name, "one"))
        write(storage, lambda work: work.schedule.release(name, "one"))

        assert kept == ("one", later(seconds=60))
        assert leased(storage, name) is None
        assert leased(storage, untouched) == ("one", later(seconds=60))
        assert lease(storage, name, "other", NOW, later(seconds=1))

    def test_of_many_who_ask_at_once_one_has_it(self, storage: Storage) -> None:
        """
        Two schedulers never do the same work.
        """
        name = new_id("lease")

        def take(holder: str) -> bool:
            return lease(storage, name, holder, NOW, later(seconds=60))

        given = together(*(lambda n=n: take(str(n)) for n in range(6)))

        assert given.count(True) == 1
        assert leased(storage, name) == (str(given.index(True)), later(seconds=60))

    def test_whoever_asks_waits_for_a_competitor_in_flight(self, storage: Storage) -> None:
        """
        The lease is theirs only if they commit.
        """
        name = new_id("lease")

        def take(holder: str) -> bool:
            return lease(storage, name, holder, NOW, later(seconds=60))

        with Rival(
            storage, lambda work: work.schedule.lease(name, "one", now=NOW, until=later(seconds=60))
        ) as rival:
            ours = start(lambda: take("other"))
            waited = waits(ours)
            rival.roll_back()

        assert waited
        assert answer(ours) is True
        assert leased(storage, name) == ("other", later(seconds=60))

    def test_how_a_job_went_is_kept_by_its_name(self, storage: Storage) -> None:
        """
        In every part, until it is written anew; what was undone was never so.
        """
        name, other = new_id(AWKWARD), new_id("job")
        began = JobRecord(name, NOW)
        went = JobRecord(name, later(seconds=1), later(seconds=2), NOW, later(micros=1), f"no {AWKWARD}", 3)

        assert name not in read(storage, lambda work: work.schedule.jobs())
        write(storage, lambda work: work.schedule.put_job(began))
        first = read(storage, lambda work: work.schedule.jobs())[name]
        with undone(storage.work()) as work:
            work.schedule.put_job(went)
            work.schedule.put_job(JobRecord(other, NOW))
        unchanged = read(storage, lambda work: work.schedule.jobs())
        write(storage, lambda work: work.schedule.put_job(went))

        assert first == unchanged[name] == began
        assert other not in unchanged
        assert read(storage, lambda work: work.schedule.jobs())[name] == went
