"""Responses: from what the core gives to status, headers and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from aiohttp import hdrs, web

from neruba_core import instants
from neruba_core.batch import Verdict
from neruba_core.idempotency.model import Outcome
from neruba_core.idempotency.outcomes import Accepted, Conflict, Deduplicated, Quarantined, Rejected, Replayed
from neruba_core.ledger.model import Transaction
from neruba_core.usage.answer import render
from neruba_core.usage.model import UsageEvent
from neruba_core.wallets.holds import HoldAnswer
from neruba_server import problems
from neruba_server.limits import JSON
from neruba_server.problems import BodyInvalid, status_of
from neruba_server.reply import Reply
from neruba_server.wire import converter, ingest
from neruba_server.wire.problem import Fault

OUTCOME = "Neruba-Outcome"
REPLAYED = "Idempotent-Replayed"
VOIDED_AT = "Neruba-Voided-At"


def json(value: Any, status: int = 200) -> web.Response:
    """The response that shows *value*, an instance of a wire class."""
    return body(orjson.dumps(converter.written(value)), status)


def body(content: bytes, status: int = 200) -> web.Response:
    """The response of JSON that is written already."""
    return Reply(body=content, status=status, headers={hdrs.CONTENT_TYPE: JSON})


def listed(items: Sequence[str], next_cursor: str | None) -> web.Response:
    """A page of items whose JSON is kept as text."""
    return body(f'{{"items":[{",".join(items)}],"nextCursor":{_quoted(next_cursor)}}}'.encode())


def empty() -> web.Response:
    """204."""
    return web.Response(status=204)


def status_of_verdict(verdict: Verdict) -> int:
    """The status that a write is answered with."""
    match verdict:
        case Accepted() | Replayed():
            return 201
        case Deduplicated():
            return 200
        case Quarantined():
            return 202
        case Conflict(error) | Rejected(error):
            return status_of(error)


def verdict(verdict: Verdict, *, request_id: str, voided_at: dict[str, Any]) -> web.Response:
    """The answer to a single write."""
    match verdict:
        case Accepted(value) | Replayed(value) | Deduplicated(value):
            headers = {hdrs.CONTENT_TYPE: JSON, OUTCOME: verdict.name.value}
            if type(verdict) is Replayed:
                headers[REPLAYED] = "true"
            if value.id in voided_at:
                headers[VOIDED_AT] = instants.text(voided_at[value.id])
            return Reply(body=text(value).encode(), status=status_of_verdict(verdict), headers=headers)
        case Quarantined(waiting):
            shown = ingest.Quarantined(waiting.id, Outcome.QUARANTINED, waiting.reason)
            response = json(shown, 202)
            response.headers[OUTCOME] = verdict.name.value
            return response
        case Conflict(error):
            return problems.refused(error, request_id, headers=[(OUTCOME, verdict.name.value)])
        case Rejected(error, first_request_id, replayed):
            headers = {OUTCOME: verdict.name.value}
            if replayed:
                headers[REPLAYED] = "true"
            return problems.refused(
                error,
                request_id,
                first_request_id=first_request_id if replayed else None,
                headers=headers.items(),
            )


def batch(verdicts: Sequence[Verdict | Exception]) -> bytes:
    """The results of a batch, in order."""
    counts = dict.fromkeys((outcome.value for outcome in Outcome), 0)
    results = []
    for index, one in enumerate(verdicts):
        result = _result(index, one)
        counts[result.outcome.value] += 1
        results.append(result)
    return orjson.dumps(
        {
            "counts": counts,
            "results": [
                {name: value for name, value in converter.written(result).items() if value is not None}
                for result in results
            ],
        }
    )


def _result(index: int, verdict: Verdict | Exception) -> ingest.BatchResult:
    match verdict:
        case Accepted(value) | Replayed(value) | Deduplicated(value):
            return ingest.BatchResult(index, verdict.name, id=value.id)
        case Quarantined(waiting):
            return ingest.BatchResult(
                index, verdict.name, id=waiting.id, code="usage.quarantined", message=waiting.reason
            )
        case Conflict(error, prior_id):
            return ingest.BatchResult(index, verdict.name, id=prior_id, code=error.code, message=str(error))
        case Rejected(error):
            faults = None
            if isinstance(error, BodyInvalid):
                faults = tuple(Fault(one.path, one.code, one.message) for one in error.faults)
            return ingest.BatchResult(
                index, Outcome.REJECTED, code=error.code, message=str(error), errors=faults
            )
        case _:
            defect = problems.Internal()
            return ingest.BatchResult(index, Outcome.REJECTED, code=defect.code, message=str(defect))


def text(value: UsageEvent | Transaction | HoldAnswer) -> str:
    """The JSON that a recorded write is answered with, each time."""
    return render(value) if isinstance(value, UsageEvent) else value.body


def _quoted(text: str | None) -> str:
    return "null" if text is None else orjson.dumps(text).decode()
