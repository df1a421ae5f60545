"""The pytest plugin that ships with Neruba: billing logic in a user's own tests.

Installing the package is enough; a test takes the ``billing`` fixture and has an engine to itself.
Nothing heavy is imported before a test asks for it, since pytest loads plugins in every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from neruba_core.testing.builders import Rehearsal
    from neruba_core.testing.clock import SettableClock


@pytest.fixture
def billing_clock() -> SettableClock:
    """
    The clock of the ``billing`` fixture: noon of 17 March 2026 (UTC), until the test moves it.
    """
    from neruba_core.testing.clock import SettableClock

    return SettableClock()


@pytest.fixture
def billing(billing_clock: SettableClock) -> Iterator[Rehearsal]:
    """
    A billing engine in memory, empty, with a clock to move (``billing.clock``) and the same ids in every run.
    """
    from neruba_core.testing.builders import rehearsal

    with rehearsal(clock=billing_clock) as engine:
        yield engine
