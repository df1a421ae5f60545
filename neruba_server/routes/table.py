"""Every route, in one table.

aiohttp's registration, the door, the OpenAPI document and the generated tests of roles, scopes and
tenants all derive from it, so a route cannot exist for one of them and not for the others.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from typing import Any, TypeAlias

from aiohttp import web
from attrs import frozen

from neruba_core.access.model import PlatformScope, Scope
from neruba_core.audit.model import Origin, Outcome
from neruba_core.batch import Command
from neruba_core.errors import (
    AccessKeyNotFound,
    HoldNotFound,
    InvoiceNotFound,
    MemberNotFound,
    MetricNotFound,
    NerubaError,
    PaymentNotFound,
    PlanNotFound,
    ProjectNotFound,
    ProviderEventNotFound,
    QuarantineNotFound,
    RunNotFound,
    TransactionNotFound,
    UsageNotFound,
    WebhookDeliveryNotFound,
    WebhookEndpointNotFound,
)
from neruba_core.invoices.model import InvoiceState
from neruba_core.ledger.model import TransactionType
from neruba_core.outbox.model import DeliveryState
from neruba_core.payments.model import EventState, PaymentStatus
from neruba_core.tenancy.model import Role
from neruba_server.auth import Anyone, Audience, Machines, Operators, People, PeopleOrMachines
from neruba_server.formats import HTML, PDF, TEXT
from neruba_server.problems import RouteNotFound
from neruba_server.routes import (
    access_keys,
    billing,
    catalogue,
    clock,
    identity,
    ingest,
    invoices,
    metrics,
    money,
    operation,
    payments,
    people,
    plans,
    platform_keys,
    prices,
    projects,
    runs,
    schedule,
    subscriptions,
    support,
    webhooks,
)
from neruba_server.routes import query as q
from neruba_server.routes.call import Call
from neruba_server.routes.query import PAGE, Parameter
from neruba_server.wire import billing as wire_billing
from neruba_server.wire import identity as wire_identity
from neruba_server.wire import ingest as wire_ingest
from neruba_server.wire import invoices as wire_invoices
from neruba_server.wire import metrics as wire_metrics
from neruba_server.wire import money as wire_money
from neruba_server.wire import payments as wire_payments
from neruba_server.wire import plans as wire_plans
from neruba_server.wire import prices as wire_prices
from neruba_server.wire import projects as wire_projects
from neruba_server.wire import runs as wire_runs
from neruba_server.wire import schedule as wire_schedule
from neruba_server.wire import subscriptions as wire_subscriptions
from neruba_server.wire import support as wire_support
from neruba_server.wire import webhooks as wire_webhooks

Handler: TypeAlias = Callable[[Call], Awaitable[web.Response]]


class Idempotency(Enum):
    """Whether a route reads ``Idempotency-Key``."""

    REQUIRED = "required"
    ACCEPTED = "accepted"
    NONE = "none"


REQUIRED, ACCEPTED, NONE = Idempotency.REQUIRED, Idempotency.ACCEPTED, Idempotency.NONE

NOT_FOUND: Mapping[str, Callable[[str], NerubaError]] = {
    "projectId": ProjectNotFound,
    "userId": MemberNotFound,
    "keyId": AccessKeyNotFound,
    "key": MetricNotFound,
    "transactionId": TransactionNotFound,
    "usageId": UsageNotFound,
    "holdId": HoldNotFound,
    "quarantineId": QuarantineNotFound,
    "planId": PlanNotFound,
    "paymentId": PaymentNotFound,
    "providerEventId": ProviderEventNotFound,
    "endpointId": WebhookEndpointNotFound,
    "deliveryId": WebhookDeliveryNotFound,
    "runId": RunNotFound,
    "invoiceId": InvoiceNotFound,
    "requestId": lambda _: RouteNotFound(),
}
"""What is not there where a parameter of the path names nothing."""

_PARAMETER = re.compile(r"\{(\w+)\}")


@frozen
class Route:
    """One route. *responses* gives the wire class of each status (``None``: no body); *operation* names
    it in OpenAPI and, for ever, in the stored answers of idempotency keys."""

    method: str
    path: str
    handler: Handler
    who: Audience
    operation: str
    summary: str
    tag: str
    responses: Mapping[int, type | None]
    request: type | None = None
    body_optional: bool = False
    ndjson: bool = False
    command: Callable[[str, str, Any, Origin], Command] | None = None
    """The command of a single write of machines: of a project, under an idempotency key, by its JSON."""
    formats: tuple[str, ...] = ()
    """What else than JSON it answers 200 as, where ``Accept`` asks for it."""
    idempotency: Idempotency = NONE
    query: tuple[Parameter, ...] = ()
    exposed: bool = False
    """Served only where the deployment exposes its documentation."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of the path's parameters."""
        return tuple(_PARAMETER.findall(self.path))

    @property
    def writes(self) -> bool:
        """Whether it changes anything."""
        return self.method not in ("GET", "HEAD")

    def path_of(self, values: Mapping[str, str]) -> str:
        """The path with its parameters filled in, wherever the app is mounted."""
        return _PARAMETER.sub(lambda match: values[match[1]], self.path)


