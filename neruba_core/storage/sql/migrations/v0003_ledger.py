"""Version 3: the ledger, and the grants of wallets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from neruba_core.storage.sql.migrations.columns import Kinds, append_only, one_of


def upgrade(op: Operations) -> None:
    """Make the tables."""
    kinds = Kinds(op)
    op.create_table(
        "neruba_heads",
        kinds.text("project_id"),
        kinds.int8("version"),
        kinds.int8("balance_micros"),
        kinds.int8("overdraft_micros"),
        kinds.int8("held_micros"),
        kinds.int8("receivable_micros"),
        kinds.int8("due_at", null=True),
        kinds.flag("low"),
        kinds.int8("top_up_at", null=True),
        sa.PrimaryKeyConstraint("project_id", name="neruba_heads_pk"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_heads_project_fk"),
        sa.CheckConstraint("overdraft_micros >= 0 AND held_micros >= 0", name="neruba_heads_amounts_ck"),
        sa.CheckConstraint("version >= 0", name="neruba_heads_version_ck"),
    )
    op.create_index(
        "neruba_heads_due_ix",
        "neruba_heads",
        ["due_at"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "neruba_heads_top_up_ix",
        "neruba_heads",
        ["top_up_at"],
        postgresql_where=sa.text("top_up_at IS NOT NULL"),
        sqlite_where=sa.text("top_up_at IS NOT NULL"),
    )
    op.create_table(
        "neruba_accounts",
        kinds.text("project_id"),
        kinds.text("name"),
        kinds.int8("balance_micros"),
        kinds.int8("held_micros"),
        kinds.flag("emptied"),
        sa.PrimaryKeyConstraint("project_id", "name", name="neruba_accounts_pk"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_accounts_project_fk"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "neruba_accounts_open_ix",
        "neruba_accounts",
        ["project_id", "name"],
        postgresql_where=sa.text("NOT emptied"),
        sqlite_where=sa.text("emptied = 0"),
    )
    op.create_table(
        "neruba_transactions",
        kinds.text("project_id"),
        kinds.int8("version"),
        kinds.text("id"),
        kinds.text("type"),
        kinds.text("operation"),
        kinds.int8("amount_micros"),
        kinds.int8("balance_after_micros"),
        kinds.text("description"),
        kinds.text("event_id", null=True),
        kinds.text("metadata", null=True),
        kinds.text("grant_id", null=True),
        kinds.text("reverses", null=True),
        kinds.text("idempotency_key"),
        kinds.binary("fingerprint"),
        kinds.int4("fingerprint_version"),
        kinds.text("actor"),
        kinds.text("request_id", null=True),
        kinds.int8("effective_at"),
        kinds.int8("recorded_at"),
        kinds.int4("render_version"),
        sa.PrimaryKeyConstraint("project_id", "version", name="neruba_transactions_pk"),
        sa.UniqueConstraint("project_id", "event_id", "operation", name="neruba_transactions_event_uq"),
        sa.UniqueConstraint("project_id", "id", name="neruba_transactions_id_uq"),
        sa.UniqueConstraint("project_id", "idempotency_key", "operation", name="neruba_transactions_key_uq"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["neruba_projects.id"], name="neruba_transactions_project_fk"
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "reverses"],
            ["neruba_transactions.project_id", "neruba_transactions.id"],
            name="neruba_transactions_reverses_fk",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.CheckConstraint("amount_micros > 0", name="neruba_transactions_amount_ck"),
        sa.CheckConstraint(
            "(type IN ('reversal', 'invoice_void')) = (reverses IS NOT NULL)",
            name="neruba_transactions_reverses_ck",
        ),
        sa.CheckConstraint(
            one_of(
                "type",
                "credit",
                "debit",
                "charge",
                "reversal",
                "usage",
                "invoice",
                "invoice_void",
                "payment",
                "refund",
                "credit_note",
                "write_off",
                "expiry",
                "provider_fee",
                "refund_paid",
                "refund_failed",
                "dispute",
                "dispute_won",
            ),
            name="neruba_transactions_type_ck",
        ),
        sa.CheckConstraint("version > 0", name="neruba_transactions_version_ck"),
    )
    op.create_index(
        "neruba_transactions_reverses_ix",
        "neruba_transactions",
        ["project_id", "reverses"],
        postgresql_where=sa.text("reverses IS NOT NULL"),
        sqlite_where=sa.text("reverses IS NOT NULL"),
    )
    op.create_index(
        "neruba_transactions_charged_ix",
        "neruba_transactions",
        ["project_id", "effective_at"],
        postgresql_where=sa.text("type = 'charge'"),
        sqlite_where=sa.text("type = 'charge'"),
    )
    op.create_table(
        "neruba_entries",
        kinds.text("project_id"),
        kinds.int8("version"),
        kinds.int4("number"),
        kinds.text("account"),
        kinds.int8("debit_micros"),
        kinds.int8("credit_micros"),
        kinds.int8("balance_after_micros"),
        sa.PrimaryKeyConstraint("project_id", "version", "number", name="neruba_entries_pk"),
        sa.ForeignKeyConstraint(
            ["project_id", "version"],
            ["neruba_transactions.project_id", "neruba_transactions.version"],
            name="neruba_entries_transaction_fk",
        ),
        sa.CheckConstraint(
            "debit_micros >= 0 AND credit_micros >= 0 AND (debit_micros > 0) <> (credit_micros > 0)",
            name="neruba_entries_one_side_ck",
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("neruba_entries_account_ix", "neruba_entries", ["project_id", "account", "version"])
    op.create_table(
        "neruba_grants",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.text("kind"),
        kinds.int4("priority"),
        kinds.int8("amount_micros"),
        kinds.int8("effective_at"),
        kinds.int8("expires_at", null=True),
        kinds.text("transaction_id"),
        kinds.text("succeeds", null=True),
        kinds.text("metric_keys", null=True),
        sa.PrimaryKeyConstraint("project_id", "id", name="neruba_grants_pk"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_grants_project_fk"),
        sa.ForeignKeyConstraint(
            ["project_id", "transaction_id"],
            ["neruba_transactions.project_id", "neruba_transactions.id"],
            name="neruba_grants_transaction_fk",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "succeeds"],
            ["neruba_grants.project_id", "neruba_grants.id"],
            name="neruba_grants_succeeds_fk",
        ),
        sa.CheckConstraint("amount_micros > 0", name="neruba_grants_amount_ck"),
        sa.CheckConstraint(one_of("kind", "promotional", "paid", "goodwill"), name="neruba_grants_kind_ck"),
    )
    append_only(
        op,
        "neruba_transactions",
        "neruba_entries",
        "neruba_grants",
    )
