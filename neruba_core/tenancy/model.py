"""Projects, who belongs to them, and what each role includes."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

from attrs import field, frozen

from neruba_core.instants import Instant


class MetricPolicy(StrEnum):
    """What happens to usage that no declared metric covers."""

    OPEN = "open"
    STRICT = "strict"


class BillingMode(StrEnum):
    """When usage is paid for: by the period's run, or from the wallet as it arrives."""

    ARREARS = "arrears"
    PREPAID = "prepaid"


class OnEmpty(StrEnum):
    """What becomes of prepaid usage that the wallet cannot pay."""

    REFUSE = "refuse"
    RECORD = "record"


class LateUsagePolicy(StrEnum):
    """How usage is billed whose period was invoiced before it arrived."""

    ADJUST_NEXT = "adjust_next"
    CREDIT_NOTE = "credit_note"
    QUARANTINE = "quarantine"


@frozen
class EarlierTerms:
    """How a project was billed before *until*, where that differs from how it is billed now."""

    until: Instant
    billing_mode: BillingMode
    timezone: str


@frozen
class TopUp:
    """How a project's credit is topped up by itself: by *amount_micros* when less than *threshold_micros* is
    available, at most every *cool_down_minutes*, and for at most *monthly_cap_micros* in a calendar month of
    the project's time zone. *set_at* is when that was said: what goes wrong later stops it until it is said
    again."""

    threshold_micros: int
    amount_micros: int
    monthly_cap_micros: int
    cool_down_minutes: int = 60
    set_at: Instant | None = None


@frozen
class Project:
    """The tenant and billed party: one wallet, one currency.

    *created_by* is the user (or ``system``) whose external keys are unique. *billing_mode* and *timezone*
    are the latest ones asked for; they may begin with the next period, and *earlier_terms* (by ascending
    ``until``) tell what is in force before. *tax_rate* is a fraction. *invoiced_until* is the end of the
    last period that was invoiced. *listens* tells whether there are webhook endpoints, so that whoever reads
    the project knows without asking that nobody is to be told.
    """

    id: str
    name: str
    external_key: str | None
    currency: str
    credit_limit_micros: int
    metric_policy: MetricPolicy
    max_backdate_days: int | None
    timezone: str
    created_by: str
    created_at: Instant
    archived_at: Instant | None = None
    billing_mode: BillingMode = BillingMode.ARREARS
    on_empty: OnEmpty = OnEmpty.REFUSE
    late_usage_policy: LateUsagePolicy = LateUsagePolicy.ADJUST_NEXT
    grace_hours: int = 24
    tax_rate: Decimal = Decimal(0)
    earlier_terms: tuple[EarlierTerms, ...] = ()
    invoiced_until: Instant | None = None
    listens: bool = False
    low_balance_micros: int | None = None
    top_up: TopUp | None = None

    @property
    def closing(self) -> bool:
        """Whether it is archived, and not invoiced beyond that yet."""
        return self.archived_at is not None and (
            self.invoiced_until is None or self.invoiced_until <= self.archived_at
        )

    def archived_before(self, moment: Instant) -> bool:
        """Whether what begins at *moment* begins in an archived project."""
        return self.archived_at is not None and self.archived_at <= moment

    @property
    def draws_usage(self) -> bool:
        """Whether usage is drawn from the wallet as it arrives, in the periods to come or in earlier ones."""
        for terms in self.earlier_terms:
            if terms.billing_mode is BillingMode.PREPAID:
                return True
        return self.billing_mode is BillingMode.PREPAID

    @property
    def holds_late(self) -> bool:
        """Whether late usage waits for support."""
        return self.invoiced_until is not None and self.late_usage_policy is LateUsagePolicy.QUARANTINE

    def is_late(self, moment: Instant) -> bool:
        """Whether the period of what happened at *moment* has been invoiced."""
        return self.invoiced_until is not None and moment < self.invoiced_until

    def billing_mode_at(self, moment: Instant) -> BillingMode:
        """The billing mode in force at *moment*."""
        for terms in self.earlier_terms:
            if moment < terms.until:
                return terms.billing_mode
        return self.billing_mode

    def timezone_at(self, moment: Instant) -> str:
        """The time zone in force at *moment*."""
        for terms in self.earlier_terms:
            if moment < terms.until:
                return terms.timezone
        return self.timezone

    def terms_begin(self, moment: Instant) -> Instant | None:
        """When *billing_mode* and *timezone* come into force, if that is after *moment*."""
        latest = self.earlier_terms[-1].until if self.earlier_terms else moment
        return latest if latest > moment else None


class Role(StrEnum):
    """What a member may do. Owner includes all; every role includes viewer; admin is not finance."""

    OWNER = "owner"
    ADMIN = "admin"
    FINANCE = "finance"
    SUPPORT = "support"
    VIEWER = "viewer"

    def includes(self, needed: Role) -> bool:
        """Whether someone of this role may do what *needed* may."""
        return self is needed or self is Role.OWNER or needed is Role.VIEWER


@frozen
class Member:
    """A member as people see one: the membership and the person's email."""

    user_id: str
    email: str
    role: Role
    created_at: Instant


@frozen
class Membership:
    """A person's role in a project."""

    project_id: str
    user_id: str
    role: Role
    created_at: Instant


@frozen
class Invitation:
    """A role waiting for someone who has no user yet; its token is known by its SHA-256 only."""

    project_id: str
    id: str
    email: str
    role: Role
    token_hash: str
    invited_by: str
    created_at: Instant
    expires_at: Instant
    accepted_at: Instant | None = None


@frozen
class Invited:
    """An invitation and its plaintext token, held only long enough to hand it over."""

    invitation: Invitation
    token: str = field(repr=False)
