"""Neruba: usage, credits and charges turned into money that can be explained.

>>> from neruba_core import Neruba
>>> neruba = Neruba.in_memory()
>>> acme = neruba.projects.create(name="Acme Production")
>>> credit = neruba.wallets.credit(acme.id, amount="100", description="Launch", idempotency_key="credit_1")
>>> print(neruba.billing.overview(acme.id).wallet.balance)
100.000000
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "Neruba": "neruba_core.neruba",
    "NerubaError": "neruba_core.errors",
    "NewCharge": "neruba_core.charges.charge",
    "NewUsage": "neruba_core.usage.model",
    "Retryable": "neruba_core.errors",
}


def __getattr__(name: str) -> Any:
    """Load a name when it is first used: a host that only mentions us starts as fast as without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "neruba_core.idempotency.outcomes")), name)
    globals()[name] = value
    return value
