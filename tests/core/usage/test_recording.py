"""Recording usage, one by one and many at once."""

from __future__ import annotations

import json
from datetime import timedelta
from operator import attrgetter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_core.audit.model import Origin
from neruba_core.errors import (
    FormatInvalid,
    InstantInvalid,
    ProjectArchived,
    ProjectNotFound,
    TextInvalid,
    TimestampInFuture,
    TimestampTooOld,
    UsageNotFound,
)
from neruba_core.idempotency.outcomes import Accepted, Conflict, Deduplicated, Quarantined, Rejected, Replayed
from neruba_core.testing.builders import Rehearsal, rehearsal
from neruba_core.testing.clock import NOON
from neruba_core.usage.answer import render
from neruba_core.usage.model import NewUsage


@pytest.fixture
def project_id(billing: Rehearsal) -> str:
    return billing.projects.create(name="Acme").id


def event(key: str = "k1", **changes: Any) -> dict[str, Any]:
    return {"metric_key": "tokens", "units": "5", "timestamp": NOON, "idempotency_key": key, **changes}


def names(outcomes: Any) -> list[str]:
    return [outcome.name.value for outcome in outcomes]


def explained(billing: Rehearsal, project_id: str) -> list[Any]:
    """What support can read of the attempts that were not plainly accepted, in whatever order."""
    attempts = billing.audit.attempts(project_id, limit=100).items
    told = attrgetter("outcome", "code", "message", "idempotency_key", "event_id", "metric_key", "content")
    return sorted(map(told, attempts), key=repr)


def tally(billing: Rehearsal, project_id: str) -> list[int]:
    totals = billing.audit.totals(project_id)
    return [
        totals.accepted,
        totals.replayed,
        totals.deduped,
        totals.conflict,
        totals.quarantined,
        totals.rejected,
    ]


def test_an_event_is_kept_as_it_was_sent(billing, project_id):
    """
    With who sent it, and when it came.
    """
    origin = Origin("key:key_1", "req-1")

    made = billing.usage.record(project_id, **event(properties={"region": "eu"}), origin=origin).value

    assert billing.usage.get(project_id, made.id) == made
    assert (made.event_id, made.units_micros, made.late) == ("k1", 5_000_000, False)
    assert (made.actor, made.request_id, made.received_at) == ("key:key_1", "req-1", NOON)
    assert json.loads(render(made)) == {
        "id": made.id,
        "projectId": project_id,
        "metricKey": "tokens",
        "units": "5.000000",
        "timestamp": "2026-03-17T12:00:00.000000Z",
        "eventId": "k1",
        "properties": {"region": "eu"},
        "receivedAt": "2026-03-17T12:00:00.000000Z",
        "late": False,
    }


def test_an_open_project_declares_a_metric_on_sight(billing, project_id):
    """
    As a sum, until told otherwise.
    """
    billing.usage.record(project_id, **event())

    (metric,) = billing.metrics.list(project_id)
    assert (metric.key, metric.aggregation, metric.auto_declared) == ("tokens", "sum", True)


@pytest.mark.parametrize("changes", [{}, {"key": "k2", "event_id": "k1"}], ids=["key", "event"])
def test_a_conflict_declares_nothing(billing, project_id, changes):
    """
    A refused event leaves no metric behind.
    """
    billing.usage.record(project_id, **event())

    (outcome,) = billing.usage.record_many(
        project_id, [event(**{"key": "k1", **changes}, metric_key="other")]
    )

    assert isinstance(outcome, Conflict)
    assert [metric.key for metric in billing.metrics.list(project_id)] == ["tokens"]


@pytest.mark.parametrize("key", ["k1", "k2"])
def test_a_conflict_is_kept_with_both_contents(billing, project_id, key):
    """
    Support sees what was sent and what it collided with, whether the key or the event was taken.
    """
    first = billing.usage.record(project_id, **event(event_id="e")).value

    billing.usage.record_many(project_id, [event(key, event_id="e", units="6")])

    (attempt,) = billing.audit.attempts(project_id).items
    assert '"units":"6.000000"' in attempt.content
    assert (attempt.subject_id, attempt.prior) == (first.id, render(first))


