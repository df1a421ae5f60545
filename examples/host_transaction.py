"""Your own row and our charge, committed together or not at all.

Run it with `python examples/host_transaction.py`, or name another database, such as `postgresql://…`, that
it may make tables in.
"""

import sys
import tempfile
from pathlib import Path

import sqlalchemy as sa

from neruba_core import Neruba, NerubaError

url = sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{Path(tempfile.mkdtemp(), 'shop.db')}"

# Yours: an engine, a table, a transaction.
shop = sa.create_engine(url)
orders = sa.Table(
    "orders", sa.MetaData(), sa.Column("id", sa.Text, primary_key=True), sa.Column("charge", sa.Text)
)
orders.metadata.create_all(shop)

# Ours: tables beside yours, all named neruba_….
neruba = Neruba.open(url)
acme = neruba.projects.create(name="Acme Production")
neruba.wallets.credit(acme.id, amount="100", description="Launch credit", idempotency_key="credit_1")


def place_order(order_id: str, amount: str, *, then_fail: bool = False) -> None:
    """Insert an order and charge for it, in one transaction of the shop's."""
    with shop.begin() as connection:
        with neruba.join(connection) as billing:
            charged = billing.charges.charge(
                acme.id, amount=amount, description=f"Order {order_id}", idempotency_key=order_id
            )
        connection.execute(orders.insert().values(id=order_id, charge=charged.value.id))
        if then_fail:
            raise RuntimeError("the warehouse is on fire")


def look(what: str) -> None:
    """Print what both sides know."""
    with shop.connect() as connection:
        count = connection.execute(sa.select(sa.func.count()).select_from(orders)).scalar_one()
    print(f"{what}: {count} order(s), balance {neruba.wallets.get(acme.id).balance}")


look("at first")

place_order("order_1", "30")
look("committed together")

try:
    place_order("order_2", "30", then_fail=True)
except RuntimeError as failure:
    look(f"rolled back together ({failure})")

try:
    place_order("order_3", "500")
except NerubaError as refusal:
    look(f"refused together ({refusal.code})")

# The failed order was never charged, so its key is free, and trying again is safe.
place_order("order_2", "30")
look("tried again")
