"""What can become of one write.

Outcomes are values, so that in a batch one bad item never unwinds its neighbours; a call about a
single item raises the refusal of a ``Conflict`` or ``Rejected`` once its unit has been committed,
because a conflict or a stored refusal is itself worth keeping.
"""

from __future__ import annotations

from typing import Generic, TypeAlias, TypeVar

from attrs import frozen

from neruba_core.brief import brief
from neruba_core.errors import NerubaError
from neruba_core.idempotency.model import Outcome

T = TypeVar("T")
Q = TypeVar("Q")


@brief
class Accepted(Generic[T]):
    """The effect happened now."""

    value: T
    name = Outcome.ACCEPTED


@frozen
class Replayed(Generic[T]):
    """The same key and request came before; *value* is what happened then."""

    value: T
    name = Outcome.REPLAYED


@frozen
class Deduplicated(Generic[T]):
    """Another key, but the same event with the same content; *value* is the original."""

    value: T
    name = Outcome.DEDUPED


@frozen
class Quarantined(Generic[Q]):
    """A strict project could not place it; nothing is billed until support replays it."""

    value: Q
    name = Outcome.QUARANTINED


@frozen
class Conflict:
    """The key or the event is taken by other content: by *prior_id*, which was answered with *prior*."""

    error: NerubaError
    prior_id: str | None = None
    prior: str | None = None
    name = Outcome.CONFLICT


@frozen
class Rejected:
    """Refused, with nothing changed but the record of the attempt.

    A refusal that is stored for its key keeps the *request_id* of its first answer; *replayed* tells
    that this is such a repetition.
    """

    error: NerubaError
    request_id: str | None = None
    replayed: bool = False

    @property
    def name(self) -> Outcome:
        return Outcome.REPLAYED if self.replayed else Outcome.REJECTED


Refusal: TypeAlias = Conflict | Rejected
Success: TypeAlias = Accepted[T] | Replayed[T] | Deduplicated[T]
Written: TypeAlias = Accepted[T] | Replayed[T] | Deduplicated[T] | Conflict | Rejected


def raised(outcome: Written[T]) -> Success[T]:
    """Return a success as it is; raise the error of a refusal."""
    if isinstance(outcome, Refusal):
        raise outcome.error
    return outcome
