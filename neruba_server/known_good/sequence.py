"""The steps of the known-good sequence, and what must be true after each.

This is the one place that says which requests are sent and what their answers must show. ``neruba demo``
walks it against a server of its own, ``neruba verify`` against a running deployment. What a request needs
from an earlier answer stands in angle brackets, as in ``/projects/<projectId>/wallet``.

No check looks at a total alone: it compares with what was there before the walk, so the sequence holds in
a fresh project and in one that has been walked a thousand times. ``AFTERMATH`` takes back what was done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

from attrs import field, frozen

from neruba_server.known_good.answers import Answer, Told

METRIC = "api_tokens"
UNITS = "1250.000000"
CREDIT = "100.000000"
CHARGE = "12.500000"
TIERS = ((Decimal("1000.000000"), Decimal("0.01")), (None, Decimal("0.005")))
"""What our metric costs: up to how many units each tier goes, and its price for one."""

OUTCOME = "Neruba-Outcome"
REPLAYED = "Idempotent-Replayed"
REQUEST_ID = "X-Request-Id"

Claim: TypeAlias = str | Callable[[Told], str]
Look: TypeAlias = Callable[[Told], object]


@frozen
class Plan:
    """The names that one walk uses. Idempotency keys that nobody used make every write a fresh one."""

    email: str
    password: str = field(repr=False)
    project_name: str
    external_key: str
    usage_key: str
    credit_key: str
    charge_key: str
    timestamp: str
    issues: bool
    """Whether the period is invoiced for good at the end; it has to be over."""

    @property
    def period(self) -> str:
        """The month that the usage falls into."""
        return self.timestamp[:7]


def demo_plan() -> Plan:
    """The names of the request flows that the documentation shows."""
    return Plan(
        email="owner@example.com",
        password="strong-password",
        project_name="Acme Production",
        external_key="acme-prod",
        usage_key="evt_2026_03_17_001",
        credit_key="credit_2026_03_17_001",
        charge_key="chg_2026_03_17_001",
        timestamp="2026-03-17T10:15:00.000Z",
        issues=True,
    )


def verify_plan(email: str, password: str, *, run: str, at: datetime) -> Plan:
    """The names of one run of ``verify``: the same project each time, keys that only this *run* uses."""
    return Plan(
        email=email,
        password=password,
        project_name="Neruba verify",
        external_key="neruba-verify",
        usage_key=f"verify_{run}_usage",
        credit_key=f"verify_{run}_credit",
        charge_key=f"verify_{run}_charge",
        # Now, in a period that no invoice has closed.
        timestamp=at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        issues=False,
    )


@frozen
class Check:
    """Something that must be so: *found* equals *expected*."""

    claim: Claim
    expected: Look
    found: Look


@frozen
class Step:
    """One request, why it is sent, and what its answer must show.

    *keeps* names what later steps need of the answer. *expects* are the statuses that let the walk go on.
    """

    name: str
    title: str
    why: str
    method: str
    path: str
    expects: tuple[int, ...]
    headers: Mapping[str, str] = {}
    body: Mapping[str, Any] | None = None
    checks: tuple[Check, ...] = ()
    keeps: Mapping[str, Callable[[Answer], object]] = {}


_PERSON = {"Authorization": "Bearer <access-token>"}
_MACHINE = {"x-api-key": "<project-api-key>"}


def sequence(plan: Plan) -> tuple[Step, ...]:
    """The steps from signing in to the reconciled state."""
    return (*_loop(plan), *(_issuing(plan) if plan.issues else ()))


def _loop(plan: Plan) -> tuple[Step, ...]:
    usage = {"metricKey": METRIC, "units": UNITS, "timestamp": plan.timestamp}
    charge = {"amount": CHARGE, "description": "GPU hour"}
    return (
        Step(
            "ready",
            "Ask whether it is ready",
            "Each part that requests depend on is named, with its state.",
            "GET",
            "/readyz",
            (200,),
        ),
        Step(
            "login",
            "Sign in",
            "People act with an access token, which expires; machines act with a key, further down.",
            "POST",
            "/auth/login",
            (200,),
            body={"email": plan.email, "password": plan.password},
            checks=(_is("a bearer token is issued", "login", "tokenType", "Bearer"),),
            keeps={"access-token": lambda answer: answer.value("accessToken")},
        ),
        Step(
            "project",
            "Create the project",
            "The tenant boundary: one billed party, one wallet, one currency.",
            "POST",
            "/projects",
            # A project that an earlier walk made is named by the refusal, and used again.
            (201, 409),
            headers=_PERSON,
            body={"name": plan.project_name, "externalKey": plan.external_key},
            checks=(Check("the project's id is told", lambda told: True, _project_is_named),),
            keeps={"projectId": lambda answer: answer.value("id" if answer.status == 201 else "projectId")},
        ),
        Step(
            "before",
            "Look before anything is sent",
            "Everything below is compared with this.",
            "GET",
            "/projects/<projectId>/billing/overview",
            (200,),
            headers=_PERSON,
            checks=(_is("the ledger balances", "before", "ledger.balanced", True),),
        ),
        Step(
            "key",
            "Issue a scoped access key",
            "It may send usage and charges and nothing else. It is shown once, in this answer.",
            "POST",
            "/projects/<projectId>/access-keys",
            (201,),
            headers=_PERSON,
            body={"name": "Usage ingest", "scopes": ["ingest:usage", "ingest:charge"]},
            checks=(
                _is("it has the scopes asked for", "key", "scopes", ["ingest:usage", "ingest:charge"]),
                Check(
                    "the key is shown",
                    lambda told: True,
                    lambda told: str(told["key"].value("accessKey")).startswith("nrb_"),
                ),
            ),
            keeps={
                "project-api-key": lambda answer: answer.value("accessKey"),
                "keyId": lambda answer: answer.value("id"),
            },
        ),
        Step(
            "scope",
            "Try to read with it",
            "The key is for ingest: it cannot look at money.",
            "GET",
            "/projects/<projectId>/wallet",
            (403,),
            headers=_MACHINE,
            checks=(_is("the missing scope is the reason", "scope", "code", "access.scope_missing"),),
        ),
        Step(
            "usage",
            "Send usage",
            "The idempotency key is the identity of this write, for ever.",
            "POST",
            "/ingest/usage",
            (201,),
            headers={**_MACHINE, "Idempotency-Key": plan.usage_key},
            body=usage,
            checks=(
                _header("usage", OUTCOME, "accepted"),
                _is(f"units are {UNITS}", "usage", "units", UNITS),
                _is("the event's id is the idempotency key", "usage", "eventId", plan.usage_key),
            ),
            keeps={"usageId": lambda answer: answer.value("id")},
        ),
        Step(
            "usage-again",
            "Send it again, as a retry would",
            "Nothing happens twice: the first answer comes back, byte for byte.",
            "POST",
            "/ingest/usage",
            (201,),
            headers={**_MACHINE, "Idempotency-Key": plan.usage_key},
            body=usage,
            checks=_is_replay("usage-again", "usage"),
        ),
        Step(
            "usage-reused",
            "Use the same key for something else",
            "A mistake in the sender: refused, and on record.",
            "POST",
            "/ingest/usage",
            (422,),
            headers={**_MACHINE, "Idempotency-Key": plan.usage_key},
            body={**usage, "units": "9999.000000"},
            checks=(
                _header("usage-reused", OUTCOME, "conflict"),
                _is("the code is idempotency.key_reused", "usage-reused", "code", "idempotency.key_reused"),
            ),
        ),
        Step(
            "price",
            "Say what it costs",
            "In tiers, from the beginning of the year. A price is never edited; a later one supersedes it.",
            "POST",
            "/projects/<projectId>/prices",
            # A price that an earlier walk declared is still in force.
            (201, 409),
            headers=_PERSON,
            body={
                "metricKey": METRIC,
                "model": "graduated",
                "tiers": [
                    {"upTo": None if up_to is None else str(up_to), "unitAmount": str(amount)}
                    for up_to, amount in TIERS
                ],
                "effectiveFrom": "2026-01-01T00:00:00.000Z",
            },
            checks=(Check("the price is on record", lambda told: True, _price_is_known),),
        ),
        Step(
            "credit",
            "Grant credit",
            "Money that the project may spend, booked from promotions into its wallet.",
            "POST",
            "/projects/<projectId>/transactions/credit",
            (201,),
            headers={**_PERSON, "Idempotency-Key": plan.credit_key},
            body={"amount": CREDIT, "description": "Launch credit"},
            checks=(_is(f"amount is {CREDIT}", "credit", "amount", CREDIT), _books("credit", CREDIT)),
            keeps={"creditId": lambda answer: answer.value("id")},
        ),
        Step(
            "charge",
            "Charge the wallet",
            "Decided against the balance under a lock, so two charges never spend the same credit.",
            "POST",
            "/ingest/charge",
            (201,),
            headers={**_MACHINE, "Idempotency-Key": plan.charge_key},
            body=charge,
            checks=(
                _header("charge", OUTCOME, "accepted"),
                _is(f"amount is {CHARGE}", "charge", "amount", CHARGE),
                _books("charge", CHARGE),
            ),
            keeps={"chargeId": lambda answer: answer.value("id")},
        ),
        Step(
            "charge-again",
            "Charge it again, as a retry would",
            "The same promise for money: the first answer, and nothing moves.",
            "POST",
            "/ingest/charge",
            (201,),
            headers={**_MACHINE, "Idempotency-Key": plan.charge_key},
            body=charge,
            checks=_is_replay("charge-again", "charge"),
        ),
        Step(
            "events",
            "Count the events",
            "Sent twice, and once more with another body: there is one.",
            "GET",
            f"/projects/<projectId>/usage/events?metricKey={METRIC}&limit=200",
            (200,),
            headers=_PERSON,
            checks=(Check("the event is there once", lambda told: 1, _events_of(plan.usage_key)),),
        ),
        Step(
            "wallet",
            "Read the wallet",
            "What can be spent, and the grants that it consists of.",
            "GET",
            "/projects/<projectId>/wallet",
            (200,),
            headers=_PERSON,
            checks=(
                Check(_readds, _expected_balance, lambda told: told["wallet"].money("balance")),
                Check(
                    "the grants make up the balance",
                    lambda told: told["wallet"].money("balance"),
                    lambda told: sum(Decimal(grant["remaining"]) for grant in told["wallet"].value("grants")),
                ),
            ),
        ),
        Step(
            "overview",
            "Read the billing overview",
            "One page that explains the present: wallet, usage, what became of each attempt, the proof.",
            "GET",
            "/projects/<projectId>/billing/overview",
            (200,),
            headers=_PERSON,
            checks=(
                Check(
                    f"usage of {METRIC} grew by {UNITS}",
                    lambda told: Decimal(UNITS),
                    lambda told: (
                        usage_of(told["overview"], plan.period) - usage_of(told["before"], plan.period)
                    ),
                ),
                Check(
                    "it agrees with the wallet",
                    lambda told: told["wallet"].value("balance"),
                    lambda told: told["overview"].value("wallet.balance"),
                ),
                Check(
                    "its amount is what the tiers come to",
                    lambda told: rated(usage_of(told["overview"], plan.period)),
                    lambda told: amount_of(told["overview"], plan.period),
                ),
                # The usage and the charge; both again; the other body.
                _counted("accepted", 2),
                _counted("replayed", 2),
                _counted("conflict", 1),
                _is("the ledger balances", "overview", "ledger.balanced", True),
            ),
        ),
        Step(
            "accounts",
            "Add up the ledger",
            "Every movement has two sides, so all debits equal all credits.",
            "GET",
            "/projects/<projectId>/ledger/accounts",
            (200,),
            headers=_PERSON,
            checks=(
                Check(
                    "debits equal credits, added up from the accounts",
                    lambda told: _sum(told["accounts"], "credit"),
                    lambda told: _sum(told["accounts"], "debit"),
                ),
            ),
        ),
        Step(
            "transactions",
            "List the transactions",
            "Newest first. The replayed charge is there once.",
            "GET",
            "/projects/<projectId>/transactions?limit=50",
            (200,),
            headers=_PERSON,
            checks=(
                Check("the credit and the charge are there, each once", lambda told: [1, 1], _booked_once),
            ),
        ),
        Step(
            "dry-run",
            "Ask what the month comes to",
            "A dry run goes the way of a real one, and writes nothing.",
            "POST",
            "/projects/<projectId>/billing/runs",
            (200,),
            headers=_PERSON,
            body={"period": plan.period, "dryRun": True},
            checks=(
                _is("nothing is written", "dry-run", "dryRun", True),
                Check(
                    "it bills the usage of the overview",
                    lambda told: usage_of(told["overview"], plan.period),
                    lambda told: Decimal(_usage_line(told["dry-run"])["quantity"]),
                ),
                Check(
                    lambda told: (
                        f"it re-adds: {tiers_text(Decimal(_usage_line(told['dry-run'])['quantity']))}"
                    ),
                    lambda told: rated(Decimal(_usage_line(told["dry-run"])["quantity"])),
                    lambda told: Decimal(_usage_line(told["dry-run"])["amount"]),
                ),
                *_adds_up("dry-run"),
            ),
        ),
    )


def _issuing(plan: Plan) -> tuple[Step, ...]:
    """The steps that invoice a month that is over."""
    return (
        Step(
            "run",
            "Invoice the month",
            "Credit pays first. An issued invoice has a number and never changes.",
            "POST",
            "/projects/<projectId>/billing/runs",
            (201,),
            headers=_PERSON,
            body={"period": plan.period, "finalize": True},
            checks=(
                _is("the invoice is finalized", "run", "invoice.state", "finalized"),
                _is("it has the first number", "run", "invoice.number", 1),
                Check(
                    "its total is that of the dry run",
                    lambda told: told["dry-run"].value("invoice.total"),
                    lambda told: told["run"].value("invoice.total"),
                ),
                *_adds_up("run"),
            ),
            keeps={"invoiceId": lambda answer: answer.value("invoice.id")},
        ),
        Step(
            "run-again",
            "Run it again, as a scheduler would",
            "The same inputs give the same invoice, and nothing is billed twice.",
            "POST",
            "/projects/<projectId>/billing/runs",
            (200,),
            headers=_PERSON,
            body={"period": plan.period},
            checks=(
                _is("nothing has changed", "run-again", "unchanged", True),
                Check(
                    "it is the same invoice",
                    lambda told: told["run"].value("invoice"),
                    lambda told: told["run-again"].value("invoice"),
                ),
            ),
        ),
        Step(
            "explain",
            "Ask why",
            "In words that can be read out; each sum can be added up again.",
            "GET",
            "/projects/<projectId>/invoices/<invoiceId>/explain",
            (200,),
            headers={**_PERSON, "Accept": "text/plain"},
            checks=(
                Check(
                    "it names the tiers and their sum",
                    lambda told: True,
                    lambda told: (
                        plain_tiers(Decimal(_usage_line(told["run"])["quantity"]))
                        in told["explain"].content.decode()
                    ),
                ),
            ),
        ),
        Step(
            "settled",
            "Read the wallet again",
            "The invoice took what it could from the credit.",
            "GET",
            "/projects/<projectId>/wallet",
            (200,),
            headers=_PERSON,
            checks=(Check(_readds_settled, _settled_balance, lambda told: told["settled"].money("balance")),),
        ),
        Step(
            "books",
            "Add up the ledger again",
            "The invoice is a transaction like any other.",
            "GET",
            "/projects/<projectId>/ledger/accounts",
            (200,),
            headers=_PERSON,
            checks=(
                Check(
                    "debits equal credits, added up from the accounts",
                    lambda told: _sum(told["books"], "credit"),
                    lambda told: _sum(told["books"], "debit"),
                ),
            ),
        ),
    )


def aftermath() -> tuple[Step, ...]:
    """The steps that leave the project as it was found: its wallet, its usage and its keys."""
    return (
        _reversal("charge", "Take the charge back"),
        _reversal("credit", "Take the credit back"),
        Step(
            "void",
            "Void the usage",
            "The event stays, and counts no more.",
            "POST",
            "/ingest/usage/<usageId>/void",
            (201,),
            headers=_MACHINE,
            body={"reason": "verified"},
        ),
        Step(
            "after",
            "Look again",
            "Corrections are new facts, and they add up to what was there before.",
            "GET",
            "/projects/<projectId>/billing/overview",
            (200,),
            headers=_PERSON,
            checks=(
                Check(
                    "the balance is what it was",
                    lambda told: told["before"].money("wallet.balance"),
                    lambda told: told["after"].money("wallet.balance"),
                ),
                Check(
                    f"usage of {METRIC} is what it was",
                    lambda told: usage_total(told["before"]),
                    lambda told: usage_total(told["after"]),
                ),
                _is("the ledger balances", "after", "ledger.balanced", True),
            ),
        ),
        Step(
            "revoke",
            "Revoke the access key",
            "No credential is left behind.",
            "DELETE",
            "/projects/<projectId>/access-keys/<keyId>",
            (204,),
            headers=_PERSON,
        ),
        Step(
            "logout",
            "Sign out",
            "The token stops working at once.",
            "POST",
            "/auth/logout",
            (204,),
            headers=_PERSON,
        ),
    )


def _reversal(of: str, title: str) -> Step:
    return Step(
        f"reverse-{of}",
        title,
        "Nothing is deleted: a correction is a new transaction that names the first.",
        "POST",
        f"/projects/<projectId>/transactions/<{of}Id>/reverse",
        (201,),
        headers={**_PERSON, "Idempotency-Key": f"<{of}Id>_reversed"},
        body={"reason": "verified"},
    )


# --- what checks look at ----------------------------------------------------------------------


def usage_of(overview: Answer, period: str) -> Decimal:
    """The units of our metric in *period* that *overview* shows; none is zero."""
    lines = overview.value("usage")
    return sum(
        (
            Decimal(line["units"])
            for line in lines
            if line["metricKey"] == METRIC and line["period"] == period
        ),
        Decimal(0),
    )


def amount_of(overview: Answer, period: str) -> Decimal:
    """What our metric comes to in *period* that *overview* shows; none is zero."""
    return sum(
        (
            Decimal(line["amount"])
            for line in overview.value("usage")
            if line["metricKey"] == METRIC and line["period"] == period
        ),
        Decimal(0),
    )


def slices(units: Decimal) -> list[tuple[Decimal, Decimal]]:
    """How many *units* lie in each tier, and at which price."""
    lower, found = Decimal(0), []
    for up_to, price in TIERS:
        upper = units if up_to is None else min(units, up_to)
        if upper > lower:
            found.append((upper - lower, price))
        lower = upper
    return found


def rated(units: Decimal) -> Decimal:
    """What *units* cost, computed apart from the server."""
    return sum((count * price for count, price in slices(units)), Decimal(0)).quantize(Decimal("0.000001"))


def tiers_text(units: Decimal) -> str:
    """The sum of the tiers, written out."""
    terms = " + ".join(f"{count:f} × {price}" for count, price in slices(units))
    return f"{terms or '0'} = {rated(units)}"


def plain_tiers(units: Decimal) -> str:
    """The same sum as an explanation writes it."""
    amounts = [f"{(count * price).normalize():f}" for count, price in slices(units)]
    return f"{' + '.join(amounts)} = {rated(units).normalize():f}"


def _usage_line(run: Answer) -> dict[str, str]:
    lines = run.value("invoice.lines")
    (found,) = (line for line in lines if line["kind"] == "usage" and line["metricKey"] == METRIC)
    return dict(found)


def _adds_up(step: str) -> tuple[Check, ...]:
    """That the lines of a run's invoice add up to its total, and its total leads to the amount due."""

    def invoice(told: Told) -> dict[str, Any]:
        return dict(told[step].value("invoice"))

    def due(told: Told) -> Decimal:
        names = {"total": 1, "alreadyDrawn": -1, "creditApplied": -1, "overdraftBilled": 1}
        names |= {"creditGranted": 1, "rounding": 1}
        return sum((sign * Decimal(invoice(told)[name]) for name, sign in names.items()), Decimal(0))

    return (
        Check(
            "its lines add up to the total",
            lambda told: Decimal(invoice(told)["total"]),
            lambda told: sum((Decimal(line["amount"]) for line in invoice(told)["lines"]), Decimal(0)),
        ),
        Check("the amount due re-adds", due, lambda told: Decimal(invoice(told)["amountDue"])),
    )


