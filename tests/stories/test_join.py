"""The host's own row and our charge: both are there, or neither."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, func, select

from neruba_core import Neruba
from neruba_core.errors import InsufficientCredit
from neruba_core.storage.sql import SqlStorage

METADATA = MetaData()
ORDERS = Table("host_orders", METADATA, Column("number", Integer, primary_key=True), Column("item", String))


@pytest.fixture
def neruba(database: SqlStorage) -> Neruba:
    return Neruba(database)


@pytest.fixture
def host(database: SqlStorage):
    """
    The host's own engine on the same database, with a table of its own.
    """
    from sqlalchemy import create_engine

    engine = create_engine(database.engine.url)
    with engine.begin() as connection:
        METADATA.drop_all(connection)
        METADATA.create_all(connection)
    yield engine
    engine.dispose()


@pytest.fixture
def project_id(neruba: Neruba) -> str:
    project = neruba.projects.create(name="Acme")
    neruba.wallets.credit(project.id, amount="100", description="Launch", idempotency_key="c")
    return project.id


def order(connection: Connection, neruba: Neruba, project_id: str, number: int, amount: str = "10") -> None:
    """A row of the host's, and its charge."""
    connection.execute(ORDERS.insert().values(number=number, item="GPU hour"))
    with neruba.join(connection) as joined:
        joined.charges.charge(
            project_id, amount=amount, description="GPU hour", idempotency_key=f"order-{number}"
        )


def orders(host: Engine) -> int:
    with host.connect() as connection:
        return connection.execute(select(func.count()).select_from(ORDERS)).scalar_one()


def test_both_are_committed_together(host, neruba, project_id):
    """
    When the host commits, and not before.
    """
    with host.begin() as connection:
        order(connection, neruba, project_id, 1)
        order(connection, neruba, project_id, 2)

    assert orders(host) == 2
    assert str(neruba.wallets.get(project_id).balance) == "80.000000"
    assert neruba.ledger.sweep(project_id).balanced


def test_both_are_rolled_back_together(host, neruba, project_id):
    """
    The host's failure undoes the charge, and a second attempt is the first.
    """

    def fails() -> None:
        with host.begin() as connection:
            order(connection, neruba, project_id, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert orders(host) == 0
    assert str(neruba.wallets.get(project_id).balance) == "100.000000"

    with host.begin() as connection:
        order(connection, neruba, project_id, 1)

    assert orders(host) == 1
    assert str(neruba.wallets.get(project_id).balance) == "90.000000"


def test_a_refusal_leaves_the_host_its_transaction(host, neruba, project_id):
    """
    The host may go on and commit; the refusal that belongs to the key is kept with it.
    """
    with host.begin() as connection:
        order(connection, neruba, project_id, 1)
        with pytest.raises(InsufficientCredit), neruba.join(connection) as joined:
            joined.charges.charge(project_id, amount="1000", description="x", idempotency_key="big")
        connection.execute(ORDERS.insert().values(number=2, item="on account"))

    assert orders(host) == 2
    assert str(neruba.wallets.get(project_id).balance) == "90.000000"


def test_what_is_undone_in_a_joined_part_leaves_the_rest(host, neruba, project_id):
    """
    A joined unit is a savepoint of the host's transaction.
    """

    def fails(connection: Connection) -> None:
        with neruba.join(connection) as joined:
            joined.charges.charge(project_id, amount="5", description="x", idempotency_key="undone")
            raise ZeroDivisionError

    with host.begin() as connection:
        order(connection, neruba, project_id, 1)
        with pytest.raises(ZeroDivisionError):
            fails(connection)
        order(connection, neruba, project_id, 2)

    assert orders(host) == 2
    assert str(neruba.wallets.get(project_id).balance) == "80.000000"


def test_the_host_sees_what_it_has_done(host, neruba, project_id):
    """
    Others do not, until it commits.
    """
    with host.begin() as connection:
        order(connection, neruba, project_id, 1)
        with neruba.join(connection) as joined:
            inside = str(joined.wallets.get(project_id).balance)
        outside = str(neruba.wallets.get(project_id).balance)

    assert (inside, outside) == ("90.000000", "100.000000")
