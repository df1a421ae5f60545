"""What a project consists of, before and after."""

from __future__ import annotations

import copy

from neruba_core.testing.builders import rehearsal
from neruba_core.testing.states import State, state


def test_a_state_is_told_from_what_it_was():
    """
    By anything that is written, and by nothing that is only read.
    """
    neruba = rehearsal()
    project = neruba.projects.create(name="Acme")
    before = state(neruba, project.id)

    neruba.wallets.get(project.id)
    read = state(neruba, project.id)
    neruba.wallets.credit(project.id, amount="1", description="Launch", idempotency_key="one")
    written = state(neruba, project.id)

    assert read == before
    assert written != before
    assert "Launch" in repr(written)


def test_rows_that_say_the_same_are_the_same():
    """
    A store may make its rows anew for each reader.
    """
    neruba = rehearsal()
    project = neruba.projects.create(name="Acme")
    before = state(neruba, project.id)

    again = State(project.id, copy.deepcopy(before.rows))

    assert again.rows[0][1] is not before.rows[0][1]
    assert again == before
    assert State(project.id, []) != before