def test_timestamps_are_bounded(billing, project_id):
    """
    Five minutes ahead for clocks that differ; as far back as the project allows.
    """
    minutes = timedelta(minutes=1)
    billing.usage.record(project_id, **event("ahead", timestamp=NOON + 5 * minutes))
    billing.usage.record(
        project_id, **event("long ago", timestamp=NOON.replace(year=1970)) | {"idempotency_key": "old"}
    )
    billing.projects.update(project_id, max_backdate_days=3)
    billing.usage.record(project_id, **event("edge", timestamp=NOON - timedelta(days=3)))

    with pytest.raises(TimestampInFuture):
        billing.usage.record(
            project_id, **event("k1", timestamp=NOON + 5 * minutes + timedelta(microseconds=1))
        )
    with pytest.raises(TimestampTooOld) as refused:
        billing.usage.record(project_id, **event("k2", timestamp=NOON - timedelta(days=3, microseconds=1)))

    assert refused.value.max_backdate_days == 3
    assert tally(billing, project_id) == [3, 0, 0, 0, 0, 2]


def test_a_retry_is_recognised_even_when_it_would_no_longer_be_accepted(billing, project_id):
    """
    Key first, fitness last.
    """
    first = billing.usage.record(project_id, **event())
    billing.projects.update(project_id, max_backdate_days=1)
    billing.clock.advance(days=30)

    again = billing.usage.record(project_id, **event())

    assert isinstance(again, Replayed)
    assert again.value == first.value


def test_a_batch_judges_each_event_alone(billing, project_id):
    """
    A bad one never harms its neighbours, and each keeps its place.
    """
    billing.usage.record(project_id, **event("known", event_id="e0"))

    outcomes = billing.usage.record_many(
        project_id,
        [
            event("a"),
            event("known", event_id="e0"),
            event("b", event_id="e0"),
            event("known", units="6"),
            event("c", event_id="e0", units="6"),
            event("d", timestamp=NOON + timedelta(days=1)),
            event("e", units=1.5),
            event("two words"),
            event("f", unheard_of=1),
            {"metric_key": "tokens"},
            event("g", timestamp="2026-03-17"),
            NewUsage.of(**event("h")),
        ],
    )

    assert names(outcomes) == [
        "accepted",
        "replayed",
        "deduped",
        "conflict",
        "conflict",
        "rejected",
        "rejected",
        "rejected",
        "rejected",
        "rejected",
        "rejected",
        "accepted",
    ]
    assert isinstance(outcomes[8].error, FormatInvalid)
    assert isinstance(outcomes[10].error, InstantInvalid)
    assert tally(billing, project_id) == [3, 1, 1, 2, 0, 6]


def test_equals_within_a_batch_are_judged_against_the_first(billing, project_id):
    """
    As if they had come one after the other.
    """
    outcomes = billing.usage.record_many(
        project_id,
        [
            event("a", event_id="e"),
            event("a", event_id="e"),
            event("b", event_id="e"),
            event("a", units="6", event_id="e"),
            event("c", units="6", event_id="e"),
            event("c", event_id="f"),
        ],
    )

    assert names(outcomes) == ["accepted", "replayed", "deduped", "conflict", "conflict", "accepted"]
    assert outcomes[1].value == outcomes[2].value == outcomes[0].value


sends = st.lists(
    st.builds(
        lambda key, name, units, metric, ahead: event(
            key,
            event_id=name,
            units=units,
            metric_key=metric,
            timestamp=NOON + timedelta(days=1) if ahead else NOON,
        ),
        st.sampled_from("abc"),
        st.none() | st.sampled_from("abx"),
        st.integers(1, 2),
        st.sampled_from(["tokens", "requests"]),
        st.sampled_from([False, False, False, True]),
    ),
    max_size=10,
)


