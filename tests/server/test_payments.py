"""Payments over HTTP: recorded once, shown in full, given back, credited and written off."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import ClientSession

from neruba_core import Neruba
from neruba_core.payments.answer import method_values, payment_values, refund_values
from neruba_core.payments.stripe import StripeProvider
from neruba_core.tenancy.model import Role
from neruba_core.testing.stripe import SECRET, StripeStandIn
from tests.server.world import Answer, Client, Tenant, World, bearer, served


@pytest.fixture
async def owed(world: World) -> dict[str, str]:
    """
    An invoice of the first tenant with 20 to pay.
    """
    one = world.one
    price = {
        "metricKey": "seats",
        "model": "unit",
        "unitAmount": "10",
        "effectiveFrom": "2025-12-01T00:00:00Z",
    }
    await world.ask(
        "POST", f"/projects/{one.id}/metrics", one.owner, json={"key": "seats", "aggregation": "sum"}
    )
    await world.ask("POST", f"/projects/{one.id}/prices", one.owner, json=price)
    event = {"metricKey": "seats", "units": "6.6", "timestamp": "2025-12-03T00:00:00Z"}
    assert (await world.ask("POST", "/ingest/usage", one.usage_key, key="seats", json=event)).status == 201
    invoices = []
    for period in ("2025-11", "2025-12"):
        run = {"period": period, "finalize": True}
        ran = await world.ask("POST", f"/projects/{one.id}/billing/runs", one.finance, json=run)
        assert ran.status == 201, ran.content
        invoices.append(ran.json["invoice"])
    invoice = invoices[-1]
    assert invoice["amountDue"] == "20.000000"
    return invoice


async def pay(world: World, tenant: Tenant, key: str = "wire", **body: str) -> Answer:
    sent = {"provider": "manual", **body}
    return await world.ask("POST", f"/projects/{tenant.id}/payments", tenant.finance, key=key, json=sent)


async def test_an_invoice_is_paid_once(world: World, owed):
    """
    201, and with the same key the same bytes; the invoice is paid and the till has the money.
    """
    one = world.one
    body = {"amount": "25", "invoiceId": owed["id"], "reference": "SEPA 17"}

    first = await pay(world, one, **body)
    again = await pay(world, one, **body | {"amount": "25.000000"})
    other = await pay(world, one, **body | {"amount": "26"})

    assert (first.status, again.status) == (201, 201)
    assert again.content == first.content
    assert (first.headers["Neruba-Outcome"], again.headers["Neruba-Outcome"]) == ("accepted", "replayed")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (other.status, other.code) == (422, "idempotency.key_reused")
    invoice = await world.ask("GET", f"/projects/{one.id}/invoices/{owed['id']}", one.finance)
    assert (invoice.json["state"], invoice.json["paid"]) == ("paid", "20.000000")
    full = await world.ask("GET", f"/projects/{one.id}/payments/{first.json['id']}", one.finance)
    assert full.json["status"] == "succeeded"
    assert [each["amount"] for each in full.json["allocations"]] == ["20.000000"]
    wallet = await world.ask("GET", f"/projects/{one.id}/wallet", one.finance)
    remaining = {grant["id"]: grant["remaining"] for grant in wallet.json["grants"]}
    assert remaining[first.json["grantId"]] == "5.000000"


async def test_an_archived_project_can_pay_what_it_owes(world: World, owed):
    """
    By hand; nothing else begins there.
    """
    one = world.one
    await world.ask("POST", f"/projects/{one.id}/archive", one.owner)

    paid = await pay(world, one, amount="15", invoiceId=owed["id"])
    lost = await world.ask(
        "POST",
        f"/projects/{one.id}/invoices/{owed['id']}/write-off",
        one.finance,
        key="lost",
        json={"reason": "gone"},
    )
    top_up = await pay(world, one, "top-up", amount="5")

    assert (paid.status, lost.status, lost.json["amount"]) == (201, 201, "5.000000")
    assert (top_up.status, top_up.code) == (409, "project.archived")


async def test_a_refund_opens_the_invoice_again(world: World, owed):
    """
    And shows on the payment and among what is receivable.
    """
    one = world.one
    paid = (await pay(world, one, amount="20", invoiceId=owed["id"])).json
    path = f"/projects/{one.id}/payments/{paid['id']}"
    body = {"amount": "8", "reason": "asked for"}

    refund = await world.ask("POST", f"{path}/refund", one.finance, key="back", json=body)
    beyond = await world.ask("POST", f"{path}/refund", one.finance, key="more", json=body | {"amount": "13"})

    assert (refund.status, refund.json["amount"], refund.json["paymentId"]) == (201, "8.000000", paid["id"])
    assert (beyond.status, beyond.code, beyond.json["left"]) == (409, "refund.exceeds_payment", "12.000000")
    full = (await world.ask("GET", path, one.finance)).json
    assert (full["refunded"], full["refunds"]) == ("8.000000", [refund.json])
    settled = [(each["amount"], each["subjectId"]) for each in full["allocations"]]
    assert settled == [("20.000000", paid["id"]), ("-8.000000", refund.json["id"])]
    found = (await world.ask("GET", f"/projects/{one.id}/receivables", one.finance)).json
    assert found["open"] == "8.000000"
    assert [each["invoiceId"] for each in found["invoices"]] == [owed["id"]]
    assert [bucket["invoices"] for bucket in found["buckets"]] == [1, 0, 0, 0]


async def test_an_invoice_is_credited_and_written_off(world: World, owed):
    """
    A credit note, then what nobody pays.
    """
    one = world.one
    path = f"/projects/{one.id}/invoices/{owed['id']}"

    note = await world.ask(
        "POST", f"{path}/credit-notes", one.finance, key="n", json={"amount": "5", "reason": "too much"}
    )
    gone = await world.ask("POST", f"{path}/write-off", one.finance, key="w", json={"reason": "bankrupt"})
    nothing = await world.ask("POST", f"{path}/write-off", one.finance, key="x", json={"reason": "again"})

    assert (note.status, note.json["kind"], note.json["settled"]) == (201, "credit_note", "5.000000")
    assert (gone.status, gone.json["kind"], gone.json["amount"]) == (201, "write_off", "15.000000")
    assert (nothing.status, nothing.code) == (409, "invoice.settled")
    assert (await world.ask("GET", path, one.finance)).json["state"] == "paid"
    accounts = await world.ask("GET", f"/projects/{one.id}/ledger/accounts", one.finance)
    assert accounts.status == 200


async def test_faults_are_named(world: World, owed):
    """
    Each with the field that it lies in.
    """
    one = world.one

    unknown = await pay(world, one, amount="1", provider="piggybank")
    fraction = await pay(world, one, amount="0.001")
    stranger = await pay(world, one, amount="1", invoiceId="inv_none")
    keyless = await world.ask(
        "POST", f"/projects/{one.id}/payments", one.finance, json={"provider": "manual", "amount": "1"}
    )

    assert unknown.faults() == {("/provider", "payment.provider_unknown")}
    assert fraction.faults() == {("/amount", "amount.not_payable")}
    assert (stranger.status, stranger.code) == (404, "invoice.not_found")
    assert (keyless.status, keyless.code) == (400, "idempotency.key_missing")


async def test_payments_are_listed(world: World):
    """
    Newest first, by status, as messages show them too.
    """
    one = world.one
    first = (await pay(world, one, amount="7")).json
    body = {"amount": "6", "reason": "twice"}
    path = f"/projects/{one.id}/payments/{first['id']}"
    await world.ask("POST", f"{path}/refund", one.finance, key="back", json=body)
    made = (await pay(world, one, key="second", amount="1")).json

    found = (await world.ask("GET", f"/projects/{one.id}/payments", one.finance)).json
    none = (await world.ask("GET", f"/projects/{one.id}/payments?status=failed", one.finance)).json

    assert [each["id"] for each in found["items"]] == [made["id"], first["id"]]
    assert none["items"] == []
    payment = world.neruba.payments.get(one.id, first["id"])
    (refund,) = world.neruba.payments.refunds(one.id, payment.id)
    assert json.loads(json.dumps(payment_values(payment))) == found["items"][1]
    full = (await world.ask("GET", f"/projects/{one.id}/payments/{payment.id}", one.finance)).json
    assert full["refunds"] == [refund_values(refund)]


async def test_a_project_says_how_it_pays(world: World):
    """
    Finance names the customer at the provider; the ticker asks for what is pending.
    """
    one = world.one
    path = f"/projects/{one.id}/payment-method"
    sent = {"provider": "rehearsed", "customer": "cus_9", "method": "pm_9", "collectsInvoices": False}

    named = await world.ask("PUT", path, one.finance, json=sent)
    by_admin = await world.ask("PUT", path, one.people[Role.ADMIN], json=sent)
    unknown = await world.ask("PUT", path, one.finance, json=sent | {"provider": "piggybank"})
    shown = await world.ask("GET", path, one.people[Role.VIEWER])

    assert named.json == shown.json == method_values(world.neruba.payments.method(one.id))
    assert named.json["collectsInvoices"] is False
    assert (by_admin.status, unknown.code) == (403, "payment.provider_unknown")

    pending = await pay(world, one, provider="rehearsed", amount="5")
    assert (pending.status, pending.json["status"]) == (201, "pending")
    now = pending
    while now.json["status"] == "pending":
        await asyncio.sleep(0.1)
        now = await world.ask("GET", f"/projects/{one.id}/payments/{pending.json['id']}", one.finance)
    assert (now.json["status"], now.json["fee"]) == ("succeeded", "0.000000")

    assert (await world.ask("DELETE", path, one.finance)).status == 204
    assert (await world.ask("GET", path, one.finance)).code == "payment.method_not_found"
    assert (await pay(world, one, "x", provider="rehearsed", amount="5")).code == "payment.method_missing"


async def test_what_stripe_sends_is_kept_and_processed():
    """
    200 at once for what it has signed, 400 for anything else, 503 while nobody can tell; operators see it.
    """
    with StripeStandIn() as stripe:
        stripe.add_customer("cus_1")
        provider = StripeProvider("sk_test_1", webhook_secret=SECRET, api_base=stripe.url)
        neruba = Neruba.in_memory(password_effort="testing", providers=(provider,))
        project = neruba.projects.create(name="Acme")
        neruba.payments.set_method(project.id, provider="stripe", customer="cus_1", method="pm_1")
        stripe.break_with("lost")
        payment = neruba.payments.pay(project.id, amount="5", provider="stripe", idempotency_key="card").value
        operator = bearer(neruba, "operator@example.com", operator=True)
        async with served(neruba) as server, ClientSession() as session:
            client = Client(session, str(server.make_url("")).rstrip("/"))

            async def send(body: bytes, signature: str | None) -> Answer:
                headers = {} if signature is None else {"Stripe-Signature": signature}
                return await client.ask("POST", "/webhooks/stripe", data=body, headers=headers)

            body, signature = stripe.signed(stripe.events[-1])
            first, again = await send(body, signature), await send(body, signature)
            refused = [await send(body + b" ", signature), await send(body, None)]

            assert (first.status, first.json, again.status) == (200, {"received": True}, 200)
            assert {(each.status, each.code) for each in refused} == {(400, "payment.signature_invalid")}
            while neruba.payments.get(project.id, payment.id).status.value == "pending":
                await asyncio.sleep(0.1)
            (kept,) = (await client.ask("GET", "/provider-events", operator)).json["items"]
            assert (kept["type"], kept["paymentId"]) == ("payment_intent.succeeded", payment.id)
            assert (await client.ask("GET", "/provider-events?state=dead", operator)).json["items"] == []
            renewed = await client.ask("POST", f"/provider-events/{kept['id']}/reprocess", operator)
            assert (renewed.status, renewed.json["state"]) == (200, "pending")
            dispute = stripe.dispute(str(neruba.payments.get(project.id, payment.id).provider_id))
            assert (await send(*stripe.signed(stripe.events[-1]))).status == 200
            path = f"/projects/{project.id}/payments/{payment.id}"
            while not (disputed := (await client.ask("GET", path, operator)).json)["disputes"]:
                await asyncio.sleep(0.1)
            (told,) = disputed["disputes"]
            assert disputed["disputed"] == told["amount"] == "5.000000"
            assert (told["status"], told["providerId"]) == ("open", dispute["id"])
            assert (told["fee"], told["feeBack"], told["closedAt"]) == ("15.000000", "0.000000", None)
            unknown = await client.ask("POST", "/provider-events/pev_none/reprocess", operator)
            assert (unknown.status, unknown.code) == (404, "payment.event_not_found")

    silent = Neruba.in_memory(providers=(StripeProvider("sk_test_1"),))
    async with served(silent) as server, ClientSession() as session:
        client = Client(session, str(server.make_url("")).rstrip("/"))
        unset = await client.ask("POST", "/webhooks/stripe", data=body, headers={"Stripe-Signature": "t=1"})
        assert (unset.status, unset.code) == (503, "payment.webhook_secret_unset")
