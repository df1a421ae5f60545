"""What PostgreSQL's planner is told about tables that are still empty.

Of a table without statistics it believes that a project has one row, so that any index that begins with the
project seems as good as the one that was made for the question. It takes the wrong one, and since the plans
of foreign keys and of prepared statements are kept, each charge then reads all charges of its project until
autovacuum has looked at the table, a minute or more after the first rows. Told that a project has many rows,
it takes the right one from the start. The first ANALYZE replaces what is said here.

Only PostgreSQL 18 and later can be told; before, it is autovacuum that helps.
"""

from __future__ import annotations

from sqlalchemy import Connection

from neruba_core.storage.sql.driver import driver_of

_CAN_BE_TOLD = 180_000
_PROJECTS = 50
"""How many different projects an unknown table is taken to hold. Of the few hundred rows that the planner
assumes, each then has some: more than one, so that the whole key is worth having, and few enough that an
index beats reading the table."""

_TELL = f"""
SELECT pg_restore_attribute_stats(
    'schemaname', n.nspname::text, 'relname', c.relname::text, 'attname', a.attname::text,
    'inherited', false, 'n_distinct', {_PROJECTS}::real)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'project_id'
WHERE c.relkind = 'r' AND starts_with(c.relname, 'neruba_')
    AND NOT EXISTS (
        SELECT FROM pg_stats s
        WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname
    )
"""


def foretell(connection: Connection) -> None:
    """Tell the planner about our tables, where it knows nothing and can be told."""
    if connection.dialect.name != "postgresql":
        return
    driver = driver_of(connection)
    if driver.info.server_version >= _CAN_BE_TOLD:
        connection.exec_driver_sql(_TELL)
