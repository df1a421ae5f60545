"""The ids of what runs make.

They are derived from what they name and never random: a run that is repeated, that was killed on the way, or
that replays an export gives the same ids, and so the same bytes. An invoice's id begins with its period's
end, so that ids sort by period.
"""

from __future__ import annotations

import hashlib

from neruba_core.instants import Instant, Period, text, to_micros

_SEPARATOR = "\x1f"


def document_digits(project_id: str, period: str, part: int, end: Instant, *more: str) -> str:
    """The 32 digits in the ids of a document of *period*, which ends at *end*, and of what is booked for
    it; *more* tells several of a kind apart."""
    return f"{to_micros(end) // 1000:012x}{_digest(project_id, period, str(part), *more)[:20]}"


def line_id(
    project_id: str,
    period: str,
    part: int,
    kind: str,
    metric_key: str | None,
    service: Period,
    reference: str,
) -> str:
    """The id of a line; *reference* tells lines apart that are otherwise about the same."""
    about = (kind, metric_key or "", text(service.start), text(service.end), reference)
    return f"lin_{_digest(project_id, period, str(part), *about)[:32]}"


def _digest(*parts: str) -> str:
    return hashlib.sha256(_SEPARATOR.join(parts).encode()).hexdigest()
