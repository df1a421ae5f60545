"""Runs and invoices over HTTP: billed once, shown in each format, explained to the micro-unit."""

from __future__ import annotations

import sys
from fractions import Fraction

import pytest
from aiohttp import ClientSession

from neruba_core import Neruba
from neruba_core.invoices.html import style_source
from tests.server.world import Client, Tenant, World, served, tenant

AS_PDF = {"Accept": "application/pdf"}
TIERS = [
    {"upTo": "100", "unitAmount": "1.00"},
    {"upTo": "1000", "unitAmount": "0.50"},
    {"upTo": None, "unitAmount": "0.10"},
]
PERIOD = "2026-02"


@pytest.fixture
async def acme(world: World) -> Tenant:
    """
    A tenant with 1,500 units in February 2026, in three events, at prices in tiers; and 46 of credit.
    """
    one = world.one
    price = {
        "metricKey": "api_tokens",
        "model": "graduated",
        "tiers": TIERS,
        "effectiveFrom": "2026-02-01T00:00:00Z",
    }
    assert (await world.ask("POST", f"/projects/{one.id}/prices", one.owner, json=price)).status == 201
    for day in (3, 4, 5):
        event = {"metricKey": "api_tokens", "units": "500", "timestamp": f"2026-02-0{day}T00:00:00Z"}
        sent = await world.ask("POST", "/ingest/usage", one.usage_key, key=f"feb-{day}", json=event)
        assert sent.status == 201
    # What the world has in earlier months comes first.
    closed = await run(world, one, period="2025-11", finalize=True)
    assert closed.json["state"] == "finalized"
    return one


async def run(world: World, tenant: Tenant, **body):
    return await world.ask(
        "POST", f"/projects/{tenant.id}/billing/runs", tenant.finance, json={"period": PERIOD, **body}
    )


async def issued(world: World, tenant: Tenant) -> str:
    answer = await run(world, tenant, finalize=True)
    assert answer.status == 201, answer.content
    assert answer.json["invoice"]["state"] == "finalized"
    return f"/projects/{tenant.id}/invoices/{answer.json['invoice']['id']}"


async def test_a_period_is_billed_and_running_it_again_changes_nothing(world: World, acme: Tenant):
    """
    201 with the invoice; then 200, unchanged, with the same one.
    """
    first = await run(world, acme, finalize=True)
    second = await run(world, acme)

    invoice = first.json["invoice"]
    (line,) = invoice["lines"]
    assert (first.status, second.status) == (201, 200)
    assert (first.json["unchanged"], second.json["unchanged"]) == (False, True)
    assert second.json["invoice"] == invoice
    assert first.json["period"] == invoice["period"] == PERIOD
    assert (line["kind"], line["model"], line["metricKey"]) == ("usage", "graduated", "api_tokens")
    assert (line["quantity"], line["amount"]) == ("1500.000000", "600.000000")
    assert line["servicePeriod"] == {
        "start": "2026-02-01T00:00:00.000000Z",
        "end": "2026-03-01T00:00:00.000000Z",
    }
    assert (invoice["total"], invoice["creditApplied"]) == ("600.000000", "46.000000")
    assert (invoice["rounding"], invoice["amountDue"]) == ("0.000000", "554.000000")


async def test_a_dry_run_writes_nothing(world: World, acme: Tenant):
    """
    It answers what a run would, and no more is there than before.
    """
    before = world.state(acme)

    dry = await run(world, acme, dryRun=True)

    assert dry.status == 200
    assert dry.json["dryRun"] is True
    assert dry.json["invoice"]["total"] == "600.000000"
    assert world.state(acme) == before


async def test_a_period_that_is_not_over_is_not_issued(world: World, acme: Tenant):
    """
    Not even when somebody insists.
    """
    answer = await run(world, acme, period=world.neruba.now().strftime("%Y-%m"), finalize=True)

    assert (answer.status, answer.code) == (409, "period.open")


async def test_runs_are_on_record(world: World, acme: Tenant):
    """
    Newest first, by period, each with its counts and totals.
    """
    ran = (await run(world, acme, finalize=True)).json

    listed = await world.ask("GET", f"/projects/{acme.id}/billing/runs?period={PERIOD}", acme.owner)
    one = await world.ask("GET", f"/projects/{acme.id}/billing/runs/{ran['id']}", acme.owner)

    assert [each["id"] for each in listed.json["items"]] == [ran["id"]]
    assert one.json == listed.json["items"][0]
    assert one.json["invoiceIds"] == [ran["invoice"]["id"]]
    assert one.json["totals"]["total"] == "600.000000"
    assert one.json["counts"]["events"] == 3


