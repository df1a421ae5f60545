"""Version 7: the catalogue's metrics, and the keys of backends that work across projects."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from neruba_core.storage.sql.migrations.columns import Kinds, one_of


def upgrade(op: Operations) -> None:
    """Make the tables, and find the metrics of projects that follow the catalogue's."""
    kinds = Kinds(op)
    op.create_table(
        "neruba_shared_metrics",
        kinds.text("key"),
        kinds.text("aggregation"),
        kinds.text("unit", null=True),
        kinds.text("unique_property", null=True),
        kinds.flag("free"),
        kinds.text("properties"),
        kinds.int8("created_at"),
        kinds.text("created_by"),
        sa.PrimaryKeyConstraint("key", name="neruba_shared_metrics_pk"),
        sa.CheckConstraint(
            one_of("aggregation", "sum", "count", "max", "min", "last", "unique", "avg"),
            name="neruba_shared_metrics_aggregation_ck",
        ),
    )
    op.create_index(
        "neruba_metrics_shared_ix",
        "neruba_metrics",
        ["key"],
        postgresql_where=sa.text("shared"),
        sqlite_where=sa.text("shared"),
    )
    op.create_table(
        "neruba_platform_keys",
        kinds.text("id"),
        kinds.text("name"),
        kinds.text("scopes"),
        kinds.text("prefix"),
        kinds.text("secret_hash"),
        kinds.int8("created_at"),
        kinds.text("created_by"),
        kinds.int8("expires_at", null=True),
        kinds.int8("revoked_at", null=True),
        kinds.int8("last_used_at", null=True),
        sa.PrimaryKeyConstraint("id", name="neruba_platform_keys_pk"),
    )