VIEWER = People((Role.VIEWER,))
SUPPORT = People((Role.SUPPORT,))
FINANCE = People((Role.FINANCE,))
ADMIN = People((Role.ADMIN,))
OWNER = People((Role.OWNER,))
USAGE_READERS = PeopleOrMachines(Role.VIEWER, Scope.READ_USAGE)
BILLING_READERS = PeopleOrMachines(Role.VIEWER, Scope.READ_BILLING, PlatformScope.READ_BILLING)
USAGE_SENDERS = Machines(Scope.INGEST_USAGE)
CHARGE_SENDERS = Machines(Scope.INGEST_CHARGE)

IDENTITY = (
    Route(
        "POST",
        "/auth/login",
        identity.login,
        Anyone(),
        "login",
        "Sign in",
        "Identity",
        {200: wire_identity.SignedIn},
        wire_identity.Login,
    ),
    Route(
        "POST",
        "/auth/refresh",
        identity.refresh,
        Anyone(),
        "refresh",
        "Exchange a refresh token for new tokens",
        "Identity",
        {200: wire_identity.SignedIn},
        wire_identity.Refresh,
    ),
    Route(
        "POST",
        "/auth/logout",
        identity.logout,
        People(),
        "logout",
        "Sign out; the session's tokens stop working at once",
        "Identity",
        {204: None},
    ),
    Route(
        "POST",
        "/auth/password",
        identity.change_password,
        People(),
        "changePassword",
        "Change one's password; every session ends",
        "Identity",
        {204: None},
        wire_identity.ChangePassword,
    ),
    Route(
        "GET",
        "/auth/me",
        identity.me,
        People(),
        "me",
        "Who is signed in, and in which projects",
        "Identity",
        {200: wire_identity.Me},
    ),
    Route(
        "POST",
        "/auth/accept-invitation",
        identity.accept_invitation,
        Anyone(),
        "acceptInvitation",
        "Join the project of an invitation and sign in",
        "Identity",
        {200: wire_identity.SignedIn},
        wire_identity.AcceptInvitation,
    ),
)

