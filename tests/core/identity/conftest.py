import pytest

from tests.core.identity.stage import Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()
