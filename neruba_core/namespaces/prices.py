"""``neruba.prices``: what a project's metrics cost, and what the catalogue's do."""

from __future__ import annotations

from typing import Unpack

from attrs import frozen

from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.context import Context
from neruba_core.instants import Instant
from neruba_core.pages import DEFAULT_LIMIT, Page
from neruba_core.pricing.declared import TariffFields
from neruba_core.pricing.model import Price, PriceModel
from neruba_core.pricing.prices import NewPrice, declare_price, prices_of


@frozen
class Prices:
    """Prices by metric; of the catalogue where the project is ``None``."""

    _context: Context

    def create(
        self,
        project_id: str | None,
        *,
        metric_key: str,
        model: PriceModel | str,
        currency: str | None = None,
        effective_from: Instant | None = None,
        origin: Origin = SYSTEM,
        **fields: Unpack[TariffFields],
    ) -> Price:
        """Declare a version of a metric's price, in force from *effective_from* (now) on.

        A project's price is in its currency; the catalogue's is in USD unless it says so. Raises
        ``FormatInvalid``, ``Amount…`` and ``Instant…`` refusals, ``PriceInvalid``, ``ProjectNotFound``,
        ``ProjectArchived``, ``PriceAlreadyEffective`` or ``PriceRetroactive``.
        """
        new = NewPrice.of(
            metric_key=metric_key, model=model, currency=currency, effective_from=effective_from, **fields
        )
        return self.declare(project_id, new, origin=origin)

    def declare(self, project_id: str | None, new: NewPrice, *, origin: Origin = SYSTEM) -> Price:
        """Like ``create``, for a price that has been checked already."""
        context = self._context
        return context.write(
            lambda work: declare_price(
                work, project_id, new, at=context.clock(), ids=context.ids, origin=origin
            )
        )

    def list(
        self,
        project_id: str | None,
        metric_key: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[Price]:
        """The project's own prices or the catalogue's, newest first; *limit* 1–200.

        Raises ``ProjectNotFound``, ``FormatInvalid``, ``CursorInvalid`` or ``CursorMismatch``.
        """
        return self._context.read(
            lambda work: prices_of(work, project_id, metric_key, limit=limit, cursor=cursor)
        )
