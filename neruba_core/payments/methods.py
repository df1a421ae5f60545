"""How a project pays by itself: one customer at one provider, named by the provider's own ids.

No card number is ever here. What a payment was asked for with stays with the payment; another method counts
for the payments that are written down after it.
"""

from __future__ import annotations

from typing import Protocol

from attrs import frozen

from neruba_core import texts
from neruba_core.audit.changes import note_change
from neruba_core.audit.model import Origin
from neruba_core.errors import PaymentMethodNotFound
from neruba_core.idempotency.fingerprint import Json
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.payments.model import PaymentMethod
from neruba_core.payments.store import HasPayments
from neruba_core.tenancy.projects import Recorded, locked, locked_writable

MOST_BYTES = 255


class MethodWork(Recorded, HasPayments, Protocol):
    """What payment methods are read from and written to."""


@frozen
class NewMethod:
    """A payment method as it was named."""

    provider: str
    customer: str
    method: str | None = None
    collects: bool = True

    @classmethod
    def of(cls, *, provider: str, customer: str, method: str | None, collects: bool) -> NewMethod:
        """Check an embedder's values; raises ``Invalid`` refusals."""
        return cls(
            provider=texts.clean(provider, most_bytes=64),
            customer=texts.clean(customer, most_bytes=MOST_BYTES),
            method=None if method is None else texts.clean(method, most_bytes=MOST_BYTES),
            collects=collects,
        )


def put_method(
    work: MethodWork, project_id: str, new: NewMethod, *, at: Instant, ids: Ids, origin: Origin
) -> PaymentMethod:
    """Name how the project pays from now on. Raises ``ProjectNotFound`` or ``ProjectArchived``."""
    project = locked_writable(work, project_id)
    method = PaymentMethod(
        project_id=project.id,
        provider=new.provider,
        customer=new.customer,
        method=new.method,
        collects=new.collects,
        changed_at=at,
        changed_by=origin.actor,
    )
    work.payments.put_method(method)
    details: dict[str, Json] = {
        "provider": new.provider,
        "customer": new.customer,
        "method": new.method,
        "collectsInvoices": new.collects,
    }
    note_change(work, project.id, "payment_method.set", project.id, details, at=at, ids=ids, origin=origin)
    return method


def remove_method(work: MethodWork, project_id: str, *, at: Instant, ids: Ids, origin: Origin) -> None:
    """Forget how the project pays, archived or not: it takes a permission away. Removing what is not there
    changes nothing.

    Raises ``ProjectNotFound``.
    """
    project = locked(work, project_id)
    if work.payments.method(project.id) is None:
        return
    work.payments.remove_method(project.id)
    note_change(work, project.id, "payment_method.removed", project.id, {}, at=at, ids=ids, origin=origin)


def method_of(work: HasPayments, project_id: str) -> PaymentMethod:
    """How the project pays. Raises ``PaymentMethodNotFound``."""
    found = work.payments.method(project_id)
    if found is None:
        raise PaymentMethodNotFound(project_id)
    return found
