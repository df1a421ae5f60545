"""A project that is listened to."""

from __future__ import annotations

import pytest

from neruba_core.testing.builders import Rehearsal
from tests.core.outbox.stage import Heard


@pytest.fixture
def acme(billing: Rehearsal) -> Heard:
    return Heard(billing)
