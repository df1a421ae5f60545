"""Grants: table, queries and row mapping. What remains of a grant is its account's balance.

Holds are in ``wallet_holds``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import CheckConstraint, PrimaryKeyConstraint, Table, func, select

from neruba_core.storage.sql.bulk import insert
from neruba_core.storage.sql.codec import instant, instant_or_none, micros, micros_or_none
from neruba_core.storage.sql.columns import METADATA, one_of, reference, small, tenant, text, whole
from neruba_core.storage.sql.ledger import ACCOUNTS, WALLET
from neruba_core.storage.sql.queries import Query, among, each, given
from neruba_core.storage.sql.wallet_holds import SqlWalletHolds
from neruba_core.wallets.model import Grant, GrantKind, Lot

GRANTS = Table(
    "neruba_grants",
    METADATA,
    text("project_id"),
    text("id"),
    text("kind"),
    small("priority"),
    whole("amount_micros"),
    whole("effective_at"),
    whole("expires_at", optional=True),
    text("transaction_id"),
    text("succeeds", optional=True),
    text("metric_keys", optional=True),
    PrimaryKeyConstraint("project_id", "id", name="neruba_grants_pk"),
    tenant("neruba_grants"),
    reference(
        "neruba_grants_transaction_fk",
        ["project_id", "transaction_id"],
        "neruba_transactions",
        ["project_id", "id"],
        deferred=True,
    ),
    reference("neruba_grants_succeeds_fk", ["project_id", "succeeds"], "neruba_grants", ["project_id", "id"]),
    one_of("kind", GrantKind, "neruba_grants_kind_ck"),
    CheckConstraint("amount_micros > 0", name="neruba_grants_amount_ck"),
)

_ADD_GRANTS = insert(GRANTS)

_OF_PROJECT = select(GRANTS).where(GRANTS.c.project_id == given("project_id"))
_GRANTS = Query(each(_OF_PROJECT, GRANTS.c.id, "grant_ids"))
_GRANTS_OF = Query(_OF_PROJECT.order_by(GRANTS.c.id))
# From the few accounts that hold anything to their grants, never over all grants.
_OPEN_LOTS = Query(
    lambda postgresql: (
        select(ACCOUNTS.c.balance_micros, ACCOUNTS.c.held_micros, *GRANTS.c)
        .join(
            GRANTS,
            (GRANTS.c.project_id == ACCOUNTS.c.project_id)
            & (GRANTS.c.id == func.substr(ACCOUNTS.c.name, len(WALLET) + 1)),
        )
        .where(
            among(postgresql, ACCOUNTS.c.project_id, "project_ids"),
            ~ACCOUNTS.c.emptied,
            # The names that begin with "wallet:", as a range that the index knows.
            ACCOUNTS.c.name >= WALLET,
            ACCOUNTS.c.name < "wallet;",
        )
    )
)


@frozen
class SqlWallets(SqlWalletHolds):
    """``WalletStore`` within one unit."""

    def add_grants(self, grants: Sequence[Grant]) -> None:
        rows = [
            (
                g.project_id,
                g.id,
                g.kind.value,
                g.priority,
                g.amount_micros,
                micros(g.effective_at),
                micros_or_none(g.expires_at),
                g.transaction_id,
                g.succeeds,
                # No key has a comma in it.
                ",".join(g.metric_keys) or None,
            )
            for g in grants
        ]
        self._statements.write_later(_ADD_GRANTS, rows)

    def grants(self, project_id: str, grant_ids: Iterable[str]) -> dict[str, Grant]:
        rows = self._statements.ask(_GRANTS, project_id=project_id, grant_ids=set(grant_ids))
        return {row[1]: _grant(row) for row in rows}

    def grants_of(self, project_id: str) -> Sequence[Grant]:
        return [_grant(row) for row in self._statements.ask(_GRANTS_OF, project_id=project_id)]

    def open_lots(self, project_ids: Sequence[str]) -> Sequence[Lot]:
        rows = self._statements.ask(_OPEN_LOTS, project_ids=list(project_ids))
        # Accounts are kept debit positive, and credit that we owe is a credit.
        return [Lot(_grant(row[2:]), -row[0], row[1]) for row in rows]

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's rows of these tables."""
        yield from (("grants", grant) for grant in self.grants_of(project_id))
        yield from self._export_holds(project_id)


def _grant(row: Any) -> Grant:
    (
        project_id,
        grant_id,
        kind,
        priority,
        amount_micros,
        effective_at,
        expires_at,
        transaction_id,
        succeeds,
        metric_keys,
    ) = row
    return Grant(
        project_id,
        grant_id,
        GrantKind(kind),
        priority,
        amount_micros,
        instant(effective_at),
        instant_or_none(expires_at),
        transaction_id,
        succeeds,
        tuple(metric_keys.split(",")) if metric_keys else (),
    )
