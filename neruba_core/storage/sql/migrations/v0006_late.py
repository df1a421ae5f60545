"""Version 6: late usage whose billing waits for support."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from neruba_core.storage.sql.migrations.columns import Kinds, one_of


def upgrade(op: Operations) -> None:
    """Make the table."""
    kinds = Kinds(op)
    op.create_table(
        "neruba_late_holds",
        kinds.text("project_id"),
        kinds.text("usage_id"),
        kinds.text("kind"),
        kinds.text("metric_key"),
        kinds.int8("timestamp"),
        kinds.text("state"),
        kinds.int8("held_at"),
        sa.PrimaryKeyConstraint("project_id", "usage_id", "kind", name="neruba_late_holds_pk"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_late_holds_project_fk"),
        sa.ForeignKeyConstraint(
            ["project_id", "usage_id"],
            ["neruba_usage_events.project_id", "neruba_usage_events.id"],
            name="neruba_late_holds_event_fk",
        ),
        sa.CheckConstraint(one_of("kind", "event", "void"), name="neruba_late_holds_kind_ck"),
        sa.CheckConstraint(
            one_of("state", "waiting", "replayed", "discarded", "superseded"),
            name="neruba_late_holds_state_ck",
        ),
    )