@given(sends, sends)
def test_a_batch_comes_to_what_its_events_come_to_one_by_one(before, batch):
    """
    Bulk is a matter of speed alone.
    """
    at_once, one_by_one = rehearsal(), rehearsal()
    for engine in (at_once, one_by_one):
        engine.projects.create(name="Acme")
        engine.usage.record_many(engine.projects.list().items[0].id, before)
    project_id = at_once.projects.list().items[0].id

    together = at_once.usage.record_many(project_id, batch)
    apart = [one_by_one.usage.record_many(project_id, [single])[0] for single in batch]

    assert names(together) == names(apart)
    assert tally(at_once, project_id) == tally(one_by_one, project_id)
    assert explained(at_once, project_id) == explained(one_by_one, project_id)
    assert [metric.key for metric in at_once.metrics.list(project_id)] == [
        metric.key for metric in one_by_one.metrics.list(project_id)
    ]
    assert sum(tally(at_once, project_id)) == len(before) + len(batch)


def test_events_of_an_unknown_project_are_rejected_one_by_one(billing):
    """
    None is raised, even if some cannot be read.
    """
    outcomes = billing.usage.record_many("prj_none", [event(), event("two words")])

    assert names(outcomes) == ["rejected", "rejected"]
    assert isinstance(outcomes[0].error, ProjectNotFound)


def test_no_events_are_no_work(billing, project_id):
    """
    An empty batch has no outcomes.
    """
    assert billing.usage.record_many(project_id, []) == []
    assert tally(billing, project_id) == [0, 0, 0, 0, 0, 0]


# --- voids ----------------------------------------------------------------------------------------


def test_a_voided_event_counts_no_more_and_stays(billing, project_id):
    """
    Again gives the first void.
    """
    made = billing.usage.record(project_id, **event()).value

    first = billing.usage.void(project_id, made.id, reason="sent twice")
    billing.clock.advance(days=1)
    again = billing.usage.void(project_id, made.id, reason="another reason")

    assert (first.first, again.first) == (True, False)
    assert again.void == first.void
    assert again.void.voided_at == NOON
    assert billing.usage.voids(project_id, [made.id, "use_none"]) == {made.id: first.void}
    assert billing.usage.get(project_id, made.id) == made
    assert billing.billing.overview(project_id).usage == ()


def test_a_void_frees_nothing(billing, project_id):
    """
    Key and event stay taken; a correction takes a new event id.
    """
    made = billing.usage.record(project_id, **event()).value
    billing.usage.void(project_id, made.id, reason="wrong")

    assert isinstance(billing.usage.record(project_id, **event()), Replayed)
    assert isinstance(billing.usage.record(project_id, **event("k2", event_id="k1")), Deduplicated)
    assert isinstance(billing.usage.record(project_id, **event("k3", units="4")), Accepted)


def test_what_cannot_be_voided_is_refused(billing, project_id):
    """
    A foreign event like one that does not exist.
    """
    made = billing.usage.record(project_id, **event()).value
    other = billing.projects.create(name="Other").id

    with pytest.raises(UsageNotFound):
        billing.usage.void(other, made.id, reason="x")
    with pytest.raises(UsageNotFound):
        billing.usage.get(other, made.id)
    with pytest.raises(ProjectNotFound):
        billing.usage.void("prj_none", made.id, reason="x")
    with pytest.raises(TextInvalid):
        billing.usage.void(project_id, made.id, reason="\x00")
    billing.projects.archive(project_id)
    with pytest.raises(ProjectArchived):
        billing.usage.void(project_id, made.id, reason="x")

    assert billing.usage.voids(project_id, [made.id]) == {}


# --- strict projects ------------------------------------------------------------------------------


@pytest.fixture
def strict(billing: Rehearsal) -> str:
    project_id = billing.projects.create(name="Strict").id
    billing.projects.update(project_id, metric_policy="strict")
    return project_id


def test_an_unknown_metric_waits_in_quarantine(billing, strict):
    """
    Nothing is billed, and a repetition is the same row.
    """
    first = billing.usage.record(strict, **event())
    again = billing.usage.record(strict, **event())
    other = billing.usage.record(strict, **event(units="6"))

    assert isinstance(first, Quarantined)
    assert first.value.reason == "no metric of this key is declared"
    assert again.value.id == first.value.id != other.value.id
    assert billing.usage.events(strict).items == ()
    assert billing.metrics.list(strict) == ()
    assert tally(billing, strict) == [0, 0, 0, 0, 3, 0]


