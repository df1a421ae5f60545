"""Doing a thing at most once per key, for writes whose own row does not carry the answer.

Creating a project or issuing a key is not money, but a client that retries it after a timeout still
means one project and one key. The answer is stored in the unit that made the effect, so there is no
moment at which one exists without the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import frozen

from neruba_core import texts
from neruba_core.errors import KeyInProgress, KeyReused
from neruba_core.idempotency.fingerprint import VERSION, Json, fingerprint
from neruba_core.idempotency.model import Answer
from neruba_core.idempotency.store import HasIdempotency
from neruba_core.instants import Instant


@frozen
class Made:
    """What an act answered: the *body* of now, the one to *keep* (a secret is null in it), and the id
    of what was made."""

    body: str
    keep: str
    subject_id: str | None


@frozen
class Given:
    """The answer to give, and whether it is a replay."""

    body: str
    replayed: bool


def once(
    work: HasIdempotency,
    act: Callable[[], Made],
    *,
    scope_id: str,
    operation: str,
    path: str,
    body: Mapping[str, Json],
    idempotency_key: str | None,
    request_id: str | None,
    at: Instant,
) -> Given:
    """Run *act* unless the key has an answer; without a key, just run it.

    Raises ``KeyInvalid``, ``KeyReused`` for another request under the key, and ``KeyInProgress`` while
    another unit in flight holds it.
    """
    if idempotency_key is None:
        return Given(act().body, replayed=False)
    name = (scope_id, operation, texts.idempotency_key(idempotency_key))
    if work.idempotency.held_elsewhere([name]):
        raise KeyInProgress(idempotency_key)
    digest = fingerprint(operation, path, body)
    prior = work.idempotency.answers(scope_id, operation, [idempotency_key]).get(idempotency_key)
    if prior is not None:
        if prior.fingerprint != digest:
            raise KeyReused(idempotency_key)
        return Given(prior.body, replayed=True)
    made = act()
    work.idempotency.add_answers(
        [
            Answer(
                scope_id=scope_id,
                operation=operation,
                idempotency_key=idempotency_key,
                fingerprint=digest,
                fingerprint_version=VERSION,
                code=None,
                body=made.keep,
                subject_id=made.subject_id,
                request_id=request_id,
                recorded_at=at,
            )
        ]
    )
    return Given(made.body, replayed=False)
