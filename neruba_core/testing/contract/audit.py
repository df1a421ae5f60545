"""Promises of ``AuditStore``: rows only ever added, exact sums, a trail that is pruned by age."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from neruba_core.audit.model import Outcome, Tally
from neruba_core.storage.port import Storage
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import AWKWARD, NOW, STORED, TOKENS, later, new_id, tenant
from neruba_core.testing.contract.units import read, together, write


class Audit(Promises):
    """Changes, attempts, tallies and trail."""

    # --- changes ------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "changes",
        [{}, {"at": later(micros=1), "request_id": "req_1", "subject": AWKWARD, "details": AWKWARD}],
        ids=["plain", "awkward"],
    )
    def test_a_change_comes_back_as_it_was_stored(self, storage: Storage, changes: dict[str, object]) -> None:
        """
        For ever.
        """
        project_id = tenant(storage)
        change = samples.change(project_id, **changes)

        write(storage, lambda work: work.audit.add_changes([change]))

        assert list(read(storage, lambda work: work.audit.changes(project_id, limit=9, before=None))) == [
            change
        ]

    def test_changes_are_listed_newest_first(self, storage: Storage) -> None:
        """
        By descending id, strictly below ``before``.
        """
        project_id = tenant(storage)
        changes = [samples.change(project_id, at=later(seconds=-n)) for n in range(4)]
        with storage.work() as work:
            work.audit.add_changes(changes[2:])
            work.audit.add_changes(changes[:2])
            work.audit.add_changes([])

        with storage.snapshot() as work:
            first = work.audit.changes(project_id, limit=2, before=None)
            second = work.audit.changes(project_id, limit=9, before=changes[2].id)

        assert list(first) == [changes[3], changes[2]]
        assert list(second) == [changes[1], changes[0]]

    # --- attempts -----------------------------------------------------------------------------

    @pytest.mark.parametrize("outcome", Outcome)
    def test_an_attempt_comes_back_as_it_was_stored(self, storage: Storage, outcome: Outcome) -> None:
        """
        With all that support needs to explain it.
        """
        attempt = samples.attempt(
            tenant(storage),
            at=later(micros=1),
            operation="charge",
            outcome=outcome,
            code="idempotency.key_reused",
            message=AWKWARD,
            request_id="req_1",
            access_key_id="key_1",
            idempotency_key="%s",
            event_id=AWKWARD,
            metric_key=TOKENS,
            content=AWKWARD,
            prior="{}",
            subject_id="use_1",
        )
        bare = samples.attempt(attempt.project_id, outcome=outcome)

        write(storage, lambda work: work.audit.add_attempts([attempt, bare]))

        listed = read(storage, lambda work: work.audit.attempts(attempt.project_id, limit=9, before=None))
        assert list(listed) == [bare, attempt]

    def test_attempts_are_filtered(self, storage: Storage) -> None:
        """
        By outcome, metric, access key and half-open period, alone or together.
        """
        project_id = tenant(storage)
        outcomes, metrics, keys = (
            (Outcome.REPLAYED, Outcome.REJECTED),
            (TOKENS, STORED, None),
            ("key_1", None),
        )
        attempts = [
            samples.attempt(
                project_id,
                at=later(micros=n),
                outcome=outcomes[n % 2],
                metric_key=metrics[n % 3],
                access_key_id=keys[n // 6],
            )
            for n in range(12)
        ]
        write(storage, lambda work: work.audit.add_attempts(attempts))

        def listed(**filters: object) -> list[int]:
            asked: dict[str, object] = {"limit": 99, "before": None} | filters
            found = read(storage, lambda work: work.audit.attempts(project_id, **asked))  # type: ignore[arg-type]
            return [attempts.index(attempt) for attempt in found]

        assert listed() == list(range(11, -1, -1))
        assert listed(limit=2, before=attempts[5].id) == [4, 3]
        assert listed(outcome=Outcome.REJECTED) == [11, 9, 7, 5, 3, 1]
        assert listed(metric_key=STORED) == [10, 7, 4, 1]
        assert listed(access_key_id="key_1") == [5, 4, 3, 2, 1, 0]
        assert listed(start=later(micros=4), end=later(micros=6)) == [5, 4]
        assert listed(start=later(micros=11)) == [11]
        assert listed(end=later(micros=1)) == [0]
        assert listed(outcome=Outcome.REPLAYED, metric_key=TOKENS, access_key_id="key_1", limit=1) == [0]
        assert listed(outcome=Outcome.ACCEPTED) == []

    # --- tallies ------------------------------------------------------------------------------

    def test_tallies_add_up(self, storage: Storage) -> None:
        """
        Each outcome by itself; without any, all are zero.
        """
        project_id = tenant(storage)
        before = read(storage, lambda work: work.audit.totals(project_id))

        with storage.work() as work:
            work.audit.add_tallies([Tally(project_id, new_id("tal"), 1, 2, 3, 4, 5, 6)])
            work.audit.add_tallies(
                [Tally(project_id, new_id("tal"), accepted=1000), Tally(project_id, new_id("tal"))]
            )
            work.audit.add_tallies([])
            inside = work.audit.totals(project_id)

        after = read(storage, lambda work: work.audit.totals(project_id))
        assert before == Tally(project_id, "")
        assert inside == after == Tally(project_id, "", 1001, 2, 3, 4, 5, 6)

    def test_counting_loses_nothing_in_a_race(self, storage: Storage) -> None:
        """
        Units of six threads count side by side.
        """
        project_id = tenant(storage)

        def count() -> None:
            for _ in range(10):
                with storage.work() as work:
                    work.audit.add_tallies([Tally(project_id, new_id("tal"), accepted=1, rejected=2)])

        together(*([count] * 6))

        assert read(storage, lambda work: work.audit.totals(project_id)) == Tally(
            project_id, "", accepted=60, rejected=120
        )

    # --- trail --------------------------------------------------------------------------------

    def test_a_trail_row_comes_back_as_it_was_stored(self, storage: Storage) -> None:
        """
        The ids of what the request made in their order.
        """
        row = samples.trail(
            tenant(storage),
            at=later(micros=1),
            path=AWKWARD,
            outcome=None,
            usage_ids=("use_2", "use_1"),
            transaction_ids=("txn_1",),
            message_ids=("msg_1", AWKWARD),
        )
        bare = samples.trail(row.project_id, request_id=row.request_id, at=later(seconds=1))

        write(storage, lambda work: work.audit.add_trail([row, bare]))

        found = read(storage, lambda work: work.audit.trail(row.project_id, row.request_id))
        none = read(storage, lambda work: work.audit.trail(row.project_id, "req_none"))
        assert list(found) == [bare, row]
        assert list(none) == []

    def test_the_trail_is_pruned_by_age(self, storage: Storage) -> None:
        """
        Strictly older rows go, over all projects, as many at a time as is asked for, and are counted.
        """
        # So long ago that no other test's rows are as old.
        bound = datetime(1980, 1, 1, tzinfo=UTC)
        write(storage, lambda work: work.audit.prune_trail(bound, at_most=1_000))
        moments = [bound - samples.MICROSECOND, bound, NOW]
        rows = [
            samples.trail(project_id, at=at, request_id="req_1")
            for project_id in (tenant(storage), tenant(storage))
            for at in moments
        ]
        write(storage, lambda work: work.audit.add_trail(rows))

        def prune(at_most: int) -> int:
            return write(storage, lambda work: work.audit.prune_trail(bound, at_most=at_most))

        pruned = [prune(at_most) for at_most in (1, 2, 2)]

        with storage.snapshot() as work:
            left = [work.audit.trail(row.project_id, "req_1") for row in rows]
        assert pruned == [1, 1, 0]
        assert list(left[0]) == [rows[2], rows[1]]
        assert list(left[3]) == [rows[5], rows[4]]
