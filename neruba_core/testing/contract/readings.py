"""Every way to read a project, and projects that have something to read in every way.

Twins are projects with the same rows under the same ids and keys; only one word in each row tells them
apart.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from attrs import evolve

from neruba_core.audit.model import Tally
from neruba_core.instants import Period
from neruba_core.invoices.model import InvoiceState
from neruba_core.ledger.model import Account, TransactionType
from neruba_core.payments.model import Collection, CorrectionKind
from neruba_core.storage.port import Storage, UnitOfWork
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.samples import END, NOW, START, TOKENS, later, tenant
from neruba_core.usage.model import Wanted

Read = Callable[[UnitOfWork, str], Any]

READS: dict[str, Read] = {
    "tenancy.project": lambda work, p: work.tenancy.project(p),
    "tenancy.projects": lambda work, p: work.tenancy.projects([p]),
    "tenancy.lock_project": lambda work, p: work.tenancy.lock_project(p),
    "tenancy.lock_projects": lambda work, p: work.tenancy.lock_projects([p]),
    "tenancy.membership": lambda work, p: [
        work.tenancy.membership(p, member.user_id) for member in work.tenancy.members(p)
    ],
    "tenancy.members": lambda work, p: work.tenancy.members(p),
    "tenancy.invitations": lambda work, p: work.tenancy.invitations(p),
    "access.keys": lambda work, p: work.access.keys(p, limit=9, before=None),
    "access.expiring_keys": lambda work, p: work.access.expiring_keys([p], start=NOW, end=END),
    "idempotency.answers": lambda work, p: work.idempotency.answers(p, "charge", ["same"]),
    "metering.metrics": lambda work, p: work.metering.metrics([p]),
    "usage.by_keys": lambda work, p: work.usage.by_keys(p, ["same"]),
    "usage.by_event_ids": lambda work, p: work.usage.by_event_ids(p, ["same"]),
    "usage.event": lambda work, p: work.usage.event(p, "use_same"),
    "usage.events": lambda work, p: work.usage.events(p, limit=9, before=None),
    "usage.voids": lambda work, p: work.usage.voids(p, ["use_void"]),
    "usage.totals": lambda work, p: work.usage.totals(p, TOKENS, START, END),
    "usage.totals_of": lambda work, p: work.usage.totals_of([Wanted(p, TOKENS, START, END)]),
    "usage.distinct_of": lambda work, p: work.usage.distinct_of([Wanted(p, TOKENS, START, END)], "twin"),
    "usage.grouped_totals": lambda work, p: work.usage.grouped_totals(
        Wanted(p, TOKENS, START, END), "twin", at_most=9
    ),
    "usage.grouped_distinct": lambda work, p: work.usage.grouped_distinct(
        Wanted(p, TOKENS, START, END), "twin", "twin", at_most=9
    ),
    "usage.active_days": lambda work, p: [
        (each.metric_key, each.day) for each in work.usage.active_days([p])
    ],
    "usage.changed_days": lambda work, p: [
        (each.metric_key, each.day) for each in work.usage.changed_days(p, since=0, before=END)
    ],
    "usage.quarantined": lambda work, p: work.usage.quarantined(p, "qua_same"),
    "usage.quarantined_by_keys": lambda work, p: work.usage.quarantined_by_keys(p, ["same"]),
    "usage.holds": lambda work, p: work.usage.holds([p]),
    "ledger.lock_heads": lambda work, p: work.ledger.lock_heads([p]),
    "ledger.head": lambda work, p: work.ledger.head(p),
    "ledger.heads": lambda work, p: work.ledger.heads([p]),
    "ledger.accounts": lambda work, p: set(work.ledger.accounts([p])),
    "ledger.transactions_by_keys": lambda work, p: work.ledger.transactions_by_keys(p, "credit", ["same"]),
    "ledger.transactions_by_event_ids": lambda work, p: work.ledger.transactions_by_event_ids(
        p, "credit", ["same"]
    ),
    "ledger.transaction": lambda work, p: work.ledger.transaction(p, "txn_same"),
    "ledger.transactions": lambda work, p: work.ledger.transactions(p, limit=9, before=None),
    "ledger.reversals_of": lambda work, p: work.ledger.reversals_of(p, "txn_same"),
    "ledger.entries": lambda work, p: work.ledger.entries(p, limit=9, before=None),
    "ledger.balances": lambda work, p: work.ledger.balances(p),
    "ledger.transaction_count": lambda work, p: work.ledger.transaction_count(p),
    "wallets.grants": lambda work, p: work.wallets.grants(p, ["gra_same"]),
    "wallets.open_lots": lambda work, p: set(work.wallets.open_lots([p])),
    "wallets.grants_of": lambda work, p: work.wallets.grants_of(p),
    "wallets.holds": lambda work, p: work.wallets.holds(p, ["hld_same"]),
    "wallets.holds_by_event_ids": lambda work, p: work.wallets.holds_by_event_ids(p, ["same"]),
    "wallets.holds_expired": lambda work, p: work.wallets.holds_expired([p], END),
    "wallets.next_hold_expiry": lambda work, p: [
        (each.project_id, work.wallets.next_hold_expiry(p)) for each in work.wallets.open_holds(p)
    ],
    "wallets.holds_at": lambda work, p: work.wallets.holds_at(p, samples.NOW),
    "wallets.open_holds": lambda work, p: work.wallets.open_holds(p),
    "pricing.prices": lambda work, p: work.pricing.prices([p]),
    "pricing.price": lambda work, p: work.pricing.price(p, "prc_same"),
    "pricing.meters": lambda work, p: work.pricing.meters(p, [("same", START)]),
    "pricing.meters_between": lambda work, p: work.pricing.meters_between([p], START, END),
    "subscriptions.decisions": lambda work, p: work.subscriptions.decisions([p]),
    "billing.periods": lambda work, p: work.billing.periods([p]),
    "billing.run": lambda work, p: work.billing.run(p, "run_same"),
    "billing.runs": lambda work, p: work.billing.runs(p, limit=9, before=None),
    "invoices.invoice": lambda work, p: work.invoices.invoice(p, "inv_same"),
    "invoices.of_period": lambda work, p: work.invoices.of_period([p], "2026-03"),
    "invoices.last_numbers": lambda work, p: work.invoices.last_numbers([p]),
    "invoices.issued": lambda work, p: work.invoices.issued(p, ["2026-03"]),
    "invoices.invoices": lambda work, p: work.invoices.invoices(p, limit=9, before=None),
    "invoices.voided": lambda work, p: work.invoices.voided([p]),
    "invoices.open_totals": lambda work, p: work.invoices.open_totals(p),
    "invoices.pdf": lambda work, p: work.invoices.pdf(p, "inv_same"),
    "invoices.left_to_pay": lambda work, p: work.invoices.left_to_pay(p),
    "payments.payment": lambda work, p: work.payments.payment(p, "pay_same"),
    "payments.payments": lambda work, p: work.payments.payments(p, limit=9, before=None),
    "payments.method": lambda work, p: work.payments.method(p),
    "payments.refund": lambda work, p: work.payments.refund(p, "rfd_same"),
    "payments.collection": lambda work, p: work.payments.collection(p, "inv_same"),
    "payments.collectable": lambda work, p: work.payments.collectable(NOW, limit=9, project_id=p),
    "payments.disputes": lambda work, p: work.payments.disputes(p, "pay_same"),
    "payments.refunds": lambda work, p: work.payments.refunds(p, "pay_same"),
    "payments.pending_refunds": lambda work, p: work.payments.pending_refunds(p),
    "payments.allocations_of_payment": lambda work, p: work.payments.allocations_of_payment(p, "pay_same"),
    "payments.allocations_of_invoice": lambda work, p: work.payments.allocations_of_invoice(p, "inv_same"),
    "payments.corrections": lambda work, p: work.payments.corrections(p, ["inv_same"]),
    "payments.last_correction": lambda work, p: work.payments.last_correction(p, CorrectionKind.CREDIT_NOTE),
    "outbox.endpoint": lambda work, p: work.outbox.endpoint(p, "whe_same"),
    "outbox.lock_endpoints": lambda work, p: list(work.outbox.lock_endpoints([(p, "whe_same")]).values()),
    "outbox.endpoints": lambda work, p: work.outbox.endpoints(p, limit=9, before=None),
    "outbox.listeners": lambda work, p: list(work.outbox.listeners([p]).values()),
    "outbox.messages": lambda work, p: work.outbox.messages(p, ["msg_same"]),
    "outbox.delivery": lambda work, p: work.outbox.delivery(p, "dlv_same"),
    "outbox.deliveries": lambda work, p: work.outbox.deliveries(p, limit=9, before=None),
    "audit.changes": lambda work, p: work.audit.changes(p, limit=9, before=None),
    "audit.attempts": lambda work, p: work.audit.attempts(p, limit=9, before=None),
    "audit.totals": lambda work, p: work.audit.totals(p),
    "audit.trail": lambda work, p: work.audit.trail(p, "req_same"),
}
"""Every method that takes a project, as a reading of it."""


def readings(work: UnitOfWork, project_id: str) -> dict[str, Any]:
    """What every method says about the project."""
    return {method: read(work, project_id) for method, read in READS.items()}


def twin(storage: Storage, user_id: str, word: str) -> str:
    """Commit a project full of rows whose ids and keys are the same in every twin, and *word* is not."""
    project_id = tenant(storage, name=word)
    size = len(word)
    with storage.work() as work:
        work.tenancy.put_member(samples.membership(project_id, user_id))
        work.tenancy.add_invitation(samples.invitation(project_id, id="inv_same", email=word))
        # Access keys are found without their project, so their ids are unique in the deployment.
        work.access.add_key(samples.access_key(project_id, name=word))
        work.metering.add_metrics([samples.metric(project_id, "same", unit=word)])
        event = samples.usage_event(
            project_id,
            id="use_same",
            idempotency_key="same",
            event_id="same",
            units_micros=size,
            actor=word,
            properties={"twin": word},
        )
        voided = samples.usage_event(project_id, id="use_void", actor=word)
        work.usage.insert([event, voided])
        work.usage.add_void(samples.void(voided, reason=word))
        waiting = samples.new_usage(idempotency_key="same")
        work.usage.quarantine(samples.quarantined(project_id, waiting, id="qua_same", reason=word))
        work.usage.hold([samples.late_hold(event, metric_key=word)])
        movements = (("promotions", size), ("wallet:gra_same", -size))
        same: dict[str, Any] = {"idempotency_key": "same", "event_id": "same", "description": word}
        booked = samples.book_in(work, project_id, *movements, id="txn_same", grant_id="gra_same", **same)
        samples.book_in(
            work,
            project_id,
            *movements,
            id="txn_back",
            type=TransactionType.REVERSAL,
            operation="reverse",
            reverses="txn_same",
            **same,
        )
        work.wallets.add_grants([samples.grant(booked, id="gra_same", amount_micros=size)])
        work.ledger.write_accounts([Account(project_id, account, micros) for account, micros in movements])
        work.wallets.add_holds([samples.hold(project_id, id="hld_same", event_id="same", description=word)])
        _twin_billing(work, project_id, word)
        _twin_outbox(work, project_id, word)
        work.idempotency.add_answers([samples.stored_answer(project_id, idempotency_key="same", body=word)])
        work.audit.add_changes([samples.change(project_id, id="chg_same", details=word)])
        work.audit.add_attempts([samples.attempt(project_id, id="att_same", message=word)])
        work.audit.add_tallies([Tally(project_id, "tal_same", accepted=size)])
        work.audit.add_trail([samples.trail(project_id, id="trl_same", request_id="req_same", path=word)])
    return project_id


def _twin_billing(work: UnitOfWork, project_id: str, word: str) -> None:
    """The part of `twin` that is about prices and what came of them; the project's head is locked."""
    size = len(word)
    work.pricing.add_price(samples.price(project_id, id="prc_same", metric_key="same", created_by=word))
    work.pricing.write_meters([samples.meter(project_id, metric_key="same", events=size)])
    work.subscriptions.add_decision(samples.decision(project_id, None, id="dec_same", actor=word))
    ends = START + timedelta(days=size)
    work.billing.put_periods([samples.billing_period(project_id, span=Period(START, ends))])
    work.billing.add_runs([samples.run(project_id, id="run_same", actor=word)])
    work.invoices.finalize(
        [
            samples.invoice(
                project_id, id=f"inv_{name}", number=size + part, part=size + part, project_name=word
            )
            for part, name in enumerate(("same", "bare"), start=1)
        ]
    )
    void = samples.invoice(project_id, id="inv_void", number=size + 90, part=98, project_name=word)
    work.invoices.finalize([void])
    work.invoices.set_state(
        evolve(void, state=InvoiceState.VOID, voided_at=later(seconds=1), void_reason=word)
    )
    work.invoices.put_drafts([samples.invoice(project_id, id="inv_draft", part=99, project_name=word)])
    work.invoices.keep_pdf(project_id, "inv_same", word.encode())
    _twin_payments(work, project_id, word)


