"""Nouns to store: each valid, each with ids of its own, each to be changed by keyword.

Whatever a row refers to must be there first, since a database may insist on it: `tenant` makes a project
with its head and two metrics. Tests work in tenants of their own and so can share one database.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from neruba_core.access.model import AccessKey, PlatformKey, PlatformScope, Scope
from neruba_core.audit.model import Attempt, Change, Outcome, Trail
from neruba_core.billing.model import BillingPeriod, Run, RunState
from neruba_core.idempotency.model import Answer
from neruba_core.identity.model import Session, Throttle, User
from neruba_core.ids import Ids
from neruba_core.instants import Instant, Period
from neruba_core.invoices.model import Invoice, InvoiceKind, InvoiceState, Line, LineKind
from neruba_core.ledger.model import Account, Entry, Head, Transaction, TransactionType
from neruba_core.metering.model import Aggregation, Metric, SharedMetric
from neruba_core.outbox.model import Delivery, DeliveryState, Endpoint, Message, Salt
from neruba_core.payments.model import (
    Allocation,
    AllocationKind,
    Correction,
    CorrectionKind,
    Dispute,
    DisputeStatus,
    EventState,
    Payment,
    PaymentMethod,
    PaymentStatus,
    ProviderEvent,
    Refund,
)
from neruba_core.pricing.meters import Meter
from neruba_core.pricing.model import Price, Tariff, Unit
from neruba_core.storage.port import Storage, UnitOfWork
from neruba_core.subscriptions.model import DecisionKind, Plan, PlanPrice, SubscriptionDecision, Timing
from neruba_core.tenancy.model import Invitation, Membership, MetricPolicy, Project, Role
from neruba_core.usage.model import (
    HoldKind,
    LateHold,
    NewUsage,
    QuarantinedUsage,
    QuarantineState,
    UsageEvent,
    UsageVoid,
)
from neruba_core.wallets.model import Draw, Grant, GrantKind, Hold

NOW = datetime(2026, 3, 17, 10, 15, 0, 123_457, tzinfo=UTC)
START = datetime(2026, 3, 1, tzinfo=UTC)
END = datetime(2026, 4, 1, tzinfo=UTC)
MARCH = Period(START, END)
MICROSECOND = timedelta(microseconds=1)

TOKENS = "api_tokens"
STORED = "Stored.GB"

AWKWARD = "'quotes' \"double\" 100 % %s :name ? \\ {0} -- ; \U0001f600 \u00e9 e\u0301 \u202e \u6771\u4eac"
"""Text that says what it should only if nobody on the way takes it for more than text."""

_IDS = Ids()


def new_id(prefix: str) -> str:
    """An id greater than all before it."""
    return _IDS.new(prefix)


def later(*, seconds: int = 0, micros: int = 0) -> Instant:
    """A moment after `NOW`."""
    return NOW + timedelta(seconds=seconds, microseconds=micros)


def digest(text: str) -> bytes:
    """A fingerprint."""
    return hashlib.sha256(text.encode()).digest()


def tenant(storage: Storage, **changes: Any) -> str:
    """Commit a new project with its head and the metrics `TOKENS` and `STORED`; its id."""
    new = project(**changes)
    with storage.work() as work:
        add_tenant(work, new)
    return new.id


def add_tenant(work: UnitOfWork, new: Project) -> None:
    """Like `tenant`, in an open unit."""
    work.tenancy.add_project(new)
    work.ledger.add_head(Head(new.id))
    work.metering.add_metrics([metric(new.id, STORED), metric(new.id, TOKENS)])


def person(storage: Storage) -> str:
    """Commit a new user; its id."""
    new = user()
    with storage.work() as work:
        work.identity.add_user(new)
    return new.id


def user(**changes: Any) -> User:
    user_id = new_id("usr")
    fields: dict[str, Any] = {
        "id": user_id,
        "email": f"{user_id}@example.com",
        "password_hash": "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$aGFzaA",
        "operator": False,
        "created_at": NOW,
    }
    return User(**fields | changes)


def session(user_id: str, **changes: Any) -> Session:
    session_id = new_id("ses")
    fields: dict[str, Any] = {
        "id": session_id,
        "user_id": user_id,
        "access_hash": digest(f"access {session_id}").hex(),
        "access_expires_at": later(seconds=1800),
        "refresh_hash": digest(f"refresh {session_id}").hex(),
        "refresh_expires_at": later(seconds=2_592_000),
        "created_at": NOW,
    }
    return Session(**fields | changes)


def throttle(subject: str, **changes: Any) -> Throttle:
    fields: dict[str, Any] = {
        "subject": subject,
        "failures": 1,
        "blocked_until": NOW,
        "last_failure_at": NOW,
    }
    return Throttle(**fields | changes)


def project(**changes: Any) -> Project:
    fields: dict[str, Any] = {
        "id": new_id("prj"),
        "name": "Research",
        "external_key": None,
        "currency": "USD",
        "credit_limit_micros": 0,
        "metric_policy": MetricPolicy.OPEN,
        "max_backdate_days": 35,
        "timezone": "UTC",
        "created_by": "system",
        "created_at": NOW,
    }
    return Project(**fields | changes)


def membership(project_id: str, user_id: str, **changes: Any) -> Membership:
    fields: dict[str, Any] = {
        "project_id": project_id,
        "user_id": user_id,
        "role": Role.VIEWER,
        "created_at": NOW,
    }
    return Membership(**fields | changes)


def invitation(project_id: str, **changes: Any) -> Invitation:
    invitation_id = new_id("inv")
    fields: dict[str, Any] = {
        "project_id": project_id,
        "id": invitation_id,
        "email": "someone@example.com",
        "role": Role.FINANCE,
        "token_hash": digest(f"{project_id} {invitation_id}").hex(),
        "invited_by": "system",
        "created_at": NOW,
        "expires_at": later(seconds=604_800),
    }
    return Invitation(**fields | changes)


def access_key(project_id: str, **changes: Any) -> AccessKey:
    fields: dict[str, Any] = {
        "id": new_id("key"),
        "project_id": project_id,
        "name": "ingest",
        "scopes": (Scope.INGEST_USAGE, Scope.READ_BILLING),
        "prefix": "nrb_1234",
        "secret_hash": digest("secret").hex(),
        "created_at": NOW,
    }
    return AccessKey(**fields | changes)


def platform_key(**changes: Any) -> PlatformKey:
    key_id = new_id("pky")
    fields: dict[str, Any] = {
        "id": key_id,
        "name": "Sign-up",
        "scopes": (PlatformScope.PROJECTS_WRITE, PlatformScope.READ_BILLING),
        "prefix": f"nrp_test_{key_id.removeprefix('pky_')}",
        "secret_hash": digest(key_id).hex(),
        "created_at": NOW,
        "created_by": "user:usr_a",
    }
    return PlatformKey(**fields | changes)


def shared_metric(**changes: Any) -> SharedMetric:
    fields: dict[str, Any] = {
        "key": new_id("metric"),
        "aggregation": Aggregation.SUM,
        "unit": None,
        "unique_property": None,
        "free": False,
        "properties": (),
        "created_at": NOW,
        "created_by": "user:usr_a",
    }
    return SharedMetric(**fields | changes)


def metric(project_id: str, key: str = TOKENS, **changes: Any) -> Metric:
    fields: dict[str, Any] = {
        "project_id": project_id,
        "key": key,
        "aggregation": Aggregation.SUM,
        "unit": None,
        "unique_property": None,
        "free": False,
        "properties": (),
        "auto_declared": False,
        "created_at": NOW,
    }
    return Metric(**fields | changes)


def usage_event(project_id: str, **changes: Any) -> UsageEvent:
    """An event whose idempotency key and event id are its own id, unless they are given."""
    usage_id = changes.get("id") or new_id("use")
    fields: dict[str, Any] = {
        "project_id": project_id,
        "id": usage_id,
        "metric_key": TOKENS,
        "units_micros": 1_250_000_000,
        "timestamp": NOW,
        "event_id": f"event-{usage_id}",
        "properties": None,
        # Usage ids may be anything here, idempotency keys are visible ASCII.
        "idempotency_key": f"key-{usage_id.encode().hex()}",
        "fingerprint": digest(usage_id),
        "fingerprint_version": 1,
        "received_at": later(seconds=1),
        "late": False,
        "actor": "system",
        "request_id": None,
    }
    return UsageEvent(**fields | changes)


def void(event: UsageEvent, **changes: Any) -> UsageVoid:
    fields: dict[str, Any] = {
        "project_id": event.project_id,
        "usage_id": event.id,
        "reason": "sent by mistake",
        "voided_at": later(seconds=60),
        "actor": "system",
        "last_number": 7,
    }
    return UsageVoid(**fields | changes)


def new_usage(**changes: Any) -> NewUsage:
    fields: dict[str, Any] = {
        "metric_key": "unheard_of",
        "units_micros": 7_000_000,
        "timestamp": NOW,
        "idempotency_key": new_id("sent"),
    }
    return NewUsage(**fields | changes)


def quarantined(project_id: str, event: NewUsage | None = None, **changes: Any) -> QuarantinedUsage:
    event = event or new_usage()
    fields: dict[str, Any] = {
        "project_id": project_id,
        "id": new_id("qua"),
        "event": event,
        "fingerprint": digest(event.idempotency_key),
        "reason": "no metric 'unheard_of'",
        "state": QuarantineState.WAITING,
        "received_at": NOW,
        "actor": "system",
        "request_id": None,
    }
    return QuarantinedUsage(**fields | changes)


def late_hold(event: UsageEvent, **changes: Any) -> LateHold:
    """Late usage whose billing waits for support."""
    fields: dict[str, Any] = {
        "project_id": event.project_id,
        "usage_id": event.id,
        "kind": HoldKind.EVENT,
        "metric_key": event.metric_key,
        "timestamp": event.timestamp,
        "state": QuarantineState.WAITING,
        "held_at": NOW,
    }
    return LateHold(**fields | changes)


def transaction(project_id: str, version: int, *movements: tuple[str, int], **changes: Any) -> Transaction:
    """With entries of the *movements*: account and amount, debit positive. They should come to zero."""
    transaction_id = new_id("txn")
    fields: dict[str, Any] = {
        "project_id": project_id,
        "version": version,
        "id": transaction_id,
        "type": TransactionType.CREDIT,
        "operation": "credit",
        "amount_micros": 100_000_000,
        "balance_after_micros": 100_000_000,
        "description": "welcome",
        "event_id": None,
        "metadata": None,
        "grant_id": None,
        "reverses": None,
        "idempotency_key": f"key-{transaction_id}",
        "fingerprint": digest(transaction_id),
        "fingerprint_version": 1,
        "actor": "system",
        "request_id": None,
        "effective_at": NOW,
        "recorded_at": NOW,
    }
    fields |= changes
    assert sum(micros for _, micros in movements) == 0
    entries = tuple(
        Entry(
            project_id=project_id,
            version=version,
            number=number,
            transaction_id=fields["id"],
            account=account,
            debit_micros=max(micros, 0),
            credit_micros=max(-micros, 0),
            balance_after_micros=micros,
        )
        for number, (account, micros) in enumerate(movements, start=1)
    )
    return Transaction(**fields, entries=entries)


def book(storage: Storage, project_id: str, *movements: tuple[str, int], **changes: Any) -> Transaction:
    """Commit the project's next transaction, with entries of the *movements* (by default a credit)."""
    with storage.work() as work:
        return book_in(work, project_id, *movements, **changes)


