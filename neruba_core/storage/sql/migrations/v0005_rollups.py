"""Version 5: hourly and daily rollups of usage, and how far each project is folded into them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from neruba_core.storage.sql.migrations.columns import Kinds, Xid8


def upgrade(op: Operations) -> None:
    """Make the tables, and the indexes that find what is not folded yet."""
    kinds = Kinds(op)
    op.create_table(
        "neruba_usage_rollups",
        kinds.text("project_id"),
        kinds.text("metric_key"),
        kinds.int4("hours"),
        kinds.int8("hour"),
        kinds.int8("events"),
        kinds.int8("sum_low"),
        kinds.int8("sum_high"),
        kinds.int8("max_micros"),
        kinds.int8("min_micros"),
        kinds.int8("last_at"),
        sa.PrimaryKeyConstraint("project_id", "hours", "metric_key", "hour", name="neruba_usage_rollups_pk"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["neruba_projects.id"], name="neruba_usage_rollups_project_fk"
        ),
        sa.CheckConstraint("events > 0", name="neruba_usage_rollups_events_ck"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "neruba_rollup_marks",
        kinds.text("project_id"),
        sa.Column("mark", Xid8() if kinds.postgresql else sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", name="neruba_rollup_marks_pk"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["neruba_projects.id"], name="neruba_rollup_marks_project_fk"
        ),
        sqlite_with_rowid=False,
    )
    place = "xact" if kinds.postgresql else "place"
    tail = ["project_id", "xact"] if kinds.postgresql else ["project_id"]
    op.create_index("neruba_usage_events_tail_ix", "neruba_usage_events", tail)
    op.create_index("neruba_usage_voids_tail_ix", "neruba_usage_voids", ["project_id", place])
