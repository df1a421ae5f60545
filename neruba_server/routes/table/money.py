"""The wallet, its transactions, accounts and entries, and what falls due."""

from __future__ import annotations

from neruba_core.access.model import PlatformScope
from neruba_core.ledger.model import TransactionType
from neruba_core.tenancy.model import Role
from neruba_server.auth import People
from neruba_server.routes import money, schedule
from neruba_server.routes import query as q
from neruba_server.routes.query import PAGE
from neruba_server.routes.route import BILLING_READERS, FINANCE, REQUIRED, Route
from neruba_server.wire import money as wire_money
from neruba_server.wire import schedule as wire_schedule

ROUTES = (
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