def book_in(work: UnitOfWork, project_id: str, *movements: tuple[str, int], **changes: Any) -> Transaction:
    """Like `book`, in an open unit."""
    head = work.ledger.lock_heads([project_id])[project_id]
    movements = movements or (("promotions", 100_000_000), ("wallet:gr_1", -100_000_000))
    booked = transaction(project_id, head.version + 1, *movements, **changes)
    work.ledger.append([booked])
    work.ledger.write_heads([Head(project_id, version=booked.version)])
    return booked


def grant(booked: Transaction, **changes: Any) -> Grant:
    fields: dict[str, Any] = {
        "project_id": booked.project_id,
        "id": new_id("gra"),
        "kind": GrantKind.PROMOTIONAL,
        "priority": 100,
        "amount_micros": 100_000_000,
        "effective_at": NOW,
        "expires_at": None,
        "transaction_id": booked.id,
    }
    return Grant(**fields | changes)


def hold(project_id: str, **changes: Any) -> Hold:
    hold_id = new_id("hld")
    fields: dict[str, Any] = {
        "project_id": project_id,
        "id": hold_id,
        "amount_micros": 80_000_000,
        "description": "render job",
        "event_id": f"event-{hold_id}",
        "idempotency_key": f"key-{hold_id}",
        "draws": (Draw("gra_1", 50_000_000), Draw("gra_2", 1)),
        "expires_at": later(micros=3_600_000_000),
        "created_at": NOW,
    }
    return Hold(**fields | changes)


