"""What becomes of a write, and the stored answers that make a repeated one harmless."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from neruba_core.instants import Instant


class Outcome(StrEnum):
    """What one ingest attempt ended as; exactly one of these, always."""

    ACCEPTED = "accepted"
    REPLAYED = "replayed"
    DEDUPED = "deduped"
    CONFLICT = "conflict"
    QUARANTINED = "quarantined"
    REJECTED = "rejected"


@frozen
class Answer:
    """What a key was answered with, where the effect's own row does not carry it.

    *scope_id* is a project, or a user for the creation of projects. *status* and *body* are what
    the edge answered; for a stored refusal *code* names it and *body* holds its facts as JSON.
    *fingerprint* is of *fingerprint_version*. *subject_id* names what was made, if anything.
    """

    scope_id: str
    operation: str
    idempotency_key: str
    fingerprint: bytes
    fingerprint_version: int
    code: str | None
    body: str
    subject_id: str | None
    request_id: str | None
    recorded_at: Instant
