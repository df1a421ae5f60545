"""Version 10: payments, refunds, and what settles, credits or writes off invoices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from neruba_core.storage.sql.migrations.columns import Kinds, append_only, one_of


def upgrade(op: Operations) -> None:
    """Make the tables."""
    kinds = Kinds(op)
    op.create_table(
        "neruba_payments",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.text("provider"),
        kinds.int8("amount_micros"),
        kinds.text("status"),
        kinds.text("invoice_id", null=True),
        kinds.text("reference", null=True),
        kinds.int8("created_at"),
        kinds.text("actor"),
        kinds.text("request_id", null=True),
        kinds.text("provider_id", null=True),
        kinds.text("failure", null=True),
        kinds.int8("settled_at", null=True),
        kinds.text("transaction_id", null=True),
        kinds.int8("granted_micros"),
        kinds.int8("refunded_micros"),
        kinds.int8("fee_micros"),
        kinds.text("customer", null=True),
        kinds.text("method", null=True),
        kinds.int4("tries"),
        kinds.int8("asked_at", null=True),
        kinds.int8("due_at", null=True),
        kinds.int8("disputed_micros"),
        sa.PrimaryKeyConstraint("project_id", "id", name="neruba_payments_pk"),
        sa.ForeignKeyConstraint(
            ["project_id", "invoice_id"],
            ["neruba_invoices.project_id", "neruba_invoices.id"],
            name="neruba_payments_invoice_fk",
        ),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_payments_project_fk"),
        sa.ForeignKeyConstraint(
            ["project_id", "transaction_id"],
            ["neruba_transactions.project_id", "neruba_transactions.id"],
            name="neruba_payments_transaction_fk",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.CheckConstraint(
            "amount_micros > 0 AND granted_micros BETWEEN 0 AND amount_micros "
            "AND refunded_micros >= 0 AND disputed_micros >= 0 "
            "AND refunded_micros + disputed_micros <= amount_micros AND fee_micros >= 0 AND tries >= 0",
            name="neruba_payments_amounts_ck",
        ),
        sa.CheckConstraint(
            "(status = 'pending') = (settled_at IS NULL) "
            "AND (status = 'succeeded') = (transaction_id IS NOT NULL)",
            name="neruba_payments_settled_ck",
        ),
        sa.CheckConstraint(
            one_of("status", "pending", "succeeded", "failed"), name="neruba_payments_status_ck"
        ),
        sa.CheckConstraint("status = 'pending' OR due_at IS NULL", name="neruba_payments_due_ck"),
    )
    op.create_index("neruba_payments_due_ix", "neruba_payments", ["due_at"])
    op.create_table(
        "neruba_payment_methods",
        kinds.text("project_id"),
        kinds.text("provider"),
        kinds.text("customer"),
        kinds.text("method", null=True),
        kinds.flag("collects"),
        kinds.int8("changed_at"),
        kinds.text("changed_by"),
        sa.PrimaryKeyConstraint("project_id", name="neruba_payment_methods_pk"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["neruba_projects.id"], name="neruba_payment_methods_project_fk"
        ),
    )
    op.create_table(
        "neruba_refunds",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.text("payment_id"),
        kinds.int8("amount_micros"),
        kinds.int8("taken_micros"),
        kinds.text("reason"),
        kinds.text("status"),
        kinds.text("transaction_id"),
        kinds.int8("created_at"),
        kinds.text("actor"),
        kinds.text("request_id", null=True),
        kinds.text("provider_id", null=True),
        kinds.text("failure", null=True),
        kinds.int8("settled_at", null=True),
        kinds.int4("tries"),
        kinds.int8("asked_at", null=True),
        kinds.int8("due_at", null=True),
        sa.PrimaryKeyConstraint("project_id", "id", name="neruba_refunds_pk"),
        sa.ForeignKeyConstraint(
            ["project_id", "payment_id"],
            ["neruba_payments.project_id", "neruba_payments.id"],
            name="neruba_refunds_payment_fk",
        ),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_refunds_project_fk"),
        sa.ForeignKeyConstraint(
            ["project_id", "transaction_id"],
            ["neruba_transactions.project_id", "neruba_transactions.id"],
            name="neruba_refunds_transaction_fk",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.CheckConstraint(
            "amount_micros > 0 AND taken_micros BETWEEN 0 AND amount_micros AND tries >= 0",
            name="neruba_refunds_amounts_ck",
        ),
        sa.CheckConstraint("status = 'pending' OR due_at IS NULL", name="neruba_refunds_due_ck"),
        sa.CheckConstraint(
            one_of("status", "pending", "succeeded", "failed"), name="neruba_refunds_status_ck"
        ),
    )
    op.create_index("neruba_refunds_due_ix", "neruba_refunds", ["due_at"])
    op.create_index("neruba_refunds_payment_ix", "neruba_refunds", ["project_id", "payment_id", "id"])
    op.create_table(
        "neruba_allocations",
        kinds.text("project_id"),
        kinds.text("transaction_id"),
        kinds.text("invoice_id"),
        kinds.text("subject_id"),
        kinds.text("kind"),
        kinds.int8("micros"),
        kinds.text("payment_id", null=True),
        sa.PrimaryKeyConstraint(
            "project_id", "transaction_id", "invoice_id", "subject_id", name="neruba_allocations_pk"
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "invoice_id"],
            ["neruba_invoices.project_id", "neruba_invoices.id"],
            name="neruba_allocations_invoice_fk",
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "payment_id"],
            ["neruba_payments.project_id", "neruba_payments.id"],
            name="neruba_allocations_payment_fk",
        ),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_allocations_project_fk"),
        sa.ForeignKeyConstraint(
            ["project_id", "transaction_id"],
            ["neruba_transactions.project_id", "neruba_transactions.id"],
            name="neruba_allocations_transaction_fk",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.CheckConstraint(
            one_of("kind", "payment", "refund", "credit_note", "write_off", "dispute"),
            name="neruba_allocations_kind_ck",
        ),
        sa.CheckConstraint("micros <> 0", name="neruba_allocations_micros_ck"),
    )
    op.create_index("neruba_allocations_invoice_ix", "neruba_allocations", ["project_id", "invoice_id"])
    op.create_index("neruba_allocations_payment_ix", "neruba_allocations", ["project_id", "payment_id"])
    op.create_table(
        "neruba_corrections",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.text("kind"),
        kinds.int4("number"),
        kinds.text("invoice_id"),
        kinds.int8("amount_micros"),
        kinds.int8("tax_micros"),
        kinds.int8("settled_micros"),
        kinds.text("reason"),
        kinds.text("transaction_id"),
        kinds.int8("created_at"),
        kinds.text("actor"),
        kinds.text("request_id", null=True),
        sa.PrimaryKeyConstraint("project_id", "id", name="neruba_corrections_pk"),
        sa.UniqueConstraint("project_id", "kind", "number", name="neruba_corrections_number_uq"),
        sa.ForeignKeyConstraint(
            ["project_id", "invoice_id"],
            ["neruba_invoices.project_id", "neruba_invoices.id"],
            name="neruba_corrections_invoice_fk",
        ),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_corrections_project_fk"),
        sa.ForeignKeyConstraint(
            ["project_id", "transaction_id"],
            ["neruba_transactions.project_id", "neruba_transactions.id"],
            name="neruba_corrections_transaction_fk",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.CheckConstraint(
            "number > 0 AND amount_micros > 0 AND tax_micros BETWEEN 0 AND amount_micros "
            "AND settled_micros BETWEEN 0 AND amount_micros",
            name="neruba_corrections_amounts_ck",
        ),
        sa.CheckConstraint(one_of("kind", "credit_note", "write_off"), name="neruba_corrections_kind_ck"),
    )
    op.create_index("neruba_corrections_invoice_ix", "neruba_corrections", ["project_id", "invoice_id", "id"])
    _disputes(op, kinds)
    _collections(op, kinds)
    _events(op, kinds)
    append_only(op, "neruba_allocations", "neruba_corrections")


def _disputes(op: Operations, kinds: Kinds) -> None:
    op.create_table(
        "neruba_disputes",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.text("payment_id"),
        kinds.text("provider_id"),
        kinds.int8("amount_micros"),
        kinds.int8("taken_micros"),
        kinds.text("reason"),
        kinds.text("status"),
        kinds.text("transaction_id"),
        kinds.int8("created_at"),
        kinds.int8("fee_micros"),
        kinds.int8("closed_at", null=True),
        kinds.int8("fee_back_micros"),
        sa.PrimaryKeyConstraint("project_id", "id", name="neruba_disputes_pk"),
        sa.UniqueConstraint("project_id", "provider_id", name="neruba_disputes_provider_uq"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_disputes_project_fk"),
        sa.ForeignKeyConstraint(
            ["project_id", "payment_id"],
            ["neruba_payments.project_id", "neruba_payments.id"],
            name="neruba_disputes_payment_fk",
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "transaction_id"],
            ["neruba_transactions.project_id", "neruba_transactions.id"],
            name="neruba_disputes_transaction_fk",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.CheckConstraint(one_of("status", "open", "won", "lost"), name="neruba_disputes_status_ck"),
        sa.CheckConstraint(
            "amount_micros > 0 AND taken_micros BETWEEN 0 AND amount_micros "
            "AND fee_micros >= 0 AND fee_back_micros >= 0",
            name="neruba_disputes_amounts_ck",
        ),
        sa.CheckConstraint("(status = 'open') = (closed_at IS NULL)", name="neruba_disputes_closed_ck"),
    )
    op.create_index("neruba_disputes_payment_ix", "neruba_disputes", ["project_id", "payment_id", "id"])


def _collections(op: Operations, kinds: Kinds) -> None:
    op.create_table(
        "neruba_collections",
        kinds.text("project_id"),
        kinds.text("invoice_id"),
        kinds.int4("tries"),
        kinds.int8("due_at", null=True),
        sa.PrimaryKeyConstraint("project_id", "invoice_id", name="neruba_collections_pk"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_collections_project_fk"),
        sa.ForeignKeyConstraint(
            ["project_id", "invoice_id"],
            ["neruba_invoices.project_id", "neruba_invoices.id"],
            name="neruba_collections_invoice_fk",
        ),
        sa.CheckConstraint("tries >= 0", name="neruba_collections_tries_ck"),
    )


def _events(op: Operations, kinds: Kinds) -> None:
    op.create_table(
        "neruba_provider_events",
        kinds.text("id"),
        kinds.text("provider"),
        kinds.text("event_id"),
        kinds.text("type"),
        kinds.text("subject_id", null=True),
        kinds.text("payload"),
        kinds.int8("received_at"),
        kinds.text("state"),
        kinds.int4("tries"),
        kinds.int8("due_at", null=True),
        kinds.int8("ended_at", null=True),
        kinds.text("failure", null=True),
        kinds.text("project_id", null=True),
        kinds.text("payment_id", null=True),
        sa.PrimaryKeyConstraint("id", name="neruba_provider_events_pk"),
        sa.UniqueConstraint("provider", "event_id", name="neruba_provider_events_event_uq"),
        sa.CheckConstraint(
            one_of("state", "pending", "processed", "ignored", "dead"), name="neruba_provider_events_state_ck"
        ),
        sa.CheckConstraint(
            "(state = 'pending') = (due_at IS NOT NULL)", name="neruba_provider_events_due_ck"
        ),
    )
    op.create_index("neruba_provider_events_due_ix", "neruba_provider_events", ["due_at"])
    op.create_index("neruba_provider_events_state_ix", "neruba_provider_events", ["state", "id"])
