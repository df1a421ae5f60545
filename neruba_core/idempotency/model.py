"""Answers that are given again: the record that makes a repeated request harmless."""

from __future__ import annotations

from attrs import frozen

from neruba_core.instants import Instant


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
