"""A database without our schema, of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from neruba_core.storage.sql.engine import normalised


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """
    The URL of a database in which there is nothing yet.
    """
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server = request.getfixturevalue("postgres_server")
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture
def host(empty_url: str) -> Iterator[Engine]:
    """
    A host's own engine on it, with the driver's ordinary settings.
    """
    engine = create_engine(normalised(empty_url))
    yield engine
    engine.dispose()
