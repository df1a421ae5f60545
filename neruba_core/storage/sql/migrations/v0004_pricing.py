"""Version 4: prices, plans, subscriptions, billing periods, runs and invoices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic.operations import Operations

from neruba_core.storage.sql.migrations.columns import Kinds, append_only, one_of


def upgrade(op: Operations) -> None:
    """Make the tables."""
    _prices(op)
    _subscriptions(op)
    _billing(op)
    _invoices(op)
    append_only(
        op,
        "neruba_prices",
        "neruba_shared_prices",
        "neruba_plans",
        "neruba_subscription_decisions",
        "neruba_runs",
        "neruba_invoice_periods",
        "neruba_invoice_pdfs",
    )
    _guard_invoices(op)


def _prices(op: Operations) -> None:
    kinds = Kinds(op)
    op.create_table(
        "neruba_prices",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.text("metric_key"),
        kinds.int4("version"),
        kinds.text("currency"),
        kinds.text("tariff"),
        kinds.int8("effective_from"),
        kinds.int8("created_at"),
        kinds.text("created_by"),
        sa.PrimaryKeyConstraint("project_id", "id", name="neruba_prices_pk"),
        sa.UniqueConstraint(
            "project_id", "metric_key", "currency", "version", name="neruba_prices_version_uq"
        ),
        sa.UniqueConstraint(
            "project_id", "metric_key", "currency", "effective_from", name="neruba_prices_effective_uq"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_prices_project_fk"),
        sa.CheckConstraint("version > 0", name="neruba_prices_version_ck"),
    )
    op.create_table(
        "neruba_shared_prices",
        kinds.text("id"),
        kinds.text("metric_key"),
        kinds.int4("version"),
        kinds.text("currency"),
        kinds.text("tariff"),
        kinds.int8("effective_from"),
        kinds.int8("created_at"),
        kinds.text("created_by"),
        sa.PrimaryKeyConstraint("id", name="neruba_shared_prices_pk"),
        sa.UniqueConstraint("metric_key", "currency", "version", name="neruba_shared_prices_version_uq"),
        sa.UniqueConstraint(
            "metric_key", "currency", "effective_from", name="neruba_shared_prices_effective_uq"
        ),
        sa.CheckConstraint("version > 0", name="neruba_shared_prices_version_ck"),
    )
    op.create_table(
        "neruba_meters",
        kinds.text("project_id"),
        kinds.text("metric_key"),
        kinds.int8("span_start"),
        kinds.int8("span_end"),
        kinds.text("price_id"),
        kinds.text("units_micros"),
        kinds.int8("events"),
        kinds.int8("drawn_micros"),
        sa.PrimaryKeyConstraint("project_id", "metric_key", "span_start", name="neruba_meters_pk"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_meters_project_fk"),
        sa.CheckConstraint("span_start < span_end", name="neruba_meters_span_ck"),
    )


def _subscriptions(op: Operations) -> None:
    kinds = Kinds(op)
    op.create_table(
        "neruba_plans",
        kinds.text("id"),
        kinds.text("key"),
        kinds.int4("version"),
        kinds.text("name"),
        kinds.text("currency"),
        kinds.int8("amount_micros"),
        kinds.text("timing"),
        kinds.int4("trial_days"),
        kinds.int8("minimum_commitment_micros", null=True),
        kinds.text("prices"),
        kinds.int8("created_at"),
        kinds.text("created_by"),
        sa.PrimaryKeyConstraint("id", name="neruba_plans_pk"),
        sa.UniqueConstraint("key", "version", name="neruba_plans_version_uq"),
        sa.CheckConstraint("version > 0", name="neruba_plans_version_ck"),
        sa.CheckConstraint(
            "amount_micros >= 0 AND trial_days >= 0 AND minimum_commitment_micros >= 0",
            name="neruba_plans_amounts_ck",
        ),
        sa.CheckConstraint(one_of("timing", "advance", "arrears"), name="neruba_plans_timing_ck"),
    )
    op.create_table(
        "neruba_subscription_decisions",
        kinds.text("project_id"),
        kinds.int4("number"),
        kinds.text("id"),
        kinds.text("kind"),
        kinds.text("plan_id", null=True),
        kinds.int8("quantity"),
        kinds.int8("effective_at"),
        kinds.int8("trial_ends_at", null=True),
        kinds.int8("requested_at"),
        kinds.text("actor"),
        kinds.text("request_id", null=True),
        sa.PrimaryKeyConstraint("project_id", "number", name="neruba_subscription_decisions_pk"),
        sa.UniqueConstraint("project_id", "id", name="neruba_subscription_decisions_id_uq"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["neruba_projects.id"], name="neruba_subscription_decisions_project_fk"
        ),
        sa.ForeignKeyConstraint(
            ["plan_id"], ["neruba_plans.id"], name="neruba_subscription_decisions_plan_fk"
        ),
        sa.CheckConstraint("number > 0 AND quantity >= 0", name="neruba_subscription_decisions_numbers_ck"),
        sa.CheckConstraint(
            "(kind = 'cancel') = (plan_id IS NULL)", name="neruba_subscription_decisions_plan_ck"
        ),
        sa.CheckConstraint(
            one_of("kind", "start", "change", "cancel"), name="neruba_subscription_decisions_kind_ck"
        ),
    )


def _billing(op: Operations) -> None:
    kinds = Kinds(op)
    op.create_table(
        "neruba_periods",
        kinds.text("project_id"),
        kinds.text("name"),
        kinds.int8("span_start"),
        kinds.int8("span_end"),
        kinds.int8("invoiced_at", null=True),
        sa.PrimaryKeyConstraint("project_id", "name", name="neruba_periods_pk"),
        sa.UniqueConstraint("project_id", "span_start", name="neruba_periods_start_uq"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_periods_project_fk"),
        sa.CheckConstraint("span_start < span_end", name="neruba_periods_span_ck"),
    )
    op.create_table(
        "neruba_runs",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.text("period"),
        kinds.int8("span_start"),
        kinds.int8("span_end"),
        kinds.text("state"),
        kinds.flag("dry_run"),
        kinds.flag("unchanged"),
        kinds.int8("at"),
        kinds.int8("cutoff"),
        kinds.text("input_digest"),
        kinds.text("counts"),
        kinds.text("totals"),
        kinds.text("invoice_ids"),
        kinds.text("actor"),
        kinds.text("request_id", null=True),
        sa.PrimaryKeyConstraint("project_id", "id", name="neruba_runs_pk"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_runs_project_fk"),
        sa.CheckConstraint("span_start < span_end", name="neruba_runs_span_ck"),
        sa.CheckConstraint(one_of("state", "draft", "finalized"), name="neruba_runs_state_ck"),
    )
    op.create_index("neruba_runs_period_ix", "neruba_runs", ["project_id", "period", "id"])
    op.create_table(
        "neruba_leases",
        kinds.text("name"),
        kinds.text("holder"),
        kinds.int8("taken_at"),
        kinds.int8("leased_until"),
        sa.PrimaryKeyConstraint("name", name="neruba_leases_pk"),
    )
    op.create_table(
        "neruba_jobs",
        kinds.text("name"),
        kinds.int8("started_at"),
        kinds.int8("ended_at", null=True),
        kinds.int8("succeeded_at", null=True),
        kinds.int8("failed_at", null=True),
        kinds.text("error", null=True),
        kinds.int4("failures"),
        sa.PrimaryKeyConstraint("name", name="neruba_jobs_pk"),
        sa.CheckConstraint("failures >= 0", name="neruba_jobs_failures_ck"),
    )


def _invoices(op: Operations) -> None:
    kinds = Kinds(op)
    op.create_table(
        "neruba_invoices",
        kinds.text("project_id"),
        kinds.text("id"),
        kinds.text("kind"),
        kinds.text("period"),
        kinds.int8("span_start"),
        kinds.int8("span_end"),
        kinds.int4("part"),
        kinds.int4("number", null=True),
        kinds.text("state"),
        kinds.text("currency"),
        kinds.text("tax_rate"),
        kinds.int8("subtotal_micros"),
        kinds.int8("tax_micros"),
        kinds.int8("total_micros"),
        kinds.int8("already_drawn_micros"),
        kinds.int8("credit_applied_micros"),
        kinds.int8("overdraft_billed_micros"),
        kinds.int8("credit_granted_micros"),
        kinds.int8("rounding_micros"),
        kinds.int8("amount_due_micros"),
        kinds.int8("paid_micros"),
        kinds.text("blockers"),
        kinds.text("input_digest"),
        kinds.int8("cutoff"),
        kinds.int8("ledger_version", null=True),
        kinds.text("transaction_id", null=True),
        kinds.text("project_name"),
        kinds.text("timezone"),
        kinds.int8("created_at"),
        kinds.int8("finalized_at", null=True),
        kinds.int8("voided_at", null=True),
        kinds.text("void_reason", null=True),
        kinds.int8("past_due_at", null=True),
        kinds.int8("disputed_micros"),
        kinds.text("lines"),
        sa.PrimaryKeyConstraint("project_id", "id", name="neruba_invoices_pk"),
        sa.UniqueConstraint("project_id", "period", "part", name="neruba_invoices_part_uq"),
        sa.UniqueConstraint("project_id", "number", name="neruba_invoices_number_uq"),
        sa.ForeignKeyConstraint(["project_id"], ["neruba_projects.id"], name="neruba_invoices_project_fk"),
        sa.ForeignKeyConstraint(
            ["project_id", "transaction_id"],
            ["neruba_transactions.project_id", "neruba_transactions.id"],
            name="neruba_invoices_transaction_fk",
            deferrable=True,
            initially="DEFERRED",
        ),
        sa.CheckConstraint("span_start < span_end", name="neruba_invoices_span_ck"),
        sa.CheckConstraint("part > 0 AND number > 0", name="neruba_invoices_numbers_ck"),
        sa.CheckConstraint(
            "kind = 'credit_note' OR amount_due_micros >= 0 AND paid_micros >= 0",
            name="neruba_invoices_amounts_ck",
        ),
        sa.CheckConstraint(
            "(state = 'draft') = (number IS NULL) AND (state = 'draft') = (finalized_at IS NULL)",
            name="neruba_invoices_finalized_ck",
        ),
        sa.CheckConstraint("(state = 'void') = (voided_at IS NOT NULL)", name="neruba_invoices_voided_ck"),
        sa.CheckConstraint(
            one_of("kind", "invoice", "supplementary", "credit_note"), name="neruba_invoices_kind_ck"
        ),
        sa.CheckConstraint(
            one_of("state", "draft", "finalized", "paid", "void"), name="neruba_invoices_state_ck"
        ),
    )
    still_open = sa.text("state = 'finalized' AND paid_micros < amount_due_micros")
    op.create_index(
        "neruba_invoices_open_ix",
        "neruba_invoices",
        ["project_id"],
        postgresql_where=still_open,
        sqlite_where=still_open,
    )
    void = sa.text("state = 'void'")
    op.create_index(
        "neruba_invoices_void_ix",
        "neruba_invoices",
        ["project_id"],
        postgresql_where=void,
        sqlite_where=void,
    )
    op.create_table(
        "neruba_invoice_periods",
        kinds.text("project_id"),
        kinds.text("period"),
        kinds.text("invoice_id"),
        sa.PrimaryKeyConstraint("project_id", "period", "invoice_id", name="neruba_invoice_periods_pk"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["neruba_projects.id"], name="neruba_invoice_periods_project_fk"
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "invoice_id"],
            ["neruba_invoices.project_id", "neruba_invoices.id"],
            name="neruba_invoice_periods_invoice_fk",
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "neruba_invoice_pdfs",
        kinds.text("project_id"),
        kinds.text("invoice_id"),
        kinds.binary("content"),
        sa.PrimaryKeyConstraint("project_id", "invoice_id", name="neruba_invoice_pdfs_pk"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["neruba_projects.id"], name="neruba_invoice_pdfs_project_fk"
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "invoice_id"],
            ["neruba_invoices.project_id", "neruba_invoices.id"],
            name="neruba_invoice_pdfs_invoice_fk",
        ),
    )


_FIXED = (
    "project_id id kind period span_start span_end part number currency tax_rate subtotal_micros tax_micros "
    "total_micros already_drawn_micros credit_applied_micros overdraft_billed_micros credit_granted_micros "
    "rounding_micros amount_due_micros blockers input_digest cutoff ledger_version transaction_id "
    "project_name timezone created_at finalized_at lines"
)

_POSTGRESQL_GUARD = """
CREATE FUNCTION neruba_refuse_invoice_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a finalized invoice is never changed: % is refused', TG_OP
        USING ERRCODE = 'restrict_violation';
