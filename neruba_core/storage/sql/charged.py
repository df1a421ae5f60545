"""Charges and their reversals, as billing reads them: of many projects with one statement."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import text

from neruba_core.ledger.model import Charged, ChargesWanted
from neruba_core.storage.sql.codec import instant, micros
from neruba_core.storage.sql.queries import Query
from neruba_core.storage.sql.statements import SqlStore

_WANTED = {
    True: """
        SELECT each ->> 0 AS project_id, CAST(each ->> 1 AS bigint) AS starts,
               CAST(each ->> 2 AS bigint) AS ends, CAST(each ->> 3 AS bigint) AS since
        FROM jsonb_array_elements(CAST(:wanted AS jsonb)) AS wanted(each)
    """,
    False: """
        SELECT json_extract(value, '$[0]') AS project_id, json_extract(value, '$[1]') AS starts,
               json_extract(value, '$[2]') AS ends, json_extract(value, '$[3]') AS since
        FROM json_each(:wanted)
    """,
}

# In three parts, each with an index of its own: of the period, booked late, and reversed.
_CHARGES = """
    WITH wanted AS ({wanted})
    SELECT c.project_id, c.version, c.id, c.amount_micros, c.effective_at, c.reverses
    FROM wanted w JOIN neruba_transactions c
      ON c.project_id = w.project_id AND c.type = 'charge'
     AND c.effective_at >= w.starts AND c.effective_at < w.ends
    UNION ALL
    SELECT c.project_id, c.version, c.id, c.amount_micros, c.effective_at, c.reverses
    FROM wanted w JOIN neruba_transactions c
      ON c.project_id = w.project_id AND c.type = 'charge'
     AND c.effective_at < w.starts AND c.version > w.since
    UNION ALL
    SELECT r.project_id, r.version, r.id, r.amount_micros, r.effective_at, r.reverses
    FROM wanted w JOIN neruba_transactions r
      ON r.project_id = w.project_id AND r.reverses IS NOT NULL AND r.type = 'reversal'
    JOIN neruba_transactions c
      ON c.project_id = r.project_id AND c.id = r.reverses AND c.type = 'charge'
    WHERE c.effective_at < w.ends
      AND (c.effective_at >= w.starts OR c.version > w.since OR r.version > w.since)
"""

_QUERY = Query(lambda postgresql: text(_CHARGES.format(wanted=_WANTED[postgresql])))


class SqlCharged(SqlStore):
    """The part of ``LedgerStore`` that tells what was charged."""

    def charges(self, wanted: Sequence[ChargesWanted]) -> Sequence[Charged]:
        if not wanted:
            return []
        asked = [[each.project_id, micros(each.start), micros(each.end), each.since] for each in wanted]
        found = [
            Charged(project_id, version, transaction_id, amount, instant(effective_at), reverses)
            for project_id, version, transaction_id, amount, effective_at, reverses in self._statements.ask(
                _QUERY, wanted=json.dumps(asked)
            )
        ]
        return sorted(found, key=lambda charged: (charged.project_id, charged.version))
