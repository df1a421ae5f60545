"""Version 9: holds of credit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from neruba_core.storage.sql.migrations.columns import Kinds, one_of


def upgrade(op: Operations) -> None:
    """Make the table."""
    kinds = Kinds(op)
    op.create_table(
        "neruba_holds",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.int8("amount_micros"),
        kinds.text("description"),
        kinds.text("event_id"),
        kinds.text("idempotency_key"),
        kinds.text("draws"),
        kinds.int8("expires_at"),
        kinds.int8("created_at"),
        kinds.text("state"),
        kinds.int8("captured_micros"),
        kinds.text("transaction_id", null=True),
        kinds.int8("closed_at", null=True),
        sa.PrimaryKeyConstraint("project_id", "id", name="neruba_holds_pk"),
        sa.UniqueConstraint("project_id", "event_id", name="neruba_holds_event_uq"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_holds_project_fk"),
        sa.CheckConstraint(
            one_of("state", "held", "captured", "released", "expired"), name="neruba_holds_state_ck"
        ),
        sa.CheckConstraint(
            "amount_micros > 0 AND captured_micros >= 0 AND captured_micros <= amount_micros",
            name="neruba_holds_amounts_ck",
        ),
        sa.CheckConstraint("(state = 'held') = (closed_at IS NULL)", name="neruba_holds_closed_ck"),
        sa.CheckConstraint(
            "(state = 'captured') = (transaction_id IS NOT NULL)", name="neruba_holds_captured_ck"
        ),
    )
    op.create_index(
        "neruba_holds_open_ix",
        "neruba_holds",
        ["project_id", "expires_at"],
        postgresql_where=sa.text("state = 'held'"),
        sqlite_where=sa.text("state = 'held'"),
    )
    op.create_index("neruba_holds_closed_ix", "neruba_holds", ["project_id", "closed_at"])
