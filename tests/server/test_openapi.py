"""The document describes the server, all of it, and nothing else."""

from __future__ import annotations

import re

from aiohttp import web
from openapi_spec_validator import OpenAPIV31SpecValidator

from neruba_core import Neruba
from neruba_core.errors import NerubaError
from neruba_server import problems
from neruba_server.app import create_app
from neruba_server.openapi import _OWN_CODES, document, text
from neruba_server.problems import STATUS, TITLES
from neruba_server.routes.route import Idempotency
from neruba_server.routes.table import ROUTES
from neruba_server.settings import Settings
from neruba_server.wire import kinds


def test_the_document_is_valid():
    """
    OpenAPI 3.1, by the specification's own schema.
    """
    OpenAPIV31SpecValidator(document()).validate()
    assert document() == document()
    assert text().startswith(b'{"openapi":"3.1.0"')


def test_every_route_is_served_and_described():
    """
    What aiohttp serves, what the table says and what the document shows are the same.
    """
    app = create_app(Neruba.in_memory(), Settings(expose_docs=True))
    served = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None
        and route.method not in ("HEAD", "*")
        and not route.resource.canonical.startswith("/docs")
    }
    described = {(method.upper(), path) for path, item in document()["paths"].items() for method in item}
    assert served == described == {(route.method, route.path) for route in ROUTES}
    assert isinstance(app, web.Application)


def test_requests_are_closed_and_responses_may_grow():
    """
    Unknown fields of a request are refused, and the document says so; those of a response are not promised.
    """
    schemas = document()["components"]["schemas"]
    for name in ("NewUsage", "NewCredit", "NewMetric", "Rule", "ProjectChanges", "KeyedUsage", "Nothing"):
        assert schemas[name]["additionalProperties"] is False
    for name in ("Usage", "Transaction", "Overview", "Problem"):
        assert "additionalProperties" not in schemas[name]


def test_amounts_are_strings_with_a_pattern():
    """
    Everywhere: no amount is a JSON number.
    """
    schemas = document()["components"]["schemas"]
    assert schemas["NewUsage"]["properties"]["units"]["type"] == "string"
    assert schemas["NewUsage"]["properties"]["units"]["pattern"] == kinds.AMOUNT_PATTERN
    assert schemas["NewUsage"]["required"] == ["metricKey", "units", "timestamp"]
    assert schemas["Wallet"]["properties"]["creditLimit"]["pattern"] == kinds.SIGNED_PATTERN
    assert schemas["NewUsage"]["properties"]["timestamp"]["format"] == "date-time"


def test_writes_that_need_a_key_say_so():
    """
    Required on what ingests or moves money, optional on every other POST, absent under /auth and where others
    send events, which have ids of their own.
    """
    for route in ROUTES:
        parameters = document()["paths"][route.path][route.method.lower()]["parameters"]
        key = [one["required"] for one in parameters if one.get("name") == "Idempotency-Key"]
        expected = {Idempotency.REQUIRED: [True], Idempotency.ACCEPTED: [False], Idempotency.NONE: []}
        assert key == expected[route.idempotency]
        if (
            route.method == "POST"
            and not route.path.startswith(("/auth/", "/webhooks/"))
            and not route.ndjson
        ):
            assert route.idempotency is not Idempotency.NONE


def test_every_refusal_has_a_status():
    """
    Of the core and of the server: a code that nobody mapped would be a 500.
    """
    codes = {error.code for error in _all_of(NerubaError)}
    assert codes == set(STATUS)
    assert set(STATUS.values()) <= set(TITLES)


def test_every_code_is_one_dotted_name():
    """
    Stable and dotted, so that a client can match on a part of it.
    """
    for code in STATUS:
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", code)


def test_the_codes_of_operations_belong_to_operations():
    """
    A name that no route has would describe nothing.
    """
    assert set(_OWN_CODES) <= {route.operation for route in ROUTES}


def test_facts_never_overwrite_what_a_problem_must_say():
    """
    ``type`` of a transaction is not the type of the problem.
    """
    from neruba_core.errors import NotReversible

    document_of_problem = problems.problem(NotReversible("txn_1", "reversal"), "req_1")
    assert b'"type":"urn:neruba:problem:transaction.not_reversible"' in document_of_problem
    assert b'"transactionType":"reversal"' in document_of_problem


def _all_of(kind: type[NerubaError]) -> set[type[NerubaError]]:
    """The classes of our own, tests' aside."""
    found = {kind}
    for child in kind.__subclasses__():
        if child.__module__.startswith(("neruba_core.", "neruba_server.")):
            found |= _all_of(child)
    return found
