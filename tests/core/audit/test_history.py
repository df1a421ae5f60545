"""Reading the trail."""

from __future__ import annotations

from datetime import timedelta

import pytest

from neruba_core.audit.model import Attempt, Outcome, Tally, Trail
from neruba_core.errors import CursorInvalid, CursorMismatch, FormatInvalid, ProjectNotFound


@pytest.fixture
def acme(stage):
    return stage.projects.create(name="Acme")


def attempt(stage, project_id, number, *, outcome=Outcome.REJECTED, metric_key="a", key_id="key_1"):
    return Attempt(
        project_id=project_id,
        id=f"att_{number}",
        at=stage.at + timedelta(hours=number),
        operation="usage",
        outcome=outcome,
        code=None,
        message=None,
        request_id=None,
        access_key_id=key_id,
        idempotency_key=None,
        event_id=None,
        metric_key=metric_key,
        content=None,
        prior=None,
        subject_id=None,
    )


def test_changes_are_read_newest_first_page_by_page(stage, acme):
    """
    Following the cursors gives each change once.
    """
    stage.projects.update(acme.id, name="Acme 2")
    stage.projects.update(acme.id, name="Acme 3")

    first = stage.audit.changes(acme.id, limit=2)
    second = stage.audit.changes(acme.id, limit=2, cursor=first.next_cursor)

    actions = [change.action for change in (*first.items, *second.items)]
    assert actions == ["project.updated", "project.updated", "project.created"]
    assert second.next_cursor is None


def test_a_cursor_serves_its_own_list_only(stage, acme):
    """
    Neither another project's nor one with other filters.
    """
    other = stage.projects.create(name="Other")
    stage.context.write(
        lambda work: work.audit.add_attempts([attempt(stage, acme.id, number) for number in range(3)])
    )
    cursor = stage.audit.attempts(acme.id, limit=1).next_cursor

    assert [each.id for each in stage.audit.attempts(acme.id, cursor=cursor).items] == ["att_1", "att_0"]
    for ask in (
        lambda: stage.audit.attempts(other.id, cursor=cursor),
        lambda: stage.audit.attempts(acme.id, metric_key="a", cursor=cursor),
        lambda: stage.audit.changes(acme.id, cursor=cursor),
    ):
        with pytest.raises(CursorMismatch):
            ask()
    with pytest.raises(CursorInvalid):
        stage.audit.attempts(acme.id, cursor="nonsense")


def test_attempts_are_filtered_by_all_that_is_given(stage, acme):
    """
    Every filter narrows, and the bounds are half-open.
    """
    rows = [
        attempt(stage, acme.id, 0),
        attempt(stage, acme.id, 1, outcome=Outcome.CONFLICT),
        attempt(stage, acme.id, 2, metric_key="b"),
        attempt(stage, acme.id, 3, key_id="key_2"),
    ]
    stage.context.write(lambda work: work.audit.add_attempts(rows))

    def found(**filters):
        return [each.id[-1] for each in stage.audit.attempts(acme.id, **filters).items]

    assert found() == ["3", "2", "1", "0"]
    assert found(outcome="conflict") == ["1"]
    assert found(outcome=Outcome.REJECTED, metric_key="a") == ["3", "0"]
    assert found(access_key_id="key_2") == ["3"]
    assert found(start=stage.at + timedelta(hours=1), end=stage.at + timedelta(hours=3)) == ["2", "1"]
    with pytest.raises(FormatInvalid, match="quarantined"):
        found(outcome="lost")


def test_totals_add_up_all_tallies(stage, acme):
    """
    Each unit of work counted for itself; the sum is exact.
    """
    tallies = [
        Tally(acme.id, "tly_1", accepted=2, rejected=1),
        Tally(acme.id, "tly_2", accepted=3, replayed=1),
    ]
    stage.context.write(lambda work: work.audit.add_tallies(tallies))

    total = stage.audit.totals(acme.id)

    assert (total.accepted, total.replayed, total.rejected, total.conflict) == (5, 1, 1, 0)


def test_the_trail_of_a_request_goes_with_age(stage, acme):
    """
    A request id may repeat; old rows are pruned over all projects and changes stay.
    """
    rows = [
        Trail(
            acme.id, f"trl_{number}", "req-1", stage.at, "POST", "/ingest/usage", "key:key_1", 201, "accepted"
        )
        for number in range(2)
    ]
    stage.context.write(lambda work: work.audit.add_trail(rows))

    assert [row.id for row in stage.audit.trail(acme.id, "req-1")] == ["trl_1", "trl_0"]
    assert stage.audit.trail(acme.id, "req-2") == ()
    assert stage.audit.prune(stage.at) == 0
    assert stage.audit.prune(stage.at + timedelta(microseconds=1)) == 2
    assert stage.audit.trail(acme.id, "req-1") == ()
    assert stage.actions(acme.id) == ["project.created"]


def test_an_unknown_project_has_no_trail(stage):
    """
    Every read says so alike.
    """
    for ask in (
        lambda: stage.audit.changes("prj_none"),
        lambda: stage.audit.attempts("prj_none"),
        lambda: stage.audit.totals("prj_none"),
        lambda: stage.audit.trail("prj_none", "req-1"),
    ):
        with pytest.raises(ProjectNotFound):
            ask()
