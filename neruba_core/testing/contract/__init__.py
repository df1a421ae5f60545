"""The storage contract: what every adapter must pass, whoever writes it.

::

    from neruba_core.testing.contract import StorageContract

    class TestMyStorage(StorageContract):
        concurrent_writers = True

        @pytest.fixture
        def storage(self):
            return MyStorage(...)

The ``storage`` fixture gives a ``Storage`` with its schema in place. It may be the same database for all
tests, one test after the other: each works in projects, users and keys of its own. What a promise is about
is said where it is made, in the docstrings of ``neruba_core.storage.port`` and of the slices' stores.
"""

import pytest

_PARTS = (
    "samples",
    "units",
    "readings",
    "atomicity",
    "identity",
    "tenancy",
    "access",
    "idempotency",
    "metering",
    "usage",
    "totals",
    "rollups",
    "quarantine",
    "ledger",
    "wallets",
    "pricing",
    "subscriptions",
    "billing",
    "invoices",
    "payments",
    "outbox",
    "schedule",
    "audit",
    "isolation",
    "exports",
)
# Before they are imported, or a failed assertion would show no values.
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in _PARTS))

from neruba_core.testing.contract.access import Access  # noqa: E402
from neruba_core.testing.contract.atomicity import Atomicity  # noqa: E402
from neruba_core.testing.contract.audit import Audit  # noqa: E402
from neruba_core.testing.contract.billing import Billing  # noqa: E402
from neruba_core.testing.contract.exports import Exports  # noqa: E402
from neruba_core.testing.contract.idempotency import Idempotency  # noqa: E402
from neruba_core.testing.contract.identity import Identity  # noqa: E402
from neruba_core.testing.contract.invoices import Invoices  # noqa: E402
from neruba_core.testing.contract.isolation import Isolation  # noqa: E402
from neruba_core.testing.contract.ledger import Ledger  # noqa: E402
from neruba_core.testing.contract.metering import Metering  # noqa: E402
from neruba_core.testing.contract.outbox import Outbox  # noqa: E402
from neruba_core.testing.contract.payments import Payments  # noqa: E402
from neruba_core.testing.contract.pricing import Pricing  # noqa: E402
from neruba_core.testing.contract.quarantine import Quarantine  # noqa: E402
from neruba_core.testing.contract.rollups import Rollups  # noqa: E402
from neruba_core.testing.contract.schedule import Schedule  # noqa: E402
from neruba_core.testing.contract.subscriptions import Subscriptions  # noqa: E402
from neruba_core.testing.contract.tenancy import Tenancy  # noqa: E402
from neruba_core.testing.contract.totals import UsageTotals  # noqa: E402
from neruba_core.testing.contract.usage import Usage  # noqa: E402
from neruba_core.testing.contract.wallets import Wallets  # noqa: E402

__all__ = ["StorageContract"]


# pytest runs the tests of the last base first, and atomicity is what all the others stand on.
class StorageContract(
    Exports,
    Isolation,
    Audit,
    Schedule,
    Outbox,
    Payments,
    Invoices,
    Billing,
    Subscriptions,
    Pricing,
    Wallets,
    Ledger,
    Quarantine,
    Rollups,
    UsageTotals,
    Usage,
    Metering,
    Idempotency,
    Access,
    Tenancy,
    Identity,
    Atomicity,
):
    """All promises. Subclass it with a name that pytest collects, and give a ``storage`` fixture."""