async def test_the_overview_tells_what_is_open(world: World, acme: Tenant):
    """
    How many, how much, and the invoice that was issued last.
    """
    path = await issued(world, acme)

    overview = (await world.ask("GET", f"/projects/{acme.id}/billing/overview", acme.owner)).json

    last = (await world.ask("GET", path, acme.owner)).json
    assert overview["invoices"] == {"open": 1, "due": "554.000000", "last": last}


async def test_invoices_are_listed_and_filtered_by_state(world: World, acme: Tenant):
    """
    The latest period first.
    """
    await issued(world, acme)

    everything = await world.ask("GET", f"/projects/{acme.id}/invoices", acme.owner)
    drafts = await world.ask("GET", f"/projects/{acme.id}/invoices?state=draft", acme.owner)

    assert [each["period"] for each in everything.json["items"]] == [PERIOD, "2025-11", "2025-10"]
    assert [each["number"] for each in everything.json["items"]] == [3, 2, 1]
    assert drafts.json["items"] == []


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/html", "text/html"),
        ("application/pdf", "application/pdf"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("application/pdf;q=0.5, application/json", "application/json"),
        ("application/*;q=0.2, application/pdf;q=0.9", "application/pdf"),
        ("application/json;q=0, */*", "text/html"),
    ],
)
async def test_an_invoice_comes_in_the_format_that_is_wanted(world: World, acme: Tenant, accept, kind):
    """
    As a browser, a PDF reader and a program ask for it.
    """
    path = await issued(world, acme)

    answer = await world.ask("GET", path, acme.owner, headers={"Accept": accept} if accept else {})

    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith(kind)
    assert answer.headers["Vary"] == "Accept"


@pytest.mark.parametrize("accept", ["image/png", "text/plain", "application/json;q=0"])
async def test_a_format_that_there_is_not_is_refused(world: World, acme: Tenant, accept):
    """
    With those that there are.
    """
    path = await issued(world, acme)

    answer = await world.ask("GET", path, acme.owner, headers={"Accept": accept})

    assert (answer.status, answer.code) == (406, "response.not_acceptable")
    assert answer.json["available"] == ["application/json", "text/html", "application/pdf"]


async def test_the_page_is_served_under_a_policy_that_allows_its_style_alone(world: World, acme: Tenant):
    """
    No script, no frame, nothing from elsewhere; and the same bytes each time.
    """
    path = await issued(world, acme)

    page = await world.ask("GET", path, acme.owner, headers={"Accept": "text/html"})
    again = await world.ask("GET", path, acme.owner, headers={"Accept": "text/html"})

    (policy,) = page.headers.getall("Content-Security-Policy")  # type: ignore[attr-defined]
    assert policy.startswith(f"default-src 'none'; style-src {style_source()};")
    assert "unsafe" not in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.content == again.content
    assert b"900 \xc3\x97 0.5 = 450" in page.content


async def test_the_bytes_of_a_pdf_are_kept(world: World, acme: Tenant, monkeypatch):
    """
    Once it was shown, no other typesetter and no other day changes them.
    """
    path = await issued(world, acme)
    first = await world.ask("GET", path, acme.owner, headers=AS_PDF)
    monkeypatch.setitem(sys.modules, "typst", None)

    again = await world.ask("GET", path, acme.owner, headers=AS_PDF)

    assert first.content.startswith(b"%PDF-")
    assert again.content == first.content


async def test_without_typst_a_pdf_is_not_available(world: World, acme: Tenant, monkeypatch):
    """
    And the answer says what whoever runs it can install.
    """
    path = await issued(world, acme)
    monkeypatch.setitem(sys.modules, "typst", None)

    answer = await world.ask("GET", path, acme.owner, headers=AS_PDF)

    assert (answer.status, answer.code) == (501, "rendering.unavailable")
    assert "neruba[pdf]" in answer.json["detail"]


async def test_an_explanation_re_adds(world: World, acme: Tenant):
    """
    Parts to the exact figure, with the rounding to the amount; debits to credits.
    """
    path = await issued(world, acme)

    explained = (await world.ask("GET", f"{path}/explain", acme.owner)).json

    (line,) = explained["lines"]
    assert [part["amount"] for part in line["parts"]] == ["100", "450", "50"]
    for part in line["parts"]:
        assert Fraction(part["quantity"]) * Fraction(part["rate"]) == Fraction(part["amount"])
    assert sum(Fraction(part["amount"]) for part in line["parts"]) == Fraction(line["exact"])
    assert Fraction(line["exact"]) + Fraction(line["rounding"]) == Fraction(line["amount"])
    sides = [sum(Fraction(entry[side]) for entry in explained["entries"]) for side in ("debit", "credit")]
    assert sides[0] == sides[1] == 600
    assert [drawn["amount"] for drawn in explained["drawn"]] == ["46.000000"]


