"""PostgreSQL keeps the storage contract, with many writers at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from neruba_core.storage.port import Storage
from neruba_core.storage.sql import SqlStorage
from neruba_core.testing.contract import StorageContract

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def shared(postgres_url: str) -> Iterator[SqlStorage]:
    """One migrated database for all tests: each works in projects of its own."""
    storage = SqlStorage(postgres_url)
    yield storage
    storage.close()


class TestPostgres(StorageContract):
    """Two units may write at the same time, and wait only where a promise makes them."""

    concurrent_writers = True

    @pytest.fixture
    def storage(self, shared: SqlStorage) -> Storage:
        return shared
