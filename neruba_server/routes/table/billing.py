"""What a period comes to: usage as it is billed, the overview, runs and invoices."""

from __future__ import annotations

from neruba_core.invoices.model import InvoiceState
from neruba_server.formats import HTML, PDF, TEXT
from neruba_server.routes import billing, invoices, runs
from neruba_server.routes import query as q
from neruba_server.routes.query import PAGE
from neruba_server.routes.route import ACCEPTED, BILLING_READERS, FINANCE, USAGE_READERS, Route
from neruba_server.wire import billing as wire_billing
from neruba_server.wire import invoices as wire_invoices
from neruba_server.wire import runs as wire_runs
from neruba_server.wire import support as wire_support

ROUTES = (
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