def _price_is_known(told: Told) -> object:
    answer = told["price"]
    if answer.status == 409:
        return answer.value("code") in ("price.already_effective", "price.retroactive")
    return bool(answer.value("id"))


def usage_total(overview: Answer) -> Decimal:
    """The units of our metric in all periods that *overview* shows."""
    return sum(
        (Decimal(line["units"]) for line in overview.value("usage") if line["metricKey"] == METRIC),
        Decimal(0),
    )


def _expected_balance(told: Told) -> Decimal:
    return told["before"].money("wallet.balance") + Decimal(CREDIT) - Decimal(CHARGE)


def readded(told: Told) -> str:
    """The wallet's sum, written out."""
    before = told["before"].money("wallet.balance")
    earlier = f"{before} + " if before else ""
    return f"{earlier}{CREDIT} − {CHARGE} = {told['wallet'].value('balance')}"


def _settled_balance(told: Told) -> Decimal:
    return told["wallet"].money("balance") - told["run"].money("invoice.creditApplied")


def settled(told: Told) -> str:
    """The wallet's sum after the invoice, written out."""
    earlier, _, _ = readded(told).partition(" = ")
    applied = told["run"].value("invoice.creditApplied")
    return f"{earlier} − {applied} = {told['settled'].value('balance')}"


