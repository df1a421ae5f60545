"""All that is kept of payments; each subject has a module with its tables, queries and row mapping."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen

from neruba_core.storage.sql.collecting import SqlCollecting
from neruba_core.storage.sql.corrections import SqlCorrections
from neruba_core.storage.sql.disputes import SqlDisputes
from neruba_core.storage.sql.money_in import SqlMoneyIn
from neruba_core.storage.sql.provider_events import SqlProviderEvents
from neruba_core.storage.sql.refunds import SqlRefunds


@frozen
class SqlPayments(SqlMoneyIn, SqlRefunds, SqlDisputes, SqlCorrections, SqlCollecting, SqlProviderEvents):
    """``PaymentStore`` within one unit."""

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's rows of all their tables."""
        yield from self._export_money_in(project_id)
        yield from self._export_refunds(project_id)
        yield from self._export_corrections(project_id)
        yield from self._export_collecting(project_id)
        yield from self._export_disputes(project_id)