PROJECTS = (
    Route(
        "POST",
        "/projects",
        projects.create,
        People(platform=PlatformScope.PROJECTS_WRITE),
        "createProject",
        "Create a project; the caller becomes its owner, or whom a platform key names",
        "Projects and people",
        {201: wire_projects.Founded},
        wire_projects.NewProject,
        idempotency=ACCEPTED,
    ),
    Route(
        "GET",
        "/projects",
        projects.listed,
        People(),
        "listProjects",
        "The projects that one is a member of",
        "Projects and people",
        {200: wire_projects.Projects},
        query=PAGE,
    ),
    Route(
        "GET",
        "/projects/{projectId}",
        projects.get,
        VIEWER,
        "getProject",
        "One project",
        "Projects and people",
        {200: wire_projects.Project},
    ),
    Route(
        "PATCH",
        "/projects/{projectId}",
        projects.change,
        People((Role.ADMIN, Role.FINANCE)),
        "changeProject",
        "Change settings, all or none; those that money hangs on need finance, the others admin",
        "Projects and people",
        {200: wire_projects.Project},
        wire_projects.ProjectChanges,
    ),
    Route(
        "POST",
        "/projects/{projectId}/archive",
        projects.archive,
        OWNER,
        "archiveProject",
        "Refuse every further write, for ever",
        "Projects and people",
        {200: wire_projects.Project},
        wire_support.Nothing,
        body_optional=True,
        idempotency=ACCEPTED,
    ),
    Route(
        "GET",
        "/projects/{projectId}/members",
        people.listed,
        ADMIN,
        "listMembers",
        "The people of a project, and those invited",
        "Projects and people",
        {200: wire_projects.Members},
        query=PAGE,
    ),
    Route(
        "POST",
        "/projects/{projectId}/members",
        people.add,
        ADMIN,
        "addMember",
        "Add a user, or invite whoever is none yet",
        "Projects and people",
        {201: wire_projects.Added},
        wire_projects.NewMember,
        idempotency=ACCEPTED,
    ),
    Route(
        "PATCH",
        "/projects/{projectId}/members/{userId}",
        people.change_role,
        ADMIN,
        "changeRole",
        "Give a member another role",
        "Projects and people",
        {200: wire_projects.Member},
        wire_projects.RoleChange,
    ),
    Route(
        "DELETE",
        "/projects/{projectId}/members/{userId}",
        people.remove,
        ADMIN,
        "removeMember",
        "Take a member out of the project",
        "Projects and people",
        {204: None},
    ),
    Route(
        "POST",
        "/projects/{projectId}/access-keys",
        access_keys.issue,
        People((Role.ADMIN,), PlatformScope.PROJECTS_WRITE),
        "issueAccessKey",
        "Issue an access key, shown this once",
        "Projects and people",
        {201: wire_projects.IssuedAccessKey},
        wire_projects.NewAccessKey,
        idempotency=ACCEPTED,
    ),
    Route(
        "GET",
        "/projects/{projectId}/access-keys",
        access_keys.listed,
        ADMIN,
        "listAccessKeys",
        "Access keys without their secrets",
        "Projects and people",
        {200: wire_projects.AccessKeys},
        query=PAGE,
    ),
    Route(
        "DELETE",
        "/projects/{projectId}/access-keys/{keyId}",
        access_keys.revoke,
        ADMIN,
        "revokeAccessKey",
        "Refuse a key from now on; twice is fine",
        "Projects and people",
        {204: None},
    ),
    Route(
        "POST",
        "/projects/{projectId}/access-keys/{keyId}/rotate",
        access_keys.rotate,
        ADMIN,
        "rotateAccessKey",
        "Issue a successor; the old key ends after the overlap",
        "Projects and people",
        {201: wire_projects.IssuedAccessKey},
        wire_projects.Rotation,
        body_optional=True,
        idempotency=ACCEPTED,
    ),
)

PLATFORM_KEYS = (
    Route(
        "POST",
        "/access-keys",
        platform_keys.issue,
        Operators(),
        "issuePlatformKey",
        "Issue a key for a backend that works across projects, shown this once",
        "Platform",
        {201: wire_projects.IssuedPlatformKey},
        wire_projects.NewPlatformKey,
        idempotency=ACCEPTED,
    ),
    Route(
        "GET",
        "/access-keys",
        platform_keys.listed,
        Operators(),
        "listPlatformKeys",
        "Platform keys without their secrets",
        "Platform",
        {200: wire_projects.PlatformKeys},
        query=PAGE,
    ),
    Route(
        "DELETE",
        "/access-keys/{keyId}",
        platform_keys.revoke,
        Operators(),
        "revokePlatformKey",
        "Refuse a platform key from now on; twice is fine",
        "Platform",
        {204: None},
    ),
    Route(
        "POST",
        "/access-keys/{keyId}/rotate",
        platform_keys.rotate,
        Operators(),
        "rotatePlatformKey",
        "Issue a successor; the old platform key ends after the overlap",
        "Platform",
        {201: wire_projects.IssuedPlatformKey},
        wire_projects.Rotation,
        body_optional=True,
        idempotency=ACCEPTED,
    ),
)