def _twin_payments(work: UnitOfWork, project_id: str, word: str) -> None:
    """The part of `twin` that is about payments."""
    size = len(word)
    paid = samples.payment(project_id, id="pay_same", transaction_id="txn_same", reference=word)
    work.payments.add_payment(paid)
    work.payments.put_method(samples.payment_method(project_id, customer=word))
    work.payments.add_refund(samples.refund(paid, "txn_same", id="rfd_same", reason=word))
    work.payments.put_collection(Collection(project_id, "inv_same", size, NOW))
    work.payments.add_dispute(
        samples.dispute(paid, "txn_same", id="dsp_same", provider_id="dp_same", reason=word)
    )
    work.payments.add_allocations(
        [samples.allocation(project_id, "txn_same", "inv_same", micros=size, payment_id="pay_same")]
    )
    work.payments.add_correction(
        samples.correction(project_id, "txn_same", "inv_same", id="crn_same", number=size, reason=word)
    )


def _twin_outbox(work: UnitOfWork, project_id: str, word: str) -> None:
    """The part of `twin` that is about messages."""
    work.outbox.add_endpoint(samples.endpoint(project_id, id="whe_same", created_by=word))
    work.outbox.add_messages([samples.message(project_id, id="msg_same", body=word)])
    work.outbox.add_deliveries(
        [samples.delivery(project_id, "whe_same", "msg_same", id="dlv_same", type=word)]
    )
