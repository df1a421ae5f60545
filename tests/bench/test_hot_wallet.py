"""P3: charges on one hot wallet, many in a unit, beside one durable transaction per transfer.

The ceiling is what an application does that moves money one call at a time: on PostgreSQL one PL/pgSQL
call per transfer on one connection, on SQLite one bare transaction per transfer. It locks one row,
appends a transaction and two entries, and commits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neruba_core import Accepted, NewCharge
from tests.bench.conftest import Database
from tests.bench.measure import compare, flush_micros, report

pytestmark = pytest.mark.bench

CHARGES = 500
UNITS = 4
TRANSFERS = 500
TARGET = 5.0

_TABLES = """
CREATE TABLE bare_accounts (name TEXT PRIMARY KEY, balance BIGINT NOT NULL, version BIGINT NOT NULL);
CREATE TABLE bare_transfers (id BIGINT PRIMARY KEY, name TEXT NOT NULL UNIQUE, amount BIGINT NOT NULL);
CREATE TABLE bare_entries (transfer BIGINT NOT NULL REFERENCES bare_transfers, number INT NOT NULL,
                           account TEXT NOT NULL, amount BIGINT NOT NULL, balance BIGINT NOT NULL,
                           PRIMARY KEY (transfer, number));
INSERT INTO bare_accounts VALUES ('wallet', 1000000000000, 0), ('revenue', 0, 0);
"""

_TRANSFER = """
CREATE FUNCTION bare_transfer(key TEXT, moved BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE wallet BIGINT; revenue BIGINT; number BIGINT;
BEGIN
  UPDATE bare_accounts SET balance = balance - moved, version = version + 1 WHERE name = 'wallet'
    RETURNING balance, version INTO wallet, number;
  IF wallet < 0 THEN RAISE EXCEPTION 'insufficient'; END IF;
  UPDATE bare_accounts SET balance = balance + moved, version = version + 1 WHERE name = 'revenue'
    RETURNING balance INTO revenue;
  INSERT INTO bare_transfers VALUES (number, key, moved);
  INSERT INTO bare_entries
    VALUES (number, 0, 'wallet', -moved, wallet), (number, 1, 'revenue', moved, revenue);
  RETURN number;
END $$
"""


def test_many_charges_on_one_wallet_beat_one_call_each(fresh: Callable[[], Database], tmp_path: Path) -> None:
    """
    Sharing a unit of work is worth several times the price of all that we keep besides.
    """
    database, ground = fresh(), fresh()
    project = database.neruba.projects.create(name="Bench")
    database.neruba.wallets.credit(
        project.id, amount="1000000", description="Bench", idempotency_key="credit"
    )
    transfer, connection = _bare(ground)

    def ceiling(turn: int) -> None:
        for number in range(TRANSFERS):
            transfer(f"transfer_{turn}_{number}")

    def work(turn: int) -> None:
        for unit in range(UNITS):
            charges = [
                NewCharge(1_000_000, "GPU second", f"charge_{turn}_{unit}_{number}")
                for number in range(CHARGES)
            ]
            outcomes = database.neruba.charges.charge_many(project.id, charges)
            assert all(isinstance(outcome, Accepted) for outcome in outcomes)

    result = compare(ceiling, work)
    connection.close()

    ratio = result.ratio * CHARGES * UNITS / TRANSFERS
    each = min(result.work_seconds) / CHARGES / UNITS * 1e6
    bare = min(result.ceiling_seconds) / TRANSFERS * 1e6
    report(
        f"P3 {database.name}",
        f"{ratio:.1f} × one call per transfer (target {TARGET})",
        f"{each:.0f} µs a charge, bare {bare:.0f} µs a transfer",
        f"disk flush {flush_micros(str(tmp_path)):.0f} µs",
    )
    assert ratio >= TARGET


def _bare(ground: Database) -> tuple[Callable[[str], None], Any]:
    connection = ground.bare()
    if ground.name == "postgresql":
        connection.execute(_TABLES)
        connection.execute(_TRANSFER)

        def call(key: str) -> None:
            connection.execute("SELECT bare_transfer(%s, %s)", (key, 1_000_000), prepare=True)

        return call, connection
    connection.executescript(_TABLES)

    def transact(key: str) -> None:
        run = connection.execute
        run("BEGIN IMMEDIATE")
        wallet, number = run(
            "UPDATE bare_accounts SET balance = balance - ?, version = version + 1 WHERE name = 'wallet' "
            "RETURNING balance, version",
            (1_000_000,),
        ).fetchone()
        assert wallet >= 0
        (revenue,) = run(
            "UPDATE bare_accounts SET balance = balance + ?, version = version + 1 WHERE name = 'revenue' "
            "RETURNING balance",
            (1_000_000,),
        ).fetchone()
        run("INSERT INTO bare_transfers VALUES (?, ?, ?)", (number, key, 1_000_000))
        run(
            "INSERT INTO bare_entries VALUES (?, 0, 'wallet', ?, ?), (?, 1, 'revenue', ?, ?)",
            (number, -1_000_000, wallet, number, 1_000_000, revenue),
        )
        run("COMMIT")

    return transact, connection