INGEST = (
    Route(
        "POST",
        "/ingest/usage",
        ingest.usage,
        USAGE_SENDERS,
        "recordUsage",
        "Record one usage event, at most once",
        "Ingest",
        {201: wire_ingest.Usage, 200: wire_ingest.Usage, 202: wire_ingest.Quarantined},
        wire_ingest.NewUsage,
        idempotency=REQUIRED,
        command=ingest.usage_command,
    ),
    Route(
        "POST",
        "/ingest/usage/batch",
        ingest.usage_batch,
        USAGE_SENDERS,
        "recordUsageBatch",
        "Record many usage events, each judged alone",
        "Ingest",
        {200: wire_ingest.BatchResults},
        wire_ingest.UsageBatch,
        ndjson=True,
    ),
    Route(
        "POST",
        "/ingest/charge",
        ingest.charge,
        CHARGE_SENDERS,
        "charge",
        "Take money from the wallet, at most once",
        "Ingest",
        {201: wire_money.Transaction, 200: wire_money.Transaction},
        wire_ingest.NewCharge,
        idempotency=REQUIRED,
        command=ingest.charge_command,
    ),
    Route(
        "POST",
        "/ingest/holds",
        ingest.hold,
        CHARGE_SENDERS,
        "hold",
        "Hold credit for a charge that is not known in full yet, at most once",
        "Ingest",
        {201: wire_ingest.Hold, 200: wire_ingest.Hold},
        wire_ingest.NewHold,
        idempotency=REQUIRED,
        command=ingest.hold_command,
    ),
    Route(
        "GET",
        "/ingest/holds/{holdId}",
        ingest.get_hold,
        CHARGE_SENDERS,
        "getHold",
        "A hold as it is now",
        "Ingest",
        {200: wire_ingest.Hold},
    ),
    Route(
        "POST",
        "/ingest/holds/{holdId}/capture",
        ingest.capture,
        CHARGE_SENDERS,
        "captureHold",
        "Charge what was spent of a hold, and free the rest",
        "Ingest",
        {201: wire_ingest.Hold},
        wire_ingest.NewCapture,
        body_optional=True,
        idempotency=REQUIRED,
    ),
    Route(
        "POST",
        "/ingest/holds/{holdId}/release",
        ingest.release,
        CHARGE_SENDERS,
        "releaseHold",
        "Free what a hold holds",
        "Ingest",
        {201: wire_ingest.Hold},
        wire_ingest.NewRelease,
        body_optional=True,
        idempotency=REQUIRED,
    ),
    Route(
        "POST",
        "/ingest/usage/{usageId}/void",
        ingest.void,
        USAGE_SENDERS,
        "voidUsage",
        "Let an event count no more; it stays as it was sent",
        "Ingest",
        {201: wire_ingest.Void, 200: wire_ingest.Void},
        wire_ingest.Reason,
        idempotency=ACCEPTED,
    ),
)

METRICS = (
    Route(
        "POST",
        "/projects/{projectId}/metrics",
        metrics.declare,
        ADMIN,
        "declareMetric",
        "Declare a metric",
        "Metrics",
        {201: wire_metrics.Metric},
        wire_metrics.NewMetric,
        idempotency=ACCEPTED,
    ),
    Route(
        "GET",
        "/projects/{projectId}/metrics",
        metrics.listed,
        VIEWER,
        "listMetrics",
        "Metrics by key",
        "Metrics",
        {200: wire_metrics.Metrics},
        query=PAGE,
    ),
    Route(
        "PATCH",
        "/projects/{projectId}/metrics/{key}",
        metrics.change,
        ADMIN,
        "changeMetric",
        "Change a metric, all or nothing",
        "Metrics",
        {200: wire_metrics.Metric},
        wire_metrics.MetricChanges,
    ),
)

PRICES = (
    Route(
        "POST",
        "/projects/{projectId}/prices",
        prices.declare,
        ADMIN,
        "declarePrice",
        "Declare what a metric costs from an instant on",
        "Prices",
        {201: wire_prices.Price},
        wire_prices.NewPrice,
        idempotency=ACCEPTED,
    ),
    Route(
        "GET",
        "/projects/{projectId}/prices",
        prices.listed,
        VIEWER,
        "listPrices",
        "The project's own prices, newest first",
        "Prices",
        {200: wire_prices.Prices},
        query=(q.METRIC, *PAGE),
    ),
)

CATALOGUE = (
    Route(
        "POST",
        "/catalog/metrics",
        catalogue.declare_metric,
        Operators(),
        "declareSharedMetric",
        "Declare a metric for every project that declares none of its key",
        "Catalogue",
        {201: wire_metrics.SharedMetric},
        wire_metrics.NewMetric,
        idempotency=ACCEPTED,
    ),
    Route(
        "GET",
        "/catalog/metrics",
        catalogue.metrics,
        People(platform=PlatformScope.READ_BILLING),
        "listSharedMetrics",
        "The catalogue's metrics by key",
        "Catalogue",
        {200: wire_metrics.SharedMetrics},
        query=PAGE,
    ),
    Route(
        "PATCH",
        "/catalog/metrics/{key}",
        catalogue.change_metric,
        Operators(),
        "changeSharedMetric",
        "Change a metric, all or nothing, for every project that follows it",
        "Catalogue",
        {200: wire_metrics.SharedMetric},
        wire_metrics.MetricChanges,
    ),
    Route(
        "POST",
        "/catalog/prices",
        catalogue.declare_price,
        Operators(),
        "declareSharedPrice",
        "Declare what a metric costs projects that have no price of their own",
        "Catalogue",
        {201: wire_prices.Price},
        wire_prices.NewPrice,
        idempotency=ACCEPTED,
    ),
    Route(
        "GET",
        "/catalog/prices",
        catalogue.prices,
        People(platform=PlatformScope.READ_BILLING),
        "listSharedPrices",
        "The catalogue's prices, newest first",
        "Catalogue",
        {200: wire_prices.Prices},
        query=(q.METRIC, *PAGE),
    ),
)

