"""Neruba: usage, credits and charges turned into money that can be explained.

>>> from neruba_core import Neruba
>>> neruba = Neruba.in_memory()
>>> acme = neruba.projects.create(name="Acme Production")
>>> credit = neruba.wallets.credit(acme.id, amount="100", description="Launch", idempotency_key="credit_1")
>>> print(neruba.billing.overview(acme.id).wallet.balance)
100.000000
"""

from neruba_core.charges.charge import NewCharge
from neruba_core.errors import NerubaError, Retryable
from neruba_core.idempotency.outcomes import (
    Accepted,
    Conflict,
    Deduplicated,
    Quarantined,
    Rejected,
    Replayed,
)
from neruba_core.neruba import Neruba
from neruba_core.usage.model import NewUsage

__all__ = [
    "Accepted",
    "Conflict",
    "Deduplicated",
    "Neruba",
    "NerubaError",
    "NewCharge",
    "NewUsage",
    "Quarantined",
    "Rejected",
    "Replayed",
    "Retryable",
]
