"""Payments and refunds; what is open, and what is taken off it."""

from __future__ import annotations

from aiohttp import web

from neruba_core import Neruba, money
from neruba_server import present
from neruba_server.limits import MOST_BODY_BYTES, body_of
from neruba_server.routes.call import Answer, Call
from neruba_server.routes.query import page_of
from neruba_server.wire import payments as wire
from neruba_server.wire.support import Nothing


async def pay(call: Call) -> web.Response:
    key = call.key()
    sent = await call.read(wire.NewPayment)

    def act(bound: Neruba) -> Answer:
        payment = bound.payments.pay(
            call.project,
            provider=sent.provider,
            amount=money.text(sent.amount),
            invoice_id=sent.invoice_id,
            reference=sent.reference,
            idempotency_key=key,
            origin=call.origin,
        ).value
        return Answer(wire.Payment.of(payment), subject_id=payment.id)

    return await call.once(sent, act)


async def listed(call: Call) -> web.Response:
    query = call.query()
    found = await call.run(
        lambda neruba: neruba.payments.list(call.project, status=query.get("status"), **page_of(query))
    )
    items = tuple(wire.Payment.of(each) for each in found.items)
    return present.json(wire.Payments(items, found.next_cursor))


async def get(call: Call) -> web.Response:
    payment_id = call.path("paymentId")

    def read(neruba: Neruba) -> wire.PaymentInFull:
        payments = neruba.payments
        return wire.PaymentInFull.of_all(
            payments.get(call.project, payment_id),
            payments.allocations(call.project, payment_id),
            payments.refunds(call.project, payment_id),
            payments.disputes(call.project, payment_id),
        )

    return present.json(await call.run(read))


async def receive_stripe(call: Call) -> web.Response:
    # The signature is over these very bytes.
    payload = await body_of(call.request, MOST_BODY_BYTES)
    signature = call.request.headers.get("Stripe-Signature")
    await call.run(lambda neruba: neruba.provider_events.receive("stripe", payload, signature))
    return present.json(wire.Received(True))


async def provider_events(call: Call) -> web.Response:
    query = call.query()
    found = await call.run(
        lambda neruba: neruba.provider_events.list(state=query.get("state"), **page_of(query))
    )
    items = tuple(wire.ProviderEvent.of(each) for each in found.items)
    return present.json(wire.ProviderEvents(items, found.next_cursor))


async def reprocess(call: Call) -> web.Response:
    sent = await call.read(Nothing, optional=True)
    event_id = call.path("providerEventId")

    def act(bound: Neruba) -> Answer:
        event = bound.provider_events.reprocess(event_id)
        return Answer(wire.ProviderEvent.of(event), 200, subject_id=event.id)

    return await call.once(sent, act)


async def set_method(call: Call) -> web.Response:
    sent = await call.read(wire.NewPaymentMethod)
    method = await call.write(
        lambda bound: bound.payments.set_method(
            call.project,
            provider=sent.provider,
            customer=sent.customer,
            method=sent.method,
            collects_invoices=sent.collects_invoices is not False,
            origin=call.origin,
        )
    )
    return present.json(wire.PaymentMethod.of(method))


async def method(call: Call) -> web.Response:
    found = await call.run(lambda neruba: neruba.payments.method(call.project))
    return present.json(wire.PaymentMethod.of(found))


async def remove_method(call: Call) -> web.Response:
    await call.write(lambda bound: bound.payments.remove_method(call.project, origin=call.origin), status=204)
    return present.empty()


async def refund(call: Call) -> web.Response:
    key = call.key()
    sent = await call.read(wire.NewRefund)
    payment_id = call.path("paymentId")

    def act(bound: Neruba) -> Answer:
        made = bound.payments.refund(
            call.project,
            payment_id,
            amount=money.text(sent.amount),
            reason=sent.reason,
            idempotency_key=key,
            origin=call.origin,
        ).value
        return Answer(wire.Refund.of(made), subject_id=made.id)

    return await call.once(sent, act)


async def receivables(call: Call) -> web.Response:
    found = await call.run(lambda neruba: neruba.receivables.of(call.project))
    return present.json(wire.Receivables.of(found))


async def credit_note(call: Call) -> web.Response:
    key = call.key()
    sent = await call.read(wire.NewCreditNote)
    invoice_id = call.path("invoiceId")

    def act(bound: Neruba) -> Answer:
        made = bound.receivables.credit_note(
            call.project,
            invoice_id,
            amount=money.text(sent.amount),
            reason=sent.reason,
            idempotency_key=key,
            origin=call.origin,
        ).value
        return Answer(wire.Correction.of(made), subject_id=made.id)

    return await call.once(sent, act)


async def write_off(call: Call) -> web.Response:
    key = call.key()
    sent = await call.read(wire.NewWriteOff)
    invoice_id = call.path("invoiceId")

    def act(bound: Neruba) -> Answer:
        made = bound.receivables.write_off(
            call.project,
            invoice_id,
            amount=None if sent.amount is None else money.text(sent.amount),
            reason=sent.reason,
            idempotency_key=key,
            origin=call.origin,
        ).value
        return Answer(wire.Correction.of(made), subject_id=made.id)

    return await call.once(sent, act)
