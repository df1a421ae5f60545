"""The problem document (RFC 9457) as OpenAPI shows it; ``neruba_server.problems`` writes it."""

from __future__ import annotations

from attrs import frozen


@frozen
class Fault:
    """One thing wrong with the request; ``path`` is a JSON pointer, or ``?name`` of the query."""

    path: str
    code: str
    message: str


@frozen
class Problem:
    """Why a request was refused. ``code`` is stable; the facts of a refusal stand beside these members."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None
    errors: tuple[Fault, ...] | None = None
    retry_after: int | None = None
