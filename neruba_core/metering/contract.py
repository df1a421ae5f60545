"""What a metric's events must carry.

In an ``open`` project everything is counted: what fits no contract is accepted, and an unknown metric
is declared on sight. In a ``strict`` one, what does not fit waits in quarantine with the reason given
here. Properties that no rule speaks of are always allowed.
"""

from __future__ import annotations

from neruba_core.metering.model import Metric, PropertyRule, PropertyType
from neruba_core.tenancy.model import MetricPolicy
from neruba_core.texts import Properties, PropertyValue


def miss(metric: Metric | None, policy: MetricPolicy, properties: Properties | None) -> str | None:
    """Why an event with *properties* does not fit, or ``None`` if it does; *metric* is None if unknown."""
    if policy is MetricPolicy.OPEN:
        return None
    if metric is None:
        return "no metric of this key is declared"
    given = properties or {}
    for rule in metric.properties:
        reason = _broken(rule, given.get(rule.name))
        if reason is not None:
            return reason
    return None


def _broken(rule: PropertyRule, value: PropertyValue | None) -> str | None:
    if value is None:
        return f"property {rule.name!r} is missing" if rule.required else None
    if type_of(value) is not rule.type:
        return f"property {rule.name!r} is of type {type_of(value).value}, not {rule.type.value}"
    return None


def type_of(value: PropertyValue) -> PropertyType:
    """The type of a property's value; to Python a boolean is an integer too, here it is not."""
    if isinstance(value, bool):
        return PropertyType.BOOLEAN
    return PropertyType.INTEGER if isinstance(value, int) else PropertyType.STRING