async def test_the_events_of_a_line_come_page_by_page(world: World, acme: Tenant):
    """
    All of them together are its quantity; what was voided or came later is there, and not counted.
    """
    path = await issued(world, acme)
    late = {"metricKey": "api_tokens", "units": "7", "timestamp": "2026-02-20T00:00:00Z"}
    assert (await world.ask("POST", "/ingest/usage", acme.usage_key, key="late", json=late)).json[
        "late"
    ] is True
    line = (await world.ask("GET", path, acme.owner)).json["lines"][0]

    events, cursor, page = [], "", None
    for _ in range(4):
        page = await world.ask("GET", f"{path}/explain?line={line['id']}&limit=1{cursor}", acme.owner)
        events += page.json["events"]
        cursor = f"&cursor={page.json['nextCursor']}"

    assert page is not None
    assert page.json["nextCursor"] is None
    assert [event["eventId"] for event in events] == ["late", "feb-5", "feb-4", "feb-3"]
    assert sum(Fraction(each["units"]) for each in events if each["counted"]) == Fraction(line["quantity"])


async def test_an_explanation_can_be_read_out(world: World, acme: Tenant):
    """
    As plain text, with the same sums.
    """
    path = await issued(world, acme)

    text = (await world.ask("GET", f"{path}/explain", acme.owner, headers={"Accept": "text/plain"})).content

    assert "100 + 450 + 50 = 600" in text.decode()


async def test_what_is_not_on_the_invoice_cannot_be_explained(world: World, acme: Tenant):
    """
    A line of another invoice; and a cursor without its line.
    """
    path = await issued(world, acme)

    unknown = await world.ask("GET", f"{path}/explain?line={acme.ids['lineId']}", acme.owner)
    stray = await world.ask("GET", f"{path}/explain?cursor=x", acme.owner)

    assert (unknown.status, unknown.code) == (404, "invoice.line_not_found")
    assert (stray.status, stray.code) == (400, "cursor.invalid")


async def test_a_draft_is_finalized_and_an_issued_invoice_stays(world: World, acme: Tenant):
    """
    Twice is the same invoice.
    """
    draft = (await run(world, acme, finalize=False)).json["invoice"]
    path = f"/projects/{acme.id}/invoices/{draft['id']}/finalize"

    first = await world.ask("POST", path, acme.finance)
    second = await world.ask("POST", path, acme.finance)

    assert (draft["state"], draft["number"]) == ("draft", None)
    assert (first.status, first.json["state"], first.json["number"]) == (200, "finalized", 3)
    assert second.json == first.json


async def test_a_void_invoice_is_undone_and_its_period_can_be_billed_again(world: World, acme: Tenant):
    """
    Under a new number; the void one stays, and says why.
    """
    path = await issued(world, acme)

    void = await world.ask("POST", f"{path}/void", acme.finance, json={"reason": "wrong price"})
    again = await run(world, acme, finalize=True)
    seen = await world.ask("GET", path, acme.owner, headers={"Accept": "text/html"})

    assert (void.status, void.json["state"], void.json["voidReason"]) == (200, "void", "wrong price")
    assert (again.status, again.json["invoice"]["number"]) == (201, 4)
    assert again.json["invoice"]["amountDue"] == "554.000000"
    assert b'class="watermark"' in seen.content
    assert b"wrong price" in seen.content


async def test_a_month_is_billed_on_each_database(neruba: Neruba):
    """
    From the usage to the invoice, its page, its PDF and its explanation.
    """
    async with served(neruba) as server, ClientSession() as session:
        client = Client(session, str(server.make_url("")).rstrip("/"))
        one = tenant(neruba, "one")
        world = World(neruba, client, one, one, {}, {}, {})
        again = await run(world, one, period="2025-10")
        path = f"/projects/{one.id}/invoices/{one.ids['invoiceId']}"
        page = await world.ask("GET", path, one.owner, headers={"Accept": "text/html"})
        papers = [await world.ask("GET", path, one.owner, headers=AS_PDF) for _ in range(2)]
        explained = await world.ask("GET", f"{path}/explain?line={one.ids['lineId']}", one.owner)

    assert (again.status, again.json["unchanged"]) == (200, True)
    assert b"300 \xc3\x97 0.01 = 3" in page.content
    assert papers[0].content == papers[1].content
    assert [event["units"] for event in explained.json["events"]] == ["100.000000"] * 3
