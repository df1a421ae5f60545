"""A project whose months are billed."""

from __future__ import annotations

import pytest

from neruba_core.testing.builders import Rehearsal
from tests.core.billing.stage import Months


@pytest.fixture
def acme(billing: Rehearsal) -> Months:
    return Months(billing)