def stored_answer(scope_id: str, **changes: Any) -> Answer:
    fields: dict[str, Any] = {
        "scope_id": scope_id,
        "operation": "charge",
        "idempotency_key": new_id("sent"),
        "fingerprint": digest("a request"),
        "fingerprint_version": 1,
        "code": "wallet.insufficient_credit",
        "body": '{"available":"0.000000"}',
        "subject_id": None,
        "request_id": None,
        "recorded_at": NOW,
    }
    return Answer(**fields | changes)


def change(project_id: str, **changes: Any) -> Change:
    fields: dict[str, Any] = {
        "project_id": project_id,
        "id": new_id("chg"),
        "at": NOW,
        "actor": "user:usr_1",
        "request_id": None,
        "action": "project.updated",
        "subject": project_id,
        "details": "{}",
    }
    return Change(**fields | changes)


def attempt(project_id: str, **changes: Any) -> Attempt:
    fields: dict[str, Any] = {
        "project_id": project_id,
        "id": new_id("att"),
        "at": NOW,
        "operation": "usage",
        "outcome": Outcome.REPLAYED,
        "code": None,
        "message": None,
        "request_id": None,
        "access_key_id": None,
        "idempotency_key": None,
        "event_id": None,
        "metric_key": None,
        "content": None,
        "prior": None,
        "subject_id": None,
    }
    return Attempt(**fields | changes)


