"""Writes whose own row does not carry the answer."""

from __future__ import annotations

import pytest

from neruba_core.errors import ExternalKeyTaken, KeyInProgress, KeyInvalid, KeyReused
from neruba_core.idempotency.once import Made, once
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.clock import NOON


def create(billing: Rehearsal, key: str | None, name: str = "Acme", **body):
    def act(neruba):
        project = neruba.projects.create(name=name, external_key=name)
        return Made(f'{{"id":"{project.id}","secret":"s"}}', f'{{"id":"{project.id}"}}', project.id)

    return billing.once(
        act,
        scope_id="usr_1",
        operation="projects.create",
        path="/projects",
        body={"name": name, **body},
        idempotency_key=key,
    )


def test_the_first_time_acts_and_later_times_replay(billing):
    """
    A retry after a timeout still means one project; a secret is not told twice.
    """
    first = create(billing, "k1")
    again = create(billing, "k1")

    assert not first.replayed
    assert again.replayed
    assert "secret" in first.body
    assert "secret" not in again.body
    assert len(billing.projects.list().items) == 1


def test_another_request_under_the_key_is_refused(billing):
    """
    Or the client would take one project for another.
    """
    create(billing, "k1")

    with pytest.raises(KeyReused):
        create(billing, "k1", name="Other")

    assert len(billing.projects.list().items) == 1


def test_without_a_key_each_call_acts(billing):
    """
    The header is optional where nothing is ingested and no money moves.
    """
    create(billing, None, name="A")
    create(billing, None, name="B")

    assert len(billing.projects.list().items) == 2


def test_a_failed_act_does_not_burn_the_key(billing):
    """
    What changed nothing is not stored.
    """
    create(billing, None)
    with pytest.raises(ExternalKeyTaken):
        create(billing, "k1")

    assert not create(billing, "k1", name="Free").replayed


def test_a_malformed_key_is_refused(billing):
    """
    Before anything is done.
    """
    with pytest.raises(KeyInvalid):
        create(billing, "two words")

    assert billing.projects.list().items == ()


def test_a_key_in_flight_elsewhere_is_told_to_wait():
    """
    Two units cannot both find out first.
    """

    class Held:
        class idempotency:
            @staticmethod
            def held_elsewhere(keys):
                return set(keys)

    with pytest.raises(KeyInProgress) as caught:
        once(
            Held,  # type: ignore[arg-type]
            lambda: Made("", "", None),
            scope_id="usr_1",
            operation="projects.create",
            path="/projects",
            body={},
            idempotency_key="k1",
            request_id=None,
            at=NOON,
        )

    assert caught.value.retry_after_seconds == 1
