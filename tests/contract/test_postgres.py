"""PostgreSQL keeps the storage contract, with many writers at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from neruba_core.storage.port import Storage
from neruba_core.storage.sql import SqlStorage
from neruba_core.testing.contract import StorageContract
from neruba_core.testing.postgres import PostgresDatabases, postgres_server

__all__ = ["postgres_server"]

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def database(postgres_server: PostgresDatabases) -> Iterator[SqlStorage]:
    """One migrated database for all tests: each works in projects of its own."""
    url = postgres_server.create_database()
    storage = SqlStorage(url)
    storage.migrate()
    yield storage
    storage.close()
    postgres_server.drop_database(url)


class TestPostgres(StorageContract):
    """Two units may write at the same time, and wait only where a promise makes them."""

    concurrent_writers = True

    @pytest.fixture
    def storage(self, database: SqlStorage) -> Storage:
        return database