END
$$
"""


def _guard_invoices(op: Operations) -> None:
    """Refuse whatever happens to a finalized invoice but a new state, a payment and the reason of a void."""
    before = ", ".join(f"OLD.{name}" for name in _FIXED.split())
    after = ", ".join(f"NEW.{name}" for name in _FIXED.split())
    if not Kinds(op).postgresql:
        changed = f"NEW.state = 'draft' OR ({before}) IS NOT ({after})"
        for change, harm in (("UPDATE", f"AND ({changed})"), ("DELETE", "")):
            op.execute(
                f"CREATE TRIGGER neruba_invoices_no_{change.lower()} BEFORE {change} ON neruba_invoices "
                f"WHEN OLD.state <> 'draft' {harm} "
                f"BEGIN SELECT RAISE(ABORT, 'a finalized invoice is never changed: {change} is refused'); END"
            )
        return
    op.execute(_POSTGRESQL_GUARD)
    changed = f"NEW.state = 'draft' OR ({before}) IS DISTINCT FROM ({after})"
    for change, harm in (("UPDATE", f"AND ({changed})"), ("DELETE", "")):
        op.execute(
            f"CREATE TRIGGER neruba_invoices_no_{change.lower()} BEFORE {change} ON neruba_invoices "
            f"FOR EACH ROW WHEN (OLD.state <> 'draft' {harm}) EXECUTE FUNCTION neruba_refuse_invoice_change()"
        )
    op.execute(
        "CREATE TRIGGER neruba_invoices_no_truncate BEFORE TRUNCATE ON neruba_invoices "
        "FOR EACH STATEMENT EXECUTE FUNCTION neruba_refuse_invoice_change()"
    )
