"""Version 8: endpoints that listen to a project, messages to them, and their deliveries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from neruba_core.storage.sql.migrations.columns import Kinds, append_only, one_of

_LIVE = sa.text("deleted_at IS NULL AND disabled_at IS NULL")
_PENDING = sa.text("state = 'pending'")


def upgrade(op: Operations) -> None:
    """Make the tables."""
    kinds = Kinds(op)
    op.create_table(
        "neruba_webhook_endpoints",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.text("url"),
        kinds.text("message_types"),
        kinds.text("salts"),
        kinds.int8("created_at"),
        kinds.text("created_by"),
        kinds.int8("failing_since", null=True),
        kinds.int8("disabled_at", null=True),
        kinds.text("disabled_reason", null=True),
        kinds.int8("deleted_at", null=True),
        sa.PrimaryKeyConstraint("project_id", "id", name="neruba_webhook_endpoints_pk"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["neruba_projects.id"], name="neruba_webhook_endpoints_project_fk"
        ),
    )
    op.create_index(
        "neruba_webhook_endpoints_live_ix",
        "neruba_webhook_endpoints",
        ["project_id", "id"],
        postgresql_where=_LIVE,
        sqlite_where=_LIVE,
    )
    op.create_table(
        "neruba_message_counters",
        kinds.text("project_id"),
        kinds.int8("last"),
        sa.PrimaryKeyConstraint("project_id", name="neruba_message_counters_pk"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["neruba_projects.id"], name="neruba_message_counters_project_fk"
        ),
    )
    op.create_table(
        "neruba_messages",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.int8("sequence"),
        kinds.text("type"),
        kinds.text("body"),
        kinds.int8("created_at"),
        sa.PrimaryKeyConstraint("project_id", "id", name="neruba_messages_pk"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_messages_project_fk"),
        sa.CheckConstraint("sequence > 0", name="neruba_messages_sequence_ck"),
    )
    append_only(op, "neruba_messages")
    op.create_table(
        "neruba_deliveries",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.text("endpoint_id"),
        kinds.text("message_id"),
        kinds.text("type"),
        kinds.text("state"),
        kinds.int4("tried"),
        kinds.int8("due_at"),
        kinds.int8("created_at"),
        kinds.int8("ended_at", null=True),
        kinds.flag("by_hand"),
        kinds.text("claim", null=True),
        kinds.text("attempts"),
        sa.PrimaryKeyConstraint("project_id", "id", name="neruba_deliveries_pk"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_deliveries_project_fk"),
        sa.ForeignKeyConstraint(
            ["project_id", "endpoint_id"],
            ["neruba_webhook_endpoints.project_id", "neruba_webhook_endpoints.id"],
            name="neruba_deliveries_endpoint_fk",
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "message_id"],
            ["neruba_messages.project_id", "neruba_messages.id"],
            name="neruba_deliveries_message_fk",
        ),
        sa.CheckConstraint(
            one_of("state", "pending", "delivered", "dead", "cancelled"), name="neruba_deliveries_state_ck"
        ),
        sa.CheckConstraint("(state = 'pending') = (ended_at IS NULL)", name="neruba_deliveries_ended_ck"),
    )
    op.create_index("neruba_deliveries_endpoint_ix", "neruba_deliveries", ["project_id", "endpoint_id", "id"])
    op.create_index(
        "neruba_deliveries_due_ix",
        "neruba_deliveries",
        ["endpoint_id", "due_at", "id"],
        postgresql_where=_PENDING,
        sqlite_where=_PENDING,
    )
