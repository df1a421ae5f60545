"""The table of outcomes, row by row, at the façade."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from attrs import asdict, frozen

from neruba_core.errors import (
    ChargeConflict,
    InsufficientCredit,
    KeyInvalid,
    KeyReused,
    ProjectArchived,
    ProjectNotFound,
    ReversalExceedsOriginal,
    UsageConflict,
)
from neruba_core.idempotency.outcomes import Accepted, Deduplicated, Replayed
from neruba_core.storage.export import export
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.clock import NOON


@frozen
class Write:
    """A write, and how to make it another request."""

    send: Callable[..., Any]
    other: dict[str, Any]


@pytest.fixture
def project_id(billing: Rehearsal) -> str:
    return billing.projects.create(name="Acme", credit_limit="1000").id


@pytest.fixture(params=["usage", "charge", "credit", "debit", "reverse"])
def write(request: pytest.FixtureRequest, billing: Rehearsal, project_id: str) -> Write:
    """
    Each write that ingests or moves money.
    """

    def usage(key: str = "k1", **changes: Any) -> Any:
        new = {"metric_key": "tokens", "units": "5", "timestamp": NOON, **changes}
        return billing.usage.record(project_id, idempotency_key=key, **new)

    def charge(key: str = "k1", **changes: Any) -> Any:
        new = {"amount": "5", "description": "GPU", **changes}
        return billing.charges.charge(project_id, idempotency_key=key, **new)

    def credit(key: str = "k1", **changes: Any) -> Any:
        new = {"amount": "5", "description": "Launch", **changes}
        return billing.wallets.credit(project_id, idempotency_key=key, **new)

    def debit(key: str = "k1", **changes: Any) -> Any:
        new = {"amount": "5", "description": "Correction", **changes}
        return billing.wallets.debit(project_id, idempotency_key=key, **new)

    if request.param == "reverse":
        original = charge("original", amount="50").value.id

    def reverse(key: str = "k1", **changes: Any) -> Any:
        new = {"transaction_id": original, "amount": "5", "reason": "mistake", **changes}
        return billing.wallets.reverse(project_id, idempotency_key=key, **new)

    writes = {
        "usage": Write(usage, {"units": "6"}),
        "charge": Write(charge, {"amount": "6"}),
        "credit": Write(credit, {"amount": "6"}),
        "debit": Write(debit, {"description": "Another"}),
        "reverse": Write(reverse, {"reason": "another"}),
    }
    return writes[request.param]


def state(billing: Rehearsal, project_id: str) -> list[str]:
    with billing._context.storage.snapshot() as work:
        return list(export(work, project_id))


def tally(billing: Rehearsal, project_id: str) -> dict[str, int]:
    counts = asdict(billing.audit.totals(project_id))
    return {name: count for name, count in counts.items() if count and isinstance(count, int)}


def test_the_first_time_has_the_effect(write):
    """
    Accepted, with what was made.
    """
    outcome = write.send()

    assert isinstance(outcome, Accepted)
    assert outcome.name == "accepted"


def test_the_same_request_is_replayed(write, billing, project_id):
    """
    The same answer, however much later, and nothing is doubled.
    """
    first = write.send()
    billing.clock.advance(days=400)
    after = state(billing, project_id)

    again = write.send()

    assert isinstance(again, Replayed)
    assert again.value == first.value
    assert state(billing, project_id) == after


def test_another_request_under_the_key_is_a_conflict(write, billing, project_id):
    """
    Refused, with nothing changed; the first answer stays.
    """
    write.send()
    after = state(billing, project_id)

    with pytest.raises(KeyReused) as refused:
        write.send(**write.other)

    assert refused.value.idempotency_key == "k1"
    assert state(billing, project_id) == after
    assert isinstance(write.send(), Replayed)


def test_another_key_is_another_write(write):
    """
    A key is the identity of a write, not its content.
    """
    write.send()

    assert isinstance(write.send("k2"), Accepted)


def test_a_malformed_key_is_refused_and_changes_nothing(write, billing, project_id):
    """
    Before anything is looked at.
    """
    before = state(billing, project_id)

    for key in ("", "two words", "é", "k" * 256):
        with pytest.raises(KeyInvalid):
            write.send(key)

    assert state(billing, project_id) == before


def test_an_archived_project_replays_and_takes_nothing_new(write, billing, project_id):
    """
    A retry is still answered as it was.
    """
    write.send()
    billing.projects.archive(project_id)
    before = state(billing, project_id)

    with pytest.raises(ProjectArchived):
        write.send("k2")

    assert isinstance(write.send(), Replayed)
    assert state(billing, project_id) == before


def test_a_failed_validation_does_not_burn_the_key(write):
    """
    The corrected request may use it.
    """
    field = "units" if "units" in write.other else "amount"
    with pytest.raises(Exception, match="not a plain decimal"):
        write.send(**{field: "1e3"})

    assert isinstance(write.send(), Accepted)


def test_operations_do_not_share_keys(billing, project_id):
    """
    The scope of a key is the project and the operation.
    """
    made = [
        billing.wallets.credit(project_id, amount="5", description="x", idempotency_key="k"),
        billing.wallets.debit(project_id, amount="5", description="x", idempotency_key="k"),
        billing.charges.charge(project_id, amount="5", description="x", idempotency_key="k"),
        billing.usage.record(project_id, metric_key="m", units="5", timestamp=NOON, idempotency_key="k"),
    ]

    assert all(isinstance(outcome, Accepted) for outcome in made)


def test_projects_do_not_share_keys(billing):
    """
    Nor events.
    """
    projects = [billing.projects.create(name=name, credit_limit="9").id for name in "AB"]

    made = [
        billing.charges.charge(each, amount="5", description="x", idempotency_key="k") for each in projects
    ]

    assert all(isinstance(outcome, Accepted) for outcome in made)


# --- events ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", ["usage", "charge"], indirect=True)
class TestEvents:
    """What has an event id besides its key."""

    def test_the_same_event_under_another_key_is_deduplicated(self, write, billing, project_id):
        """
        With the original, and the new key stays free.
        """
        first = write.send("k1", event_id="e1")
        after = state(billing, project_id)

        again = write.send("k2", event_id="e1")

        assert isinstance(again, Deduplicated)
        assert again.value == first.value
        assert state(billing, project_id) == after
        assert isinstance(write.send("k2", event_id="e2"), Accepted)

    def test_the_same_event_with_other_content_is_a_conflict(self, write, billing, project_id):
        """
        Refused, with nothing changed but the record of it.
        """
        write.send("k1", event_id="e1")
        after = state(billing, project_id)

        with pytest.raises((UsageConflict, ChargeConflict)) as refused:
            write.send("k2", event_id="e1", **write.other)

        assert refused.value.facts() == {"event_id": "e1"}
        assert state(billing, project_id) == after

    def test_the_event_id_defaults_to_the_key(self, write):
        """
        So the key of one attempt, sent as the event of another, is met.
        """
        write.send("k1")

        assert isinstance(write.send("k2", event_id="k1"), Deduplicated)

    def test_a_key_met_as_an_event_default_is_met_too(self, write):
        """
        The other way round: an event that was named, then a key of that name.
        """
        write.send("k1", event_id="e1")

        assert isinstance(write.send("e1"), Deduplicated)

    def test_the_key_is_judged_before_the_event(self, write):
        """
        A reused key is reported as that, whatever its event.
        """
        write.send("k1", event_id="e1")
        write.send("k2", event_id="e2")

        with pytest.raises(KeyReused):
            write.send("k1", event_id="e2")

    def test_every_attempt_is_counted_once(self, write, billing, project_id):
        """
        And all but plain success and replay can be listed with their reason.
        """
        write.send("k1", event_id="e1")
        write.send("k1", event_id="e1")
        write.send("k2", event_id="e1")
        for changes in ({"key": "k1"}, {"key": "k3", "event_id": "e1"}):
            with pytest.raises((KeyReused, UsageConflict, ChargeConflict)):
                write.send(**changes, **write.other)

        listed = billing.audit.attempts(project_id).items

        assert tally(billing, project_id) == {"accepted": 1, "replayed": 1, "deduped": 1, "conflict": 2}
        assert [attempt.outcome.value for attempt in listed] == ["conflict", "conflict", "deduped"]
        assert [attempt.idempotency_key for attempt in listed] == ["k3", "k1", "k2"]
        assert all(attempt.content for attempt in listed)
        assert listed[0].message is not None
        assert "'e1'" in listed[0].message


# --- stored refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize("write", ["charge", "debit"], indirect=True)
def test_a_402_is_stored_for_its_key(write, billing, project_id):
    """
    A late duplicate must not suddenly succeed; another request under the key is a conflict.
    """
    billing.projects.update(project_id, credit_limit="4.5")
    with pytest.raises(InsufficientCredit) as first:
        write.send()
    billing.wallets.credit(project_id, amount="100", description="Top-up", idempotency_key="c")

    with pytest.raises(InsufficientCredit) as again:
        write.send()
    with pytest.raises(KeyReused):
        write.send(**write.other)

    assert first.value.available == again.value.available == "4.500000"
    assert isinstance(write.send("k2"), Accepted)


@pytest.mark.parametrize("write", ["charge"], indirect=True)
def test_a_402_binds_no_event(write, billing, project_id):
    """
    A new attempt takes a new key and keeps its event.
    """
    billing.projects.update(project_id, credit_limit="0")
    with pytest.raises(InsufficientCredit):
        write.send("k1", event_id="e1")
    billing.projects.update(project_id, credit_limit="10")

    again = write.send("k2", event_id="e1")

    assert isinstance(again, Accepted)
    assert tally(billing, project_id) == {"accepted": 1, "rejected": 1}
    with pytest.raises(InsufficientCredit):
        write.send("k1", event_id="e1")
    assert tally(billing, project_id) == {"accepted": 1, "rejected": 1, "replayed": 1}


def test_other_refusals_are_not_stored(billing, project_id):
    """
    A reversal that was too much may come again, smaller or later, under its key.
    """
    charge = billing.charges.charge(project_id, amount="5", description="x", idempotency_key="c").value

    def reverse(amount: str) -> Any:
        return billing.wallets.reverse(project_id, charge.id, reason="x", amount=amount, idempotency_key="r")

    with pytest.raises(ReversalExceedsOriginal):
        reverse("6")

    assert isinstance(reverse("5"), Accepted)


def test_an_unknown_project_is_refused_everywhere(billing):
    """
    And leaves no trace anywhere.
    """
    with pytest.raises(ProjectNotFound):
        billing.charges.charge("prj_none", amount="5", description="x", idempotency_key="k")
    with pytest.raises(ProjectNotFound):
        billing.usage.record("prj_none", metric_key="m", units="5", timestamp=NOON, idempotency_key="k")
    with pytest.raises(ProjectNotFound):
        billing.billing.overview("prj_none")

    assert billing.projects.list().items == ()


def test_the_body_of_a_replay_is_the_body_that_was_sent(billing, project_id):
    """
    Byte for byte: what it is made of is stored, and with which version.
    """
    charge = {"amount": "5", "description": "GPU ☃", "metadata": {"b": 1, "a": True}, "idempotency_key": "k"}
    first = billing.charges.charge(project_id, **charge).value

    again = billing.charges.charge(project_id, **charge).value

    assert again.body == first.body
    assert '"metadata":{"a":true,"b":1}' in first.body
    assert '"description":"GPU ☃"' in first.body
    assert first.effective_at == datetime(2026, 3, 17, 12, tzinfo=UTC)