def trail(project_id: str, **changes: Any) -> Trail:
    fields: dict[str, Any] = {
        "project_id": project_id,
        "id": new_id("trl"),
        "request_id": new_id("req"),
        "at": NOW,
        "method": "POST",
        "path": "/ingest/usage",
        "principal": "key:key_1",
        "status": 202,
        "outcome": "accepted",
    }
    return Trail(**fields | changes)


def account(project_id: str, name: str, balance_micros: int) -> Account:
    return Account(project_id, name, balance_micros)


def price(project_id: str | None, **changes: Any) -> Price:
    """A project's own price, or with None one of the catalogue."""
    fields: dict[str, Any] = {
        "project_id": project_id,
        "id": new_id("prc"),
        "metric_key": TOKENS,
        "version": 1,
        "currency": "USD",
        "tariff": Tariff(Unit(Decimal("0.000002"))),
        "effective_from": START,
        "created_at": NOW,
        "created_by": "system",
    }
    return Price(**fields | changes)


def meter(project_id: str, **changes: Any) -> Meter:
    fields: dict[str, Any] = {
        "project_id": project_id,
        "metric_key": TOKENS,
        "start": START,
        "end": END,
        "price_id": "prc_1",
        "units_micros": 1_250_000_000,
        "events": 1,
        "drawn_micros": 2_500,
    }
    return Meter(**fields | changes)


def plan(**changes: Any) -> Plan:
    """The first version of a plan with a key of its own."""
    plan_id = new_id("pln")
    fields: dict[str, Any] = {
        "id": plan_id,
        "key": f"team_{plan_id}",
        "version": 1,
        "name": "Team",
        "currency": "USD",
        "amount_micros": 49_000_000,
        "timing": Timing.ADVANCE,
        "trial_days": 14,
        "minimum_commitment_micros": None,
        "prices": (PlanPrice(TOKENS, Tariff(Unit(Decimal("0.000001")))),),
        "created_at": NOW,
        "created_by": "system",
    }
    return Plan(**fields | changes)


