"""Invoices as JSON, as a page or as a PDF; why they say what they say; issuing and voiding them."""

from __future__ import annotations

from aiohttp import web

from neruba_core import Neruba
from neruba_core.invoices.spoken import spoken
from neruba_server import formats, present
from neruba_server.formats import HTML, JSON, PDF, TEXT
from neruba_server.routes.call import Answer, Call
from neruba_server.routes.query import page_of
from neruba_server.wire import invoices as wire
from neruba_server.wire.runs import VoidInvoice
from neruba_server.wire.support import Nothing


async def listed(call: Call) -> web.Response:
    query = call.query()
    found = await call.run(
        lambda neruba: neruba.invoices.list(call.project, state=query.get("state"), **page_of(query))
    )
    items = tuple(wire.Invoice.of(each) for each in found.items)
    return present.json(wire.Invoices(items, found.next_cursor))


async def get(call: Call) -> web.Response:
    invoice_id = call.path("invoiceId")
    match formats.chosen(call.request, (JSON, HTML, PDF)):
        case formats.HTML:
            text = await call.run(lambda neruba: neruba.invoices.html(call.project, invoice_id))
            return _varied(formats.page(text))
        case formats.PDF:
            content = await call.run(lambda neruba: neruba.invoices.pdf(call.project, invoice_id))
            response = web.Response(body=content, content_type=PDF)
            response.headers["Content-Disposition"] = f'inline; filename="{invoice_id}.pdf"'
            return _varied(response)
        case _:
            found = await call.run(lambda neruba: neruba.invoices.get(call.project, invoice_id))
            return _varied(present.json(wire.Invoice.of(found)))


async def explain(call: Call) -> web.Response:
    query, invoice_id = call.query(), call.path("invoiceId")
    format = formats.chosen(call.request, (JSON, TEXT))
    found = await call.run(
        lambda neruba: neruba.invoices.explain(
            call.project, invoice_id, line_id=query.get("line"), **page_of(query)
        )
    )
    if format == TEXT:
        return _varied(web.Response(text=spoken(found), content_type=TEXT, charset="utf-8"))
    return _varied(present.json(wire.Explanation.of(found)))


async def finalize(call: Call) -> web.Response:
    sent = await call.read(Nothing, optional=True)
    invoice_id = call.path("invoiceId")

    def act(bound: Neruba) -> Answer:
        invoice = bound.invoices.finalize(call.project, invoice_id, origin=call.origin)
        return Answer(wire.Invoice.of(invoice), 200, subject_id=invoice.id)

    return await call.once(sent, act)


async def void(call: Call) -> web.Response:
    sent = await call.read(VoidInvoice)
    invoice_id = call.path("invoiceId")

    def act(bound: Neruba) -> Answer:
        invoice = bound.invoices.void(call.project, invoice_id, reason=sent.reason, origin=call.origin)
        return Answer(wire.Invoice.of(invoice), 200, subject_id=invoice.id)

    return await call.once(sent, act)


def _varied(response: web.Response) -> web.Response:
    response.headers["Vary"] = "Accept"
    return response
