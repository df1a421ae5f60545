"""A project that is billed, and what is paid."""

from __future__ import annotations

import pytest

from neruba_core.testing.builders import Rehearsal
from tests.core.payments.stage import Till


@pytest.fixture
def acme(billing: Rehearsal) -> Till:
    return Till(billing)