def decision(project_id: str, plan_id: str | None, **changes: Any) -> SubscriptionDecision:
    """The project's first decision, which begins the plan or, with None, cancels what there was."""
    fields: dict[str, Any] = {
        "project_id": project_id,
        "id": new_id("dec"),
        "number": 1,
        "kind": DecisionKind.CANCEL if plan_id is None else DecisionKind.START,
        "plan_id": plan_id,
        "quantity": 1,
        "effective_at": START,
        "trial_ends_at": None,
        "requested_at": NOW,
        "actor": "system",
    }
    return SubscriptionDecision(**fields | changes)


def billing_period(project_id: str, **changes: Any) -> BillingPeriod:
    fields: dict[str, Any] = {"project_id": project_id, "name": "2026-03", "span": MARCH}
    return BillingPeriod(**fields | changes)


def run(project_id: str, **changes: Any) -> Run:
    fields: dict[str, Any] = {
        "project_id": project_id,
        "id": new_id("run"),
        "period": "2026-03",
        "span": MARCH,
        "state": RunState.DRAFT,
        "dry_run": False,
        "unchanged": False,
        "at": NOW,
        "cutoff": 7,
        "input_digest": digest("inputs").hex(),
        "counts": {"lines": 1, "events": 2},
        "totals": {"total": 10_005_000},
        "invoice_ids": ("inv_1",),
        "actor": "system",
    }
    return Run(**fields | changes)


def line(**changes: Any) -> Line:
    fields: dict[str, Any] = {
        "id": new_id("lin"),
        "kind": LineKind.USAGE,
        "metric_key": TOKENS,
        "description": TOKENS,
        "quantity_micros": 1_250_000_000,
        "model": "unit",
        "period": "2026-03",
        "service": MARCH,
        "account": f"revenue:{TOKENS}",
        "amount_micros": 10_005_000,
        "events": 2,
        "workings": {"exact": "10.005"},
    }
    return Line(**fields | changes)


def invoice(project_id: str, **changes: Any) -> Invoice:
    """A draft; with a *number* it is finalized."""
    finalized = changes.get("number") is not None
    fields: dict[str, Any] = {
        "project_id": project_id,
        "id": new_id("inv"),
        "kind": InvoiceKind.INVOICE,
        "period": "2026-03",
        "span": MARCH,
        "part": 1,
        "number": None,
        "state": InvoiceState.FINALIZED if finalized else InvoiceState.DRAFT,
        "currency": "USD",
        "lines": (line(),),
        "tax_rate": Decimal("0.19"),
        "subtotal_micros": 10_005_000,
        "tax_micros": 1_900_950,
        "total_micros": 11_905_950,
        "already_drawn_micros": 0,
        "credit_applied_micros": 0,
        "overdraft_billed_micros": 0,
        "credit_granted_micros": 0,
        "rounding_micros": 4_050,
        "amount_due_micros": 11_910_000,
        "paid_micros": 0,
        "blockers": (),
        "input_digest": digest("inputs").hex(),
        "cutoff": 7,
        "ledger_version": 0 if finalized else None,
        "transaction_id": None,
        "project_name": "Research",
        "timezone": "Europe/Berlin",
        "created_at": NOW,
        "finalized_at": NOW if finalized else None,
    }
    return Invoice(**fields | changes)


def payment(project_id: str, **changes: Any) -> Payment:
    """A pending top-up; with a *transaction_id* it has succeeded."""
    settled = changes.get("transaction_id") is not None
    fields: dict[str, Any] = {
        "project_id": project_id,
        "id": new_id("pay"),
        "provider": "manual",
        "amount_micros": 25_000_000,
        "status": PaymentStatus.SUCCEEDED if settled else PaymentStatus.PENDING,
        "invoice_id": None,
        "reference": None,
        "created_at": NOW,
        "actor": "user:usr_1",
        "settled_at": NOW if settled else None,
    }
    return Payment(**fields | changes)


def payment_method(project_id: str, **changes: Any) -> PaymentMethod:
    fields: dict[str, Any] = {
        "project_id": project_id,
        "provider": "rehearsed",
        "customer": "cus_1",
        "method": "pm_1",
        "collects": True,
        "changed_at": NOW,
        "changed_by": "user:usr_1",
    }
    return PaymentMethod(**fields | changes)


