"""Credit, adjustments, reversals; the wallet and the ledger."""

from __future__ import annotations

from aiohttp import web

from neruba_core.wallets.orders import credit_order, debit_order, reversal_order
from neruba_server import present
from neruba_server.routes.call import Call
from neruba_server.routes.query import page_of
from neruba_server.wire import money as wire


async def credit(call: Call) -> web.Response:
    key = call.key()
    sent = await call.read(wire.NewCredit)
    return await call.submit(credit_order(call.project, sent.under(key), call.origin))


async def debit(call: Call) -> web.Response:
    key = call.key()
    sent = await call.read(wire.NewDebit)
    return await call.submit(debit_order(call.project, sent.under(key), call.origin))


async def reverse(call: Call) -> web.Response:
    key = call.key()
    sent = await call.read(wire.NewReversal)
    reversal = sent.under(key, call.path("transactionId"))
    return await call.submit(reversal_order(call.project, reversal, call.origin))


async def transactions(call: Call) -> web.Response:
    query = call.query()
    found = await call.run(
        lambda neruba: neruba.ledger.transactions(
            call.project,
            type=query.get("type"),
            start=query.get("from"),
            end=query.get("to"),
            **page_of(query),
        )
    )
    return present.listed([transaction.body for transaction in found.items], found.next_cursor)


async def transaction(call: Call) -> web.Response:
    transaction_id = call.path("transactionId")
    found = await call.run(lambda neruba: neruba.ledger.transaction(call.project, transaction_id))
    return present.body(found.body.encode())


async def wallet(call: Call) -> web.Response:
    query = call.query()
    view = await call.run(
        lambda neruba: neruba.wallets.get(
            call.project, as_of=query.get("asOf"), known_at=query.get("knownAt")
        )
    )
    return present.json(wire.Wallet.of(view))


async def accounts(call: Call) -> web.Response:
    query = call.query()
    balance = await call.run(
        lambda neruba: neruba.ledger.trial_balance(
            call.project, as_of=query.get("asOf"), known_at=query.get("knownAt")
        )
    )
    return present.json(wire.TrialBalance.of(balance))


async def entries(call: Call) -> web.Response:
    query = call.query()
    found = await call.run(
        lambda neruba: neruba.ledger.entries(call.project, account=query.get("account"), **page_of(query))
    )
    items = tuple(wire.Entry.of(entry) for entry in found.items)
    return present.json(wire.Entries(items, found.next_cursor))
