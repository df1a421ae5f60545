"""Version 1: users, sessions, projects, members, access keys, and the trail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from neruba_core.storage.sql.migrations.columns import Kinds, append_only, make_refusal, one_of


def upgrade(op: Operations) -> None:
    """Make the tables."""
    kinds = Kinds(op)
    op.create_table(
        "neruba_users",
        kinds.text("id"),
        kinds.text("email"),
        kinds.text("password_hash"),
        kinds.flag("operator"),
        kinds.int8("created_at"),
        kinds.int8("disabled_at", null=True),
        sa.PrimaryKeyConstraint("id", name="neruba_users_pk"),
        sa.UniqueConstraint("email", name="neruba_users_email_uq"),
    )
    op.create_table(
        "neruba_sessions",
        kinds.text("id"),
        kinds.text("user_id"),
        kinds.text("access_hash"),
        kinds.int8("access_expires_at"),
        kinds.text("refresh_hash"),
        kinds.int8("refresh_expires_at"),
        kinds.int8("created_at"),
        kinds.int8("ended_at", null=True),
        sa.PrimaryKeyConstraint("id", name="neruba_sessions_pk"),
        sa.UniqueConstraint("access_hash", name="neruba_sessions_access_uq"),
        sa.UniqueConstraint("refresh_hash", name="neruba_sessions_refresh_uq"),
        sa.ForeignKeyConstraint(["user_id"], ["neruba_users.id"], name="neruba_sessions_user_fk"),
    )
    op.create_index("neruba_sessions_user_ix", "neruba_sessions", ["user_id"])
    op.create_table(
        "neruba_spent_refresh_tokens",
        kinds.text("refresh_hash"),
        kinds.text("session_id"),
        sa.PrimaryKeyConstraint("refresh_hash", name="neruba_spent_refresh_tokens_pk"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["neruba_sessions.id"], name="neruba_spent_refresh_tokens_session_fk"
        ),
    )
    op.create_table(
        "neruba_throttles",
        kinds.text("subject"),
        kinds.int4("failures"),
        kinds.int8("blocked_until"),
        kinds.int8("last_failure_at"),
        sa.PrimaryKeyConstraint("subject", name="neruba_throttles_pk"),
        sa.CheckConstraint("failures >= 0", name="neruba_throttles_failures_ck"),
    )
    op.create_table(
        "neruba_projects",
        kinds.text("id"),
        kinds.text("name"),
        kinds.text("external_key", null=True),
        kinds.text("currency"),
        kinds.int8("credit_limit_micros"),
        kinds.text("metric_policy"),
        kinds.int4("max_backdate_days", null=True),
        kinds.text("timezone"),
        kinds.text("created_by"),
        kinds.int8("created_at"),
        kinds.int8("archived_at", null=True),
        kinds.text("billing_mode"),
        kinds.text("on_empty"),
        kinds.text("late_usage_policy"),
        kinds.int4("grace_hours"),
        kinds.text("tax_rate"),
        kinds.text("earlier_terms"),
        kinds.int8("invoiced_until", null=True),
        kinds.flag("listens"),
        kinds.int8("low_balance_micros", null=True),
        kinds.text("top_up"),
        sa.PrimaryKeyConstraint("id", name="neruba_projects_pk"),
        sa.CheckConstraint("credit_limit_micros >= 0", name="neruba_projects_credit_limit_ck"),
        sa.CheckConstraint("low_balance_micros >= 0", name="neruba_projects_low_balance_ck"),
        sa.CheckConstraint("max_backdate_days >= 0", name="neruba_projects_max_backdate_ck"),
        sa.CheckConstraint("grace_hours >= 0", name="neruba_projects_grace_ck"),
        sa.CheckConstraint(
            one_of("metric_policy", "open", "strict"), name="neruba_projects_metric_policy_ck"
        ),
        sa.CheckConstraint(
            one_of("billing_mode", "arrears", "prepaid"), name="neruba_projects_billing_mode_ck"
        ),
        sa.CheckConstraint(one_of("on_empty", "refuse", "record"), name="neruba_projects_on_empty_ck"),
        sa.CheckConstraint(
            one_of("late_usage_policy", "adjust_next", "credit_note", "quarantine"),
            name="neruba_projects_late_usage_ck",
        ),
    )
    op.create_index(
        "neruba_projects_external_key_uq",
        "neruba_projects",
        ["created_by", "external_key"],
        unique=True,
        postgresql_where=sa.text("external_key IS NOT NULL"),
        sqlite_where=sa.text("external_key IS NOT NULL"),
    )
    op.create_table(
        "neruba_members",
        kinds.text("project_id"),
        kinds.text("user_id"),
        kinds.text("role"),
        kinds.int8("created_at"),
        sa.PrimaryKeyConstraint("project_id", "user_id", name="neruba_members_pk"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_members_project_fk"),
        sa.ForeignKeyConstraint(["user_id"], ["neruba_users.id"], name="neruba_members_user_fk"),
        sa.CheckConstraint(
            one_of("role", "owner", "admin", "finance", "support", "viewer"), name="neruba_members_role_ck"
        ),
    )
    op.create_index("neruba_members_user_ix", "neruba_members", ["user_id", "project_id"])
    op.create_table(
        "neruba_invitations",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.text("email"),
        kinds.text("role"),
        kinds.text("token_hash"),
        kinds.text("invited_by"),
        kinds.int8("created_at"),
        kinds.int8("expires_at"),
        kinds.int8("accepted_at", null=True),
        sa.PrimaryKeyConstraint("project_id", "id", name="neruba_invitations_pk"),
        sa.UniqueConstraint("project_id", "token_hash", name="neruba_invitations_token_uq"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_invitations_project_fk"),
        sa.CheckConstraint(
            one_of("role", "owner", "admin", "finance", "support", "viewer"),
            name="neruba_invitations_role_ck",
        ),
    )
    op.create_index("neruba_invitations_token_ix", "neruba_invitations", ["token_hash"])
    op.create_table(
        "neruba_access_keys",
        kinds.text("id"),
        kinds.text("project_id"),
        kinds.text("name"),
        kinds.text("scopes"),
        kinds.text("prefix"),
        kinds.text("secret_hash"),
        kinds.int8("created_at"),
        kinds.int8("expires_at", null=True),
        kinds.int8("revoked_at", null=True),
        kinds.int8("last_used_at", null=True),
        sa.PrimaryKeyConstraint("id", name="neruba_access_keys_pk"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_access_keys_project_fk"),
    )
    op.create_index("neruba_access_keys_project_ix", "neruba_access_keys", ["project_id", "id"])
    op.create_table(
        "neruba_answers",
        kinds.text("scope_id"),
        kinds.text("operation"),
        kinds.text("idempotency_key"),
        kinds.binary("fingerprint"),
        kinds.int4("fingerprint_version"),
        kinds.text("code", null=True),
        kinds.text("body"),
        kinds.text("subject_id", null=True),
        kinds.text("request_id", null=True),
        kinds.int8("recorded_at"),
        sa.PrimaryKeyConstraint("scope_id", "operation", "idempotency_key", name="neruba_answers_pk"),
    )
    op.create_table(
        "neruba_changes",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.int8("at"),
        kinds.text("actor"),
        kinds.text("request_id", null=True),
        kinds.text("action"),
        kinds.text("subject"),
        kinds.text("details"),
        sa.PrimaryKeyConstraint("project_id", "id", name="neruba_changes_pk"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_changes_project_fk"),
    )
    op.create_table(
        "neruba_attempts",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.int8("at"),
        kinds.text("operation"),
        kinds.text("outcome"),
        kinds.text("code", null=True),
        kinds.text("message", null=True),
        kinds.text("request_id", null=True),
        kinds.text("access_key_id", null=True),
        kinds.text("idempotency_key", null=True),
        kinds.text("event_id", null=True),
        kinds.text("metric_key", null=True),
        kinds.text("subject_id", null=True),
        kinds.text("content", null=True),
        kinds.text("prior", null=True),
        sa.PrimaryKeyConstraint("project_id", "id", name="neruba_attempts_pk"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_attempts_project_fk"),
        sa.CheckConstraint(
            one_of("outcome", "accepted", "replayed", "deduped", "conflict", "quarantined", "rejected"),
            name="neruba_attempts_outcome_ck",
        ),
    )
    op.create_table(
        "neruba_tallies",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.int8("accepted"),
        kinds.int8("replayed"),
        kinds.int8("deduped"),
        kinds.int8("conflict"),
        kinds.int8("quarantined"),
        kinds.int8("rejected"),
        *kinds.xact(),
        sa.PrimaryKeyConstraint("project_id", "id", name="neruba_tallies_pk"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_tallies_project_fk"),
        sa.CheckConstraint(
            "accepted >= 0 AND replayed >= 0 AND deduped >= 0 "
            "AND conflict >= 0 AND quarantined >= 0 AND rejected >= 0",
            name="neruba_tallies_counts_ck",
        ),
    )
    op.create_table(
        "neruba_trail",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.text("request_id"),
        kinds.int8("at"),
        kinds.text("method"),
        kinds.text("path"),
        kinds.text("principal"),
        kinds.int4("status"),
        kinds.text("outcome", null=True),
        kinds.text("usage_ids"),
        kinds.text("transaction_ids"),
        kinds.text("message_ids"),
        sa.PrimaryKeyConstraint("project_id", "request_id", "id", name="neruba_trail_pk"),
    )
    op.create_index("neruba_trail_at_ix", "neruba_trail", ["at"], postgresql_using="brin")
    make_refusal(op)
    append_only(
        op,
        "neruba_answers",
        "neruba_changes",
        "neruba_attempts",
        "neruba_tallies",
    )