PLANS = (
    Route(
        "POST",
        "/plans",
        plans.publish,
        Operators(),
        "publishPlan",
        "Publish a plan, or the next version of it",
        "Plans and subscriptions",
        {201: wire_plans.Plan},
        wire_plans.NewPlan,
        idempotency=ACCEPTED,
    ),
    Route(
        "GET",
        "/plans",
        plans.listed,
        People(platform=PlatformScope.READ_BILLING),
        "listPlans",
        "Every version of every plan, newest first",
        "Plans and subscriptions",
        {200: wire_plans.Plans},
        query=PAGE,
    ),
    Route(
        "GET",
        "/plans/{planId}",
        plans.get,
        People(platform=PlatformScope.READ_BILLING),
        "getPlan",
        "One version of a plan",
        "Plans and subscriptions",
        {200: wire_plans.Plan},
    ),
    Route(
        "POST",
        "/projects/{projectId}/subscription",
        subscriptions.decide,
        People((Role.ADMIN,), PlatformScope.PROJECTS_WRITE),
        "decideSubscription",
        "Subscribe to a plan, change to another, cancel, or ask what that would come to",
        "Plans and subscriptions",
        {201: wire_subscriptions.Decided, 200: wire_subscriptions.Decided},
        wire_subscriptions.NewDecision,
        idempotency=ACCEPTED,
    ),
    Route(
        "GET",
        "/projects/{projectId}/subscription",
        subscriptions.listed,
        People((Role.VIEWER,), PlatformScope.READ_BILLING),
        "listDecisions",
        "The project's decisions about its plan, the latest first",
        "Plans and subscriptions",
        {200: wire_subscriptions.Decisions},
        query=PAGE,
    ),
)

MONEY = (
    Route(
        "POST",
        "/projects/{projectId}/transactions/credit",
        money.credit,
        People((Role.FINANCE,), PlatformScope.CREDIT_WRITE),
        "grantCredit",
        "Grant credit, at most once",
        "Money",
        {201: wire_money.Transaction},
        wire_money.NewCredit,
        idempotency=REQUIRED,
    ),
    Route(
        "POST",
        "/projects/{projectId}/transactions/debit",
        money.debit,
        FINANCE,
        "debit",
        "Take credit away as a manual adjustment, at most once",
        "Money",
        {201: wire_money.Transaction},
        wire_money.NewDebit,
        idempotency=REQUIRED,
    ),
    Route(
        "POST",
        "/projects/{projectId}/transactions/{transactionId}/reverse",
        money.reverse,
        FINANCE,
        "reverseTransaction",
        "Reverse a credit, debit or charge, in part or whole",
        "Money",
        {201: wire_money.Transaction},
        wire_money.NewReversal,
        idempotency=REQUIRED,
    ),
    Route(
        "GET",
        "/projects/{projectId}/transactions",
        money.transactions,
        BILLING_READERS,
        "listTransactions",
        "Transactions, newest first",
        "Money",
        {200: wire_money.Transactions},
        query=(q.word("type", TransactionType), q.FROM, q.TO, *PAGE),
    ),
    Route(
        "GET",
        "/projects/{projectId}/transactions/{transactionId}",
        money.transaction,
        BILLING_READERS,
        "getTransaction",
        "One transaction",
        "Money",
        {200: wire_money.Transaction},
    ),
    Route(
        "GET",
        "/projects/{projectId}/wallet",
        money.wallet,
        BILLING_READERS,
        "getWallet",
        "What can be spent, now or as of an instant",
        "Money",
        {200: wire_money.Wallet},
        query=(q.AS_OF, q.KNOWN_AT),
    ),
    Route(
        "GET",
        "/projects/{projectId}/schedule",
        schedule.schedule,
        BILLING_READERS,
        "getSchedule",
        "What falls due next, and what is late",
        "Money",
        {200: wire_schedule.Schedule},
        query=(q.LIMIT,),
    ),
    Route(
        "GET",
        "/projects/{projectId}/ledger/accounts",
        money.accounts,
        BILLING_READERS,
        "getTrialBalance",
        "The trial balance: debits equal credits",
        "Money",
        {200: wire_money.TrialBalance},
        query=(q.AS_OF, q.KNOWN_AT),
    ),
    Route(
        "GET",
        "/projects/{projectId}/ledger/entries",
        money.entries,
        BILLING_READERS,
        "listEntries",
        "Ledger entries with running balances, newest first",
        "Money",
        {200: wire_money.Entries},
        query=(q.ACCOUNT, *PAGE),
    ),
)