def dispute(paid: Payment, transaction_id: str, **changes: Any) -> Dispute:
    """An open one."""
    fields: dict[str, Any] = {
        "project_id": paid.project_id,
        "id": new_id("dsp"),
        "payment_id": paid.id,
        "provider_id": new_id("dp"),
        "amount_micros": 5_000_000,
        "taken_micros": 3_000_000,
        "reason": "fraudulent",
        "status": DisputeStatus.OPEN,
        "transaction_id": transaction_id,
        "created_at": NOW,
    }
    return Dispute(**fields | changes)


def provider_event(**changes: Any) -> ProviderEvent:
    """One that is about no payment of ours; pending with a *due_at*."""
    pending = changes.get("due_at") is not None
    fields: dict[str, Any] = {
        "id": new_id("pev"),
        "provider": "stripe",
        "event_id": new_id("evt"),
        "type": "payment_intent.succeeded",
        "subject_id": "pi_1",
        "payload": "{}",
        "received_at": NOW,
        "state": EventState.PENDING if pending else EventState.IGNORED,
        "ended_at": None if pending else NOW,
    }
    return ProviderEvent(**fields | changes)


def refund(paid: Payment, transaction_id: str, **changes: Any) -> Refund:
    fields: dict[str, Any] = {
        "project_id": paid.project_id,
        "id": new_id("rfd"),
        "payment_id": paid.id,
        "amount_micros": 5_000_000,
        "taken_micros": 5_000_000,
        "reason": "asked for",
        "status": PaymentStatus.SUCCEEDED,
        "transaction_id": transaction_id,
        "created_at": NOW,
        "actor": "user:usr_1",
    }
    return Refund(**fields | changes)


def allocation(project_id: str, transaction_id: str, invoice_id: str, **changes: Any) -> Allocation:
    fields: dict[str, Any] = {
        "project_id": project_id,
        "transaction_id": transaction_id,
        "invoice_id": invoice_id,
        "subject_id": "pay_1",
        "kind": AllocationKind.PAYMENT,
        "micros": 5_000_000,
        "payment_id": None,
    }
    return Allocation(**fields | changes)


def correction(project_id: str, transaction_id: str, invoice_id: str, **changes: Any) -> Correction:
    """The project's first credit note."""
    fields: dict[str, Any] = {
        "project_id": project_id,
        "id": new_id("crn"),
        "kind": CorrectionKind.CREDIT_NOTE,
        "number": 1,
        "invoice_id": invoice_id,
        "amount_micros": 5_000_000,
        "tax_micros": 800_000,
        "settled_micros": 3_000_000,
        "reason": "too much",
        "transaction_id": transaction_id,
        "created_at": NOW,
        "actor": "user:usr_1",
    }
    return Correction(**fields | changes)


def endpoint(project_id: str, **changes: Any) -> Endpoint:
    """An endpoint that takes all messages."""
    values: dict[str, Any] = {
        "project_id": project_id,
        "id": new_id("whe"),
        "url": "https://example.com/hooks",
        "message_types": (),
        "salts": (Salt("00ff"),),
        "created_at": NOW,
        "created_by": "user:usr_someone",
    }
    return Endpoint(**values | changes)


def message(project_id: str, **changes: Any) -> Message:
    """A message."""
    values: dict[str, Any] = {
        "project_id": project_id,
        "id": new_id("msg"),
        "sequence": 1,
        "type": "charge.created",
        "body": "{}",
        "created_at": NOW,
    }
    return Message(**values | changes)


def delivery(project_id: str, endpoint_id: str, message_id: str, **changes: Any) -> Delivery:
    """A pending delivery, due at once."""
    values: dict[str, Any] = {
        "project_id": project_id,
        "id": new_id("dlv"),
        "endpoint_id": endpoint_id,
        "message_id": message_id,
        "type": "charge.created",
        "state": DeliveryState.PENDING,
        "tried": 0,
        "due_at": NOW,
        "created_at": NOW,
    }
    return Delivery(**values | changes)
