"""Version 2: metrics, usage events and what becomes of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from neruba_core.storage.sql.migrations.columns import Kinds, append_only, one_of


def upgrade(op: Operations) -> None:
    """Make the tables."""
    kinds = Kinds(op)
    op.create_table(
        "neruba_metrics",
        kinds.text("project_id"),
        kinds.text("key"),
        kinds.text("aggregation"),
        kinds.text("unit", null=True),
        kinds.text("unique_property", null=True),
        kinds.flag("free"),
        kinds.text("properties"),
        kinds.flag("auto_declared"),
        kinds.int8("created_at"),
        kinds.flag("shared"),
        sa.PrimaryKeyConstraint("project_id", "key", name="neruba_metrics_pk"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_metrics_project_fk"),
        sa.CheckConstraint(
            one_of("aggregation", "sum", "count", "max", "min", "last", "unique", "avg"),
            name="neruba_metrics_aggregation_ck",
        ),
    )
    op.create_table(
        "neruba_usage_events",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.text("metric_key"),
        kinds.int8("units_micros"),
        kinds.int8("timestamp"),
        kinds.text("event_id"),
        kinds.text("properties", null=True),
        kinds.text("idempotency_key"),
        kinds.binary("fingerprint"),
        kinds.int4("fingerprint_version"),
        kinds.int8("received_at"),
        kinds.flag("late"),
        kinds.text("actor"),
        kinds.text("request_id", null=True),
        kinds.int4("render_version"),
        *kinds.xact(),
        sa.PrimaryKeyConstraint("project_id", "id", name="neruba_usage_events_pk"),
        sa.UniqueConstraint("project_id", "event_id", name="neruba_usage_events_event_uq"),
        sa.UniqueConstraint("project_id", "idempotency_key", name="neruba_usage_events_key_uq"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["neruba_projects.id"], name="neruba_usage_events_project_fk"
        ),
        sa.CheckConstraint("units_micros >= 0", name="neruba_usage_events_units_ck"),
    )
    op.create_index(
        "neruba_usage_events_metric_ix",
        "neruba_usage_events",
        ["project_id", "metric_key", "timestamp", "units_micros"],
    )
    op.create_table(
        "neruba_usage_voids",
        kinds.text("project_id"),
        kinds.text("usage_id"),
        kinds.text("reason"),
        kinds.int8("voided_at"),
        kinds.text("actor"),
        kinds.int4("last_number"),
        *kinds.place(),
        sa.PrimaryKeyConstraint("project_id", "usage_id", name="neruba_usage_voids_pk"),
        sa.ForeignKeyConstraint(
            ["project_id", "usage_id"],
            ["neruba_usage_events.project_id", "neruba_usage_events.id"],
            name="neruba_usage_voids_event_fk",
        ),
    )
    op.create_table(
        "neruba_quarantined",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.text("metric_key"),
        kinds.int8("units_micros"),
        kinds.int8("timestamp"),
        kinds.text("idempotency_key"),
        kinds.text("event_id", null=True),
        kinds.text("properties", null=True),
        kinds.binary("fingerprint"),
        kinds.text("reason"),
        kinds.text("state"),
        kinds.int8("received_at"),
        kinds.text("actor"),
        kinds.text("request_id", null=True),
        sa.PrimaryKeyConstraint("project_id", "id", name="neruba_quarantined_pk"),
        sa.UniqueConstraint(
            "project_id", "idempotency_key", "fingerprint", name="neruba_quarantined_fingerprint_uq"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_quarantined_project_fk"),
        sa.CheckConstraint(
            one_of("state", "waiting", "replayed", "discarded", "superseded"),
            name="neruba_quarantined_state_ck",
        ),
        sa.CheckConstraint("units_micros >= 0", name="neruba_quarantined_units_ck"),
    )
    append_only(
        op,
        "neruba_usage_events",
        "neruba_usage_voids",
    )