BILLING = (
    Route(
        "GET",
        "/projects/{projectId}/usage",
        billing.usage,
        USAGE_READERS,
        "getUsage",
        "Quantities by metric; of the current month unless asked otherwise",
        "Billing",
        {200: wire_billing.Quantities},
        query=(q.METRIC, q.FROM, q.TO, q.GROUP_BY),
    ),
    Route(
        "GET",
        "/projects/{projectId}/usage/events",
        billing.usage_events,
        USAGE_READERS,
        "listUsageEvents",
        "Raw usage events, newest first",
        "Billing",
        {200: wire_billing.UsageEvents},
        query=(q.METRIC, q.FROM, q.TO, *PAGE),
    ),
    Route(
        "GET",
        "/projects/{projectId}/billing/overview",
        billing.overview,
        BILLING_READERS,
        "getOverview",
        "One page that explains the present",
        "Billing",
        {200: wire_billing.Overview},
        query=(q.PERIOD,),
    ),
    Route(
        "POST",
        "/projects/{projectId}/billing/runs",
        runs.run,
        FINANCE,
        "runBilling",
        "Bill a period; again as often as you like, with the same outcome",
        "Billing",
        {201: wire_runs.Run, 200: wire_runs.Run},
        wire_runs.NewRun,
        idempotency=ACCEPTED,
    ),
    Route(
        "GET",
        "/projects/{projectId}/billing/runs",
        runs.listed,
        BILLING_READERS,
        "listRuns",
        "What runs did, newest first",
        "Billing",
        {200: wire_runs.RunRecords},
        query=(q.PERIOD, *PAGE),
    ),
    Route(
        "GET",
        "/projects/{projectId}/billing/runs/{runId}",
        runs.get,
        BILLING_READERS,
        "getRun",
        "What one run did",
        "Billing",
        {200: wire_runs.RunRecord},
    ),
    Route(
        "GET",
        "/projects/{projectId}/invoices",
        invoices.listed,
        BILLING_READERS,
        "listInvoices",
        "Invoices, the latest period first",
        "Billing",
        {200: wire_invoices.Invoices},
        query=(q.word("state", InvoiceState), *PAGE),
    ),
    Route(
        "GET",
        "/projects/{projectId}/invoices/{invoiceId}",
        invoices.get,
        BILLING_READERS,
        "getInvoice",
        "One invoice, as JSON, a printable page or a PDF",
        "Billing",
        {200: wire_invoices.Invoice},
        formats=(HTML, PDF),
    ),
    Route(
        "GET",
        "/projects/{projectId}/invoices/{invoiceId}/explain",
        invoices.explain,
        BILLING_READERS,
        "explainInvoice",
        "Why an invoice says what it says; with a line, the events behind it",
        "Billing",
        {200: wire_invoices.Explanation},
        formats=(TEXT,),
        query=(q.LINE, *PAGE),
    ),
    Route(
        "POST",
        "/projects/{projectId}/invoices/{invoiceId}/finalize",
        invoices.finalize,
        FINANCE,
        "finalizeInvoice",
        "Issue a draft; one that is issued stays as it is",
        "Billing",
        {200: wire_invoices.Invoice},
        wire_support.Nothing,
        body_optional=True,
        idempotency=ACCEPTED,
    ),
    Route(
        "POST",
        "/projects/{projectId}/invoices/{invoiceId}/void",
        invoices.void,
        FINANCE,
        "voidInvoice",
        "Undo an issued invoice by a reversal; its period can be run again",
        "Billing",
        {200: wire_invoices.Invoice},
        wire_runs.VoidInvoice,
        idempotency=ACCEPTED,
    ),
)

