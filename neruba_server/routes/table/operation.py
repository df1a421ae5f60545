"""What support and operators look at, and what a deployment says of itself."""

from __future__ import annotations

from neruba_core.audit.model import Outcome
from neruba_server.auth import Anyone, People
from neruba_server.routes import clock, operation, support
from neruba_server.routes import query as q
from neruba_server.routes.query import PAGE
from neruba_server.routes.route import ACCEPTED, SUPPORT, VIEWER, Route
from neruba_server.wire import ingest as wire_ingest
from neruba_server.wire import runs as wire_runs
from neruba_server.wire import support as wire_support

ROUTES = (
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
