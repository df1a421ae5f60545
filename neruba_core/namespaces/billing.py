"""``neruba.billing``: what a project owes, and why."""

from __future__ import annotations

from attrs import frozen

from neruba_core.billing.overview import Overview, overview
from neruba_core.context import Context
from neruba_core.tenancy.projects import existing


@frozen
class Billing:
    """Reached as ``neruba.billing``."""

    _context: Context

    def overview(self, project_id: str, *, period: str | None = None) -> Overview:
        """One page that explains the present, from one consistent moment; *period* such as
        ``"2026-03"`` narrows the usage to that month. Raises ``ProjectNotFound`` or ``FormatInvalid``."""
        at = self._context.clock()
        return self._context.read(
            lambda work: overview(work, existing(work, project_id), at=at, period=period)
        )