PAYMENTS = (
    Route(
        "POST",
        "/projects/{projectId}/payments",
        payments.pay,
        FINANCE,
        "recordPayment",
        "Record money received, at most once: for an invoice, or as a top-up",
        "Payments",
        {201: wire_payments.Payment},
        wire_payments.NewPayment,
        idempotency=REQUIRED,
    ),
    Route(
        "GET",
        "/projects/{projectId}/payments",
        payments.listed,
        BILLING_READERS,
        "listPayments",
        "Payments, newest first",
        "Payments",
        {200: wire_payments.Payments},
        query=(q.word("status", PaymentStatus), *PAGE),
    ),
    Route(
        "GET",
        "/projects/{projectId}/payments/{paymentId}",
        payments.get,
        BILLING_READERS,
        "getPayment",
        "One payment, with what it settled and what of it went back",
        "Payments",
        {200: wire_payments.PaymentInFull},
    ),
    Route(
        "POST",
        "/webhooks/stripe",
        payments.receive_stripe,
        Anyone(),
        "receiveStripeEvent",
        "What Stripe tells by itself, signed by it; kept at once and processed afterwards",
        "Payments",
        {200: wire_payments.Received},
    ),
    Route(
        "GET",
        "/provider-events",
        payments.provider_events,
        Operators(),
        "listProviderEvents",
        "What payment providers have sent, newest first, and what became of it",
        "Payments",
        {200: wire_payments.ProviderEvents},
        query=(q.word("state", EventState), *PAGE),
    ),
    Route(
        "POST",
        "/provider-events/{providerEventId}/reprocess",
        payments.reprocess,
        Operators(),
        "reprocessProviderEvent",
        "Have an event processed once more; nothing is booked twice by that",
        "Payments",
        {200: wire_payments.ProviderEvent},
        wire_support.Nothing,
        body_optional=True,
        idempotency=ACCEPTED,
    ),
    Route(
        "PUT",
        "/projects/{projectId}/payment-method",
        payments.set_method,
        FINANCE,
        "setPaymentMethod",
        "Say how the project pays: its customer at a provider, and the card or account there",
        "Payments",
        {200: wire_payments.PaymentMethod},
        wire_payments.NewPaymentMethod,
    ),
    Route(
        "GET",
        "/projects/{projectId}/payment-method",
        payments.method,
        BILLING_READERS,
        "getPaymentMethod",
        "How the project pays",
        "Payments",
        {200: wire_payments.PaymentMethod},
    ),
    Route(
        "DELETE",
        "/projects/{projectId}/payment-method",
        payments.remove_method,
        FINANCE,
        "removePaymentMethod",
        "Forget how the project pays",
        "Payments",
        {204: None},
    ),
    Route(
        "POST",
        "/projects/{projectId}/payments/{paymentId}/refund",
        payments.refund,
        FINANCE,
        "refundPayment",
        "Give a payment back in part or whole, at most once",
        "Payments",
        {201: wire_payments.Refund},
        wire_payments.NewRefund,
        idempotency=REQUIRED,
    ),
    Route(
        "GET",
        "/projects/{projectId}/receivables",
        payments.receivables,
        BILLING_READERS,
        "getReceivables",
        "What is billed and not yet paid, by age",
        "Payments",
        {200: wire_payments.Receivables},
    ),
    Route(
        "POST",
        "/projects/{projectId}/invoices/{invoiceId}/credit-notes",
        payments.credit_note,
        FINANCE,
        "issueCreditNote",
        "Take an amount off an issued invoice, at most once; what was paid already becomes credit",
        "Payments",
        {201: wire_payments.Correction},
        wire_payments.NewCreditNote,
        idempotency=REQUIRED,
    ),
    Route(
        "POST",
        "/projects/{projectId}/invoices/{invoiceId}/write-off",
        payments.write_off,
        FINANCE,
        "writeOffInvoice",
        "Give up what is open of an invoice, or a part of it",
        "Payments",
        {201: wire_payments.Correction},
        wire_payments.NewWriteOff,
        idempotency=REQUIRED,
    ),
)