def test_support_replays_what_has_been_fixed(billing, strict):
    """
    Under the original key and event id, so that nothing doubles.
    """
    waiting = billing.usage.record(strict, **event(event_id="e1")).value
    billing.metrics.declare(strict, key="tokens")

    outcome = billing.usage.replay_quarantined(strict, waiting.id)

    assert isinstance(outcome, Accepted)
    assert (outcome.value.idempotency_key, outcome.value.event_id) == ("k1", "e1")
    assert isinstance(billing.usage.record(strict, **event(event_id="e1")), Replayed)
    with pytest.raises(Exception, match="is replayed already"):
        billing.usage.replay_quarantined(strict, waiting.id)


def test_a_replay_that_would_wait_again_is_refused(billing, strict):
    """
    And says what is still wrong.
    """
    waiting = billing.usage.record(strict, **event()).value

    with pytest.raises(Exception, match="quarantined again: no metric"):
        billing.usage.replay_quarantined(strict, waiting.id)

    assert tally(billing, strict) == [0, 0, 0, 0, 1, 0]


def test_a_resend_supersedes_what_waits(billing, strict):
    """
    Accepted once, it cannot be replayed as well.
    """
    waiting = billing.usage.record(strict, **event()).value
    billing.metrics.declare(strict, key="tokens")

    resent = billing.usage.record(strict, **event())

    assert isinstance(resent, Accepted)
    with pytest.raises(Exception, match="is superseded already"):
        billing.usage.replay_quarantined(strict, waiting.id)


@pytest.mark.parametrize("key", ["k1", "k2"])
def test_a_replay_of_what_was_recorded_meanwhile_closes_the_row(billing, strict, key):
    """
    Under its own key in an open project, or under another key with the same event.
    """
    waiting = billing.usage.record(strict, **event(event_id="e1")).value
    billing.projects.update(strict, metric_policy="open")
    billing.usage.record(strict, **event(key, event_id="e1"))

    outcome = billing.usage.replay_quarantined(strict, waiting.id)

    assert isinstance(outcome, Replayed if key == "k1" else Deduplicated)
    with pytest.raises(Exception, match="is superseded already"):
        billing.usage.discard_quarantined(strict, waiting.id)


def test_support_gives_an_event_up(billing, strict):
    """
    It is kept, and can no longer be replayed; the trail says who did it.
    """
    waiting = billing.usage.record(strict, **event()).value

    billing.usage.discard_quarantined(strict, waiting.id, origin=Origin("user:usr_1"))

    with pytest.raises(Exception, match="is discarded already"):
        billing.usage.replay_quarantined(strict, waiting.id)
    change = billing.audit.changes(strict).items[0]
    assert (change.action, change.subject, change.actor) == (
        "quarantine.discarded",
        waiting.id,
        "user:usr_1",
    )


def test_quarantine_of_others_or_of_the_archived_is_refused(billing, strict):
    """
    An archived project takes no more writes.
    """
    waiting = billing.usage.record(strict, **event()).value
    other = billing.projects.create(name="Other").id
    with pytest.raises(Exception, match="no quarantined event"):
        billing.usage.replay_quarantined(other, waiting.id)
    with pytest.raises(Exception, match="no quarantined event"):
        billing.usage.discard_quarantined(other, waiting.id)

    billing.projects.archive(strict)

    for support in (billing.usage.replay_quarantined, billing.usage.discard_quarantined):
        with pytest.raises(ProjectArchived):
            support(strict, waiting.id)


def test_a_batch_accepts_and_quarantines_side_by_side(billing, strict):
    """
    And a fit event supersedes the misfit that came before it under its key.
    """
    billing.metrics.declare(strict, key="tokens")

    outcomes = billing.usage.record_many(
        strict, [event("a", metric_key="unknown"), event("a"), event("b", metric_key="unknown")]
    )

    assert names(outcomes) == ["quarantined", "accepted", "quarantined"]
    with pytest.raises(Exception, match="is superseded already"):
        billing.usage.discard_quarantined(strict, outcomes[0].value.id)
    assert isinstance(outcomes[2], Quarantined)
    assert not isinstance(outcomes[2], Rejected)
