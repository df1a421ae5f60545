"""The schema that the migrations make is the one that the stores use, and it guards itself."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, Index, MetaData, UniqueConstraint, exc, inspect, text

from neruba_core.audit.model import Tally
from neruba_core.storage.sql import SqlStorage
from neruba_core.storage.sql.columns import METADATA
from neruba_core.storage.sql.invoices import INVOICES
from neruba_core.testing.contract import samples

# Whoever reflects our tables gets this warning; only these tests do.
pytestmark = pytest.mark.filterwarnings("ignore:Did not recognize type 'xid8'")

GLOBAL = {
    "neruba_users",
    "neruba_sessions",
    "neruba_spent_refresh_tokens",
    "neruba_throttles",
    "neruba_access_keys",
    "neruba_answers",
    "neruba_shared_prices",
    "neruba_plans",
    "neruba_jobs",
    "neruba_leases",
    "neruba_provider_events",
    "neruba_shared_metrics",
    "neruba_platform_keys",
}
"""The tables that belong to no one project, or are found without it."""

APPEND_ONLY = [
    "neruba_transactions",
    "neruba_entries",
    "neruba_grants",
    "neruba_usage_events",
    "neruba_usage_voids",
    "neruba_changes",
    "neruba_attempts",
    "neruba_tallies",
    "neruba_answers",
    "neruba_prices",
    "neruba_shared_prices",
    "neruba_plans",
    "neruba_subscription_decisions",
    "neruba_runs",
    "neruba_invoice_periods",
    "neruba_invoice_pdfs",
]


@pytest.fixture
def migrated(empty_url: str, host: Engine) -> Engine:
    storage = SqlStorage(empty_url)
    storage.migrate()
    storage.close()
    return host


def tables_for(dialect: str) -> MetaData:
    """The table definitions as *dialect* has them."""
    ours = MetaData()
    for table in METADATA.sorted_tables:
        copy = table.to_metadata(ours)
        # The copies of indexes forget what they are for.
        foreign = {_shape(index) for index in table.indexes if index.info.get("dialect", dialect) != dialect}
        for index in list(copy.indexes):
            if _shape(index) in foreign:
                copy.indexes.remove(index)
        for column in list(copy.columns):
            if column.info.get("dialect", dialect) != dialect:
                copy._columns.remove(column)
    return ours


def _shape(index: Index) -> tuple[Any, ...]:
    return index.name, *index.columns.keys()


def test_the_migrated_schema_is_the_one_in_the_table_definitions(migrated):
    """
    Alembic, asked what it would change, answers: nothing.
    """
    with migrated.connect() as connection:
        options = {
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or name != "neruba_schema",
        }
        context = MigrationContext.configure(connection, opts=options)

        differences = compare_metadata(context, tables_for(connection.dialect.name))

    assert differences == []


def test_alembic_would_see_a_difference(migrated):
    """
    The proof that the test before this one proves something.
    """
    with migrated.begin() as connection:
        connection.execute(text("ALTER TABLE neruba_users ADD COLUMN nickname TEXT"))
        connection.execute(text("DROP INDEX neruba_trail_at_ix"))
        context = MigrationContext.configure(connection)

        differences = [step[0] for step in compare_metadata(context, tables_for(connection.dialect.name))]

    assert {"remove_column", "add_index"} <= set(differences)


def test_checks_collations_and_deferrals_are_those_of_the_definitions(migrated):
    """
    Alembic does not look at these, so two databases are made and what they say of themselves compared.
    """
    with migrated.connect() as connection:
        made = fine_print(connection)
    with migrated.begin() as connection:
        for table in METADATA.sorted_tables[::-1]:
            connection.execute(text(f"DROP TABLE {table.name}"))
        tables_for(connection.dialect.name).create_all(connection)

        assert fine_print(connection) == made


def fine_print(connection: Connection) -> dict[str, Any]:
    inspector = inspect(connection)
    told: dict[str, Any] = {}
    for name in sorted(METADATA.tables):
        checks = {check["name"]: check["sqltext"] for check in inspector.get_check_constraints(name)}
        keys = {key["name"]: key["options"] for key in inspector.get_foreign_keys(name)}
        collations = {column["name"]: str(column["type"]) for column in inspector.get_columns(name)}
        told[name] = checks, keys, collations, with_rowid(connection, name)
    return told


def with_rowid(connection: Connection, table: str) -> bool | None:
    if connection.dialect.name != "sqlite":
        return None
    query = "SELECT sql NOT LIKE '%WITHOUT ROWID' FROM sqlite_master WHERE name = ?"
    return bool(connection.exec_driver_sql(query, (table,)).scalar_one())


def test_every_key_of_a_tenants_table_begins_with_the_project():
    """
    So that the schema can be split by project, and no row can refer to another project's.
    """
    for table in METADATA.sorted_tables:
        if table.name in GLOBAL or table.name == "neruba_projects":
            continue
        assert next(iter(table.primary_key)).name == "project_id", table.name
        for constraint in table.constraints:
            if isinstance(constraint, UniqueConstraint):
                assert next(iter(constraint.columns)).name == "project_id", constraint.name
        for key in table.foreign_key_constraints:
            if key.referred_table.name not in GLOBAL:
                assert key.column_keys[0] == "project_id", key.name
        # The trail alone refers to nothing: its rows go by age, whatever they tell of.
        referring = {str(key.column_keys[0]) for key in table.foreign_key_constraints}
        assert "project_id" in referring or table.name == "neruba_trail", table.name


def test_every_table_is_ours_by_name():
    """
    Hosts have tables of their own in the same database.
    """
    assert all(name.startswith("neruba_") for name in METADATA.tables)


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("change", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
def test_append_only_tables_refuse_changes(full, table, change):
    """
    Whoever asks, by whatever connection: the triggers do not depend on our code.
    """
    if change.startswith("TRUNCATE") and full.dialect.name != "postgresql":
        pytest.skip("SQLite has no TRUNCATE")
    names = METADATA.tables[table].columns.keys()
    column = "project_id" if "project_id" in names else names[0]
    with full.connect() as connection:
        count = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()

        with pytest.raises(exc.DBAPIError, match="append-only"):
            connection.execute(text(change.format(table, column, column)))

        connection.rollback()
        assert connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == count > 0


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE neruba_invoices SET total_micros = 0 WHERE id = 'inv_final'",
        "UPDATE neruba_invoices SET lines = '[]', state = 'paid' WHERE id = 'inv_final'",
        "UPDATE neruba_invoices SET transaction_id = 'txn_1' WHERE id = 'inv_final'",
        "UPDATE neruba_invoices SET project_id = 'prj_1', id = 'inv_1' WHERE id = 'inv_final'",
        "UPDATE neruba_invoices SET state = 'draft', number = NULL WHERE id = 'inv_final'",
        "DELETE FROM neruba_invoices WHERE id = 'inv_final'",
        "DELETE FROM neruba_invoices",
        "TRUNCATE neruba_invoices CASCADE",
    ],
)
def test_a_finalized_invoice_refuses_changes(full, change):
    """
    Whoever asks: what was issued to a customer stays what it was.
    """
    if change.startswith("TRUNCATE") and full.dialect.name != "postgresql":
        pytest.skip("SQLite has no TRUNCATE")
    with full.connect() as connection:
        before = connection.execute(text("SELECT * FROM neruba_invoices ORDER BY 1, 2")).all()

        with pytest.raises(exc.DBAPIError, match=r"never changed|append-only"):
            connection.execute(text(change))

        connection.rollback()
        assert connection.execute(text("SELECT * FROM neruba_invoices ORDER BY 1, 2")).all() == before


MEANT_TO_CHANGE = {
    "state": "'paid'",
    "paid_micros": "paid_micros + 1",
    "voided_at": "voided_at",
    "void_reason": "'gone'",
    "past_due_at": "1",
    "disputed_micros": "1",
}


@pytest.mark.parametrize("column", INVOICES.columns, ids=lambda column: column.name)
def test_every_column_of_a_finalized_invoice_is_guarded_or_meant_to_change(full, column):
    """
    One that is added and forgotten in the trigger is found here.
    """
    other = f"coalesce({column.name}, 0) + 1" if column.type.python_type is int else "'other'"
    value = MEANT_TO_CHANGE.get(column.name, other)
    change = text(f"UPDATE neruba_invoices SET {column.name} = {value} WHERE id = 'inv_final'")
    expected: AbstractContextManager[Any] = nullcontext()
    if column.name not in MEANT_TO_CHANGE:
        expected = pytest.raises(exc.DBAPIError, match="never changed")

    with full.connect() as connection:
        with expected:
            assert connection.execute(change).rowcount > 0
        connection.rollback()


def test_a_draft_may_change_and_go(database):
    """
    Nobody has seen it yet.
    """
    project_id = samples.tenant(database)
    with database.work() as work:
        work.ledger.lock_heads([project_id])
        work.invoices.put_drafts([samples.invoice(project_id)])
    where = f"WHERE project_id = '{project_id}'"

    with database.engine.connect() as connection:
        changed = connection.execute(text(f"UPDATE neruba_invoices SET lines = '[]', part = 7 {where}"))
        removed = connection.execute(text(f"DELETE FROM neruba_invoices {where}"))

    assert (changed.rowcount, removed.rowcount) == (1, 1)


def test_trail_rows_may_be_deleted(full):
    """
    They alone are kept for a time only.
    """
    with full.begin() as connection:
        one = "SELECT project_id, request_id, id FROM neruba_trail LIMIT 1"
        query = f"DELETE FROM neruba_trail WHERE (project_id, request_id, id) = ({one})"
        assert connection.execute(text(query)).rowcount == 1


def test_a_row_cannot_be_replaced_past_the_triggers(database):
    """
    SQLite's INSERT OR REPLACE deletes without a word unless it is told not to.
    """
    if database.engine.dialect.name != "sqlite":
        pytest.skip("a statement of SQLite's")
    fill(database)

    with database.engine.connect() as connection, pytest.raises(exc.DBAPIError, match="append-only"):
        connection.execute(text("INSERT OR REPLACE INTO neruba_answers SELECT * FROM neruba_answers"))


@pytest.mark.parametrize("harm", ["version = version + 1", "project_id = 'prj_none'"])
def test_an_entry_belongs_to_a_transaction_of_its_project(database, harm):
    """
    Whoever inserts it, and whatever else with it.
    """
    project_id = samples.tenant(database)
    with database.work() as work:
        samples.book_in(work, project_id, ("promotions", 5), ("overdraft", -5))
    column, value = harm.split(" = ")
    columns = "project_id, version, number, account, debit_micros, credit_micros, balance_after_micros"
    kept = f"FROM neruba_entries WHERE project_id = '{project_id}'"
    sound = columns.replace("number", "number + 10")
    harmed = columns.replace("number", "number + 20").replace(column, value, 1)
    insert = f"INSERT INTO neruba_entries ({columns}) SELECT {sound} {kept}"

    with database.engine.connect() as connection:
        with pytest.raises(exc.IntegrityError):
            connection.execute(text(f"{insert} UNION ALL SELECT {harmed} {kept}"))
        connection.rollback()
        before = connection.execute(text(f"SELECT count(*) {kept}")).scalar_one()
        connection.execute(text(insert))
        after = connection.execute(text(f"SELECT count(*) {kept}")).scalar_one()
        connection.rollback()

    assert (before, after) == (2, 4)


@pytest.mark.parametrize("table", ["neruba_usage_events", "neruba_transactions", "neruba_grants"])
def test_a_row_belongs_to_a_project_that_is_there(full, table):
    """
    Nobody writes for a project that there is not.
    """
    names = [column.name for column in METADATA.tables[table].columns]
    with full.connect() as connection:
        there = [name for name in inspect(connection).get_columns(table) if name["name"] in names]
        columns = ", ".join(column["name"] for column in there)
        strayed = columns.replace("project_id", "'prj_none'", 1)

        with pytest.raises(exc.IntegrityError):
            connection.execute(text(f"INSERT INTO {table} ({columns}) SELECT {strayed} FROM {table} LIMIT 1"))


@pytest.fixture
def full(database: SqlStorage) -> Engine:
    """
    An engine on a database with at least one row in every append-only table.
    """
    fill(database)
    return database.engine.execution_options(isolation_level="SERIALIZABLE")


def fill(storage: SqlStorage) -> None:
    project_id = samples.tenant(storage)
    event = samples.usage_event(project_id)
    grant_id = samples.new_id("gra")
    account = f"wallet:{grant_id}"
    with storage.work() as work:
        work.usage.insert([event])
        work.usage.add_void(samples.void(event))
        booked = samples.book_in(work, project_id, ("promotions", 5), (account, -5), grant_id=grant_id)
        work.wallets.add_grants([samples.grant(booked, id=grant_id)])
        work.pricing.add_price(samples.price(project_id))
        work.pricing.add_price(samples.price(None, metric_key=samples.new_id("metric")))
        work.pricing.write_meters([samples.meter(project_id)])
        plan = samples.plan()
        work.subscriptions.add_plan(plan)
        work.subscriptions.add_decision(samples.decision(project_id, plan.id))
        work.billing.put_periods([samples.billing_period(project_id)])
        work.billing.add_runs([samples.run(project_id)])
        work.invoices.finalize([samples.invoice(project_id, id="inv_final", number=1)])
        work.invoices.keep_pdf(project_id, "inv_final", b"%PDF")
        work.idempotency.add_answers([samples.stored_answer(project_id)])
        work.audit.add_changes([samples.change(project_id)])
        work.audit.add_attempts([samples.attempt(project_id)])
        work.audit.add_tallies([Tally(project_id, samples.new_id("tal"), accepted=1)])
        work.audit.add_trail([samples.trail(project_id)])


START = {"kind": "'start'", "plan_id": "(SELECT max(id) FROM neruba_plans)"}
FINAL = {
    "kind": "'invoice'",
    "state": "'finalized'",
    "number": 999,
    "finalized_at": 1,
    "voided_at": "NULL",
    "transaction_id": "NULL",
    "amount_due_micros": 1,
}
"""What a row is made of whose one fault is then put in."""

BROKEN = [
    ("an entry on both sides", "neruba_entries", {"debit_micros": 1, "credit_micros": 1}),
    ("an entry on no side", "neruba_entries", {"debit_micros": 0, "credit_micros": 0}),
    ("an entry below zero", "neruba_entries", {"debit_micros": -1, "credit_micros": 1}),
    ("units below zero", "neruba_usage_events", {"units_micros": -1}),
    ("an unknown type", "neruba_transactions", {"type": "'gift'"}),
    ("an amount of zero", "neruba_transactions", {"amount_micros": 0}),
    ("a charge that reverses", "neruba_transactions", {"type": "'charge'", "reverses": "id"}),
    ("an empty grant", "neruba_grants", {"amount_micros": 0}),
    ("an unknown outcome", "neruba_attempts", {"outcome": "'lost'"}),
    ("a count below zero", "neruba_tallies", {"accepted": -1}),
    ("a price of version zero", "neruba_prices", {"version": 0}),
    ("a negative trial", "neruba_plans", {"trial_days": -1}),
    ("a negative fee", "neruba_plans", {"amount_micros": -1}),
    ("a decision without a plan", "neruba_subscription_decisions", START | {"plan_id": "NULL"}),
    ("a cancellation with a plan", "neruba_subscription_decisions", START | {"kind": "'cancel'"}),
    (
        "a decision for a plan that is not there",
        "neruba_subscription_decisions",
        START | {"plan_id": "'pln_x'"},
    ),
    ("a slice that ends before it begins", "neruba_meters", {"span_end": "span_start - 50"}),
    ("a period that ends before it begins", "neruba_periods", {"span_end": "span_start - 50", "name": "'x'"}),
    ("a run in no state", "neruba_runs", {"state": "'paid'"}),
    ("an invoice in no state", "neruba_invoices", FINAL | {"state": "'lost'"}),
    ("a voided invoice without its time", "neruba_invoices", FINAL | {"state": "'void'"}),
    ("an unfinished invoice with a number", "neruba_invoices", FINAL | {"state": "'draft'"}),
    ("an invoice over less than nothing", "neruba_invoices", FINAL | {"amount_due_micros": -1}),
    ("an invoice of no transaction", "neruba_invoices", FINAL | {"transaction_id": "'txn_x'"}),
    ("a project of no billing mode", "neruba_projects", {"billing_mode": "'free'"}),
    ("a project with a negative grace", "neruba_projects", {"grace_hours": -1}),
    ("a row of no project", "neruba_usage_events", {"project_id": "'prj_nobody'"}),
    ("another project's event", "neruba_usage_voids", {"project_id": "'prj_nobody'"}),
]


@pytest.mark.parametrize(("table", "values"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_row_that_breaks_an_invariant_is_refused(full, table, values):
    """
    The invariants are checked above; the constraints repeat them for whoever goes past us.
    """
    definition = METADATA.tables[table]
    dialect = full.dialect.name
    names = [each.name for each in definition.columns if each.info.get("dialect", dialect) == dialect]
    fresh = {"id": "id || 'x'", "event_id": "event_id || 'x'", "idempotency_key": "idempotency_key || 'x'"}
    fresh |= {"number": "number + 50", "version": "version" if table == "neruba_entries" else "version + 50"}
    fresh |= {"part": "part + 50", "effective_from": "effective_from + 50", "span_start": "span_start - 50"}
    taken = [str(values.get(name, fresh.get(name, name))) for name in names]
    query = f"INSERT INTO {table} ({', '.join(names)}) SELECT {', '.join(taken)} FROM {table} LIMIT 1"

    with pytest.raises(exc.IntegrityError), full.begin() as connection:
        connection.execute(text(query))
