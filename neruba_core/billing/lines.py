"""Writing the lines of one document."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from neruba_core import money
from neruba_core.billing.model import BillingPeriod
from neruba_core.billing.priced import SliceUsage
from neruba_core.instants import Period
from neruba_core.invoices.model import Line, LineKind
from neruba_core.invoices.names import line_id
from neruba_core.pricing.exact import micros_text
from neruba_core.pricing.model import Price
from neruba_core.pricing.rate import Rated, rate, workings


@frozen
class Pen:
    """Writes the lines of the document *part* of *period*."""

    project_id: str
    period: BillingPeriod
    part: int

    def line(
        self,
        kind: LineKind,
        amount_micros: int,
        *,
        account: str,
        description: str,
        metric_key: str | None = None,
        about: str | None = None,
        service: Period | None = None,
        reference: str = "",
        quantity_micros: int | None = None,
        model: str | None = None,
        already_drawn_micros: int = 0,
        events: int = 0,
        how: dict[str, Any] | None = None,
    ) -> Line:
        """A line about the period called *about* (by default the document's own); *how* are its workings."""
        service = service or self.period.span
        return Line(
            id=line_id(
                self.project_id, self.period.name, self.part, kind.value, metric_key, service, reference
            ),
            kind=kind,
            metric_key=metric_key,
            description=description,
            quantity_micros=quantity_micros,
            model=model,
            period=about or self.period.name,
            service=service,
            account=account,
            amount_micros=money.within_total(amount_micros),
            already_drawn_micros=already_drawn_micros,
            events=events,
            workings=how or {},
        )


@frozen
class RatedSlice:
    """A metric's usage in a slice under *price*; *rated* tells what it comes to."""

    usage: SliceUsage
    price: Price
    rated: Rated

    @property
    def model(self) -> str:
        """The price model by its name."""
        return self.price.tariff.model.value

    @property
    def amount_micros(self) -> int:
        """The amount, with what a minimum adds."""
        return self.rated.amount_micros + self.rated.minimum_line_micros

    def workings(self) -> dict[str, Any]:
        """How it came about; see ``pricing.rate.workings``."""
        return {
            "price": {"id": self.price.id, "version": str(self.price.version)},
            **workings(self.rated, self.price.tariff, self.usage.slice.share),
        }


def rated(usage: SliceUsage) -> RatedSlice | None:
    """Rate the usage of a slice; ``None`` where it has no price."""
    price = usage.slice.price
    if price is None:
        return None
    return RatedSlice(usage, price, rate(price.tariff, usage.quantity_micros, share=usage.slice.share))


def sums(parts: list[dict[str, str]], micros: int) -> dict[str, Any]:
    """The workings of an amount that is the sum of its *parts*, with nothing to round."""
    return {"parts": parts, "exact": micros_text(micros), "rounding": "0", "amount": money.text(micros)}
