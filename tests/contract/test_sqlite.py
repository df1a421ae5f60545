"""SQLite keeps the storage contract, in a file and in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from neruba_core.storage.port import Storage
from neruba_core.storage.sql import SqlStorage
from neruba_core.testing.contract import StorageContract


@pytest.fixture(scope="module")
def in_a_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStorage]:
    """One migrated file for all tests, flushed to disk on every commit as in production."""
    storage = SqlStorage(f"sqlite:///{tmp_path_factory.mktemp('contract') / 'neruba.db'}")
    storage.migrate()
    yield storage
    storage.close()


@pytest.fixture(scope="module")
def in_memory() -> Iterator[SqlStorage]:
    """One database without a file, whose only connection all threads share."""
    storage = SqlStorage("sqlite://")
    storage.migrate()
    yield storage
    storage.close()


class TestSqliteFile(StorageContract):
    """One writer at a time, beside any number of readers."""

    @pytest.fixture
    def storage(self, in_a_file: SqlStorage) -> Storage:
        return in_a_file


class TestSqliteInMemory(StorageContract):
    """One unit at a time, whether it reads or writes."""

    @pytest.fixture
    def storage(self, in_memory: SqlStorage) -> Storage:
        return in_memory