WEBHOOKS = (
    Route(
        "POST",
        "/projects/{projectId}/webhook-endpoints",
        webhooks.create,
        ADMIN,
        "createWebhookEndpoint",
        "Have messages sent to a URL; the secret that they are signed with is shown once",
        "Webhooks",
        {201: wire_webhooks.WebhookEndpointWithSecret},
        wire_webhooks.NewWebhookEndpoint,
        idempotency=ACCEPTED,
    ),
    Route(
        "GET",
        "/projects/{projectId}/webhook-endpoints",
        webhooks.listed,
        ADMIN,
        "listWebhookEndpoints",
        "The endpoints, without their secrets",
        "Webhooks",
        {200: wire_webhooks.WebhookEndpoints},
        query=PAGE,
    ),
    Route(
        "DELETE",
        "/projects/{projectId}/webhook-endpoints/{endpointId}",
        webhooks.delete,
        ADMIN,
        "deleteWebhookEndpoint",
        "Send nothing more to an endpoint, not even what waits for it",
        "Webhooks",
        {204: None},
    ),
    Route(
        "POST",
        "/projects/{projectId}/webhook-endpoints/{endpointId}/rotate-secret",
        webhooks.rotate_secret,
        ADMIN,
        "rotateWebhookSecret",
        "Give an endpoint a new secret; for a while messages are signed with both",
        "Webhooks",
        {201: wire_webhooks.WebhookEndpointWithSecret},
        wire_webhooks.SecretRotation,
        body_optional=True,
        idempotency=ACCEPTED,
    ),
    Route(
        "POST",
        "/projects/{projectId}/webhook-endpoints/{endpointId}/test",
        webhooks.test,
        ADMIN,
        "testWebhookEndpoint",
        "Send an endpoint a message of type webhook.test, even if it is disabled",
        "Webhooks",
        {201: wire_webhooks.WebhookDelivery},
        wire_support.Nothing,
        body_optional=True,
        idempotency=ACCEPTED,
    ),
    Route(
        "GET",
        "/projects/{projectId}/webhook-endpoints/{endpointId}/deliveries",
        webhooks.deliveries,
        ADMIN,
        "listWebhookDeliveries",
        "What became of the messages to an endpoint, newest first",
        "Webhooks",
        {200: wire_webhooks.WebhookDeliveries},
        query=(q.word("state", DeliveryState), *PAGE),
    ),
    Route(
        "POST",
        "/projects/{projectId}/webhook-endpoints/{endpointId}/deliveries/{deliveryId}/redeliver",
        webhooks.redeliver,
        ADMIN,
        "redeliverWebhook",
        "Send a message again under the same id, whatever became of it",
        "Webhooks",
        {200: wire_webhooks.WebhookDelivery},
        wire_support.Nothing,
        body_optional=True,
        idempotency=ACCEPTED,
    ),
)

SUPPORT_ROUTES = (
    Route(
        "GET",
        "/projects/{projectId}/ingest/outcomes",
        support.outcomes,
        VIEWER,
        "listOutcomes",
        "Ingest attempts that did not simply succeed",
        "Support",
        {200: wire_support.Attempts},
        query=(q.word("outcome", Outcome), q.METRIC, q.ACCESS_KEY, q.FROM, q.TO, *PAGE),
    ),
    Route(
        "POST",
        "/projects/{projectId}/ingest/quarantine/{quarantineId}/replay",
        support.replay,
        SUPPORT,
        "replayQuarantined",
        "Try a quarantined event again under its original key",
        "Support",
        {201: wire_ingest.Usage, 200: wire_ingest.Usage},
        wire_support.Nothing,
        body_optional=True,
        idempotency=ACCEPTED,
    ),
    Route(
        "POST",
        "/projects/{projectId}/ingest/quarantine/{quarantineId}/discard",
        support.discard,
        SUPPORT,
        "discardQuarantined",
        "Give a quarantined event up",
        "Support",
        {200: wire_support.Discarded},
        wire_support.Nothing,
        body_optional=True,
        idempotency=ACCEPTED,
    ),
    Route(
        "GET",
        "/projects/{projectId}/requests/{requestId}",
        support.requests,
        VIEWER,
        "getRequests",
        "What the requests with this id did",
        "Support",
        {200: wire_support.Trails},
    ),
    Route(
        "GET",
        "/projects/{projectId}/audit",
        support.audit,
        VIEWER,
        "listChanges",
        "Who changed what",
        "Support",
        {200: wire_support.Changes},
        query=PAGE,
    ),
)

OPERATION = (
    Route(
        "GET",
        "/healthz",
        operation.healthz,
        Anyone(),
        "healthz",
        "Whether the process answers",
        "Operation",
        {200: wire_support.Alive},
    ),
    Route(
        "GET",
        "/readyz",
        operation.readyz,
        Anyone(),
        "readyz",
        "Whether requests can be served, with each check named",
        "Operation",
        {200: wire_support.Readiness, 503: wire_support.Readiness},
    ),
    Route(
        "GET",
        "/openapi.json",
        operation.openapi,
        Anyone(),
        "openapi",
        "This document",
        "Operation",
        {200: dict},
        exposed=True,
    ),
)

TEST_CLOCK = Route(
    "POST",
    "/test-clock",
    clock.move,
    People(),
    "moveTestClock",
    "Move the clock forward, running what falls due on the way",
    "Operation",
    {200: wire_runs.ClockMoved},
    wire_runs.ClockMove,
)
"""Served only under a test clock, and no part of what a deployment promises."""

ROUTES: tuple[Route, ...] = (
    *IDENTITY,
    *PROJECTS,
    *PLATFORM_KEYS,
    *INGEST,
    *METRICS,
    *PRICES,
    *CATALOGUE,
    *PLANS,
    *MONEY,
    *BILLING,
    *PAYMENTS,
    *WEBHOOKS,
    *SUPPORT_ROUTES,
    *OPERATION,
)