def _readds_settled(told: Told) -> str:
    return f"it re-adds: {settled(told)}"


def _readds(told: Told) -> str:
    return f"it re-adds: {readded(told)}"


def _project_is_named(told: Told) -> object:
    answer = told["project"]
    if answer.status == 409:
        return answer.value("code") == "project.external_key_taken" and bool(answer.value("projectId"))
    return bool(answer.value("id"))


def _events_of(event_id: str) -> Look:
    return lambda told: sum(event["eventId"] == event_id for event in told["events"].value("items"))


def _booked_once(told: Told) -> object:
    listed = [transaction["id"] for transaction in told["transactions"].value("items")]
    return [listed.count(told[name].value("id")) for name in ("credit", "charge")]


def _sum(accounts: Answer, side: str) -> Decimal:
    return sum((Decimal(account[side]) for account in accounts.value("items")), Decimal(0))


def _is(claim: str, step: str, path: str, expected: object) -> Check:
    return Check(claim, lambda told: expected, lambda told: told[step].value(path))


def _header(step: str, name: str, expected: str) -> Check:
    return Check(f"{name}: {expected}", lambda told: expected, lambda told: told[step].header(name))


def _is_replay(step: str, first: str) -> tuple[Check, ...]:
    return (
        _header(step, REPLAYED, "true"),
        _header(step, OUTCOME, "replayed"),
        Check(
            "the first answer, byte for byte",
            lambda told: told[first].content,
            lambda told: told[step].content,
        ),
    )


def _books(step: str, amount: str) -> Check:
    def sides(told: Told) -> list[Decimal]:
        entries = told[step].value("entries")
        return [sum((Decimal(entry[side]) for entry in entries), Decimal(0)) for side in ("debit", "credit")]

    return Check(f"{amount} is debited and credited", lambda told: [Decimal(amount)] * 2, sides)


def _counted(outcome: str, times: int) -> Check:
    path = f"ingest.{outcome}"
    return Check(
        f"{times} more {outcome}",
        lambda told: times,
        lambda told: told["overview"].value(path) - told["before"].value(path),
    )
