"""Access keys are told of a week before they end, once."""

from __future__ import annotations

from datetime import timedelta

from tests.core.outbox.stage import Heard


def key(acme: Heard, days: float, name: str = "ingest") -> str:
    ends = acme.billing.now() + timedelta(days=days)
    issued = acme.billing.access_keys.issue(acme.id, name=name, scopes=["ingest:usage"], expires_at=ends)
    return issued.key.id


def test_a_key_is_told_of_once(acme: Heard):
    """
    However often the schedule looks; and not before its last week.
    """
    soon, later = key(acme, 6), key(acme, 8)

    counts = [acme.billing.webhooks.tell_of_expiring_keys() for _ in range(2)]

    assert counts == [1, 0]
    assert [told["id"] for told in acme.told("key.expiring")] == [soon]
    acme.at(acme.billing.now() + timedelta(days=2))
    acme.billing.webhooks.tell_of_expiring_keys()
    assert [told["id"] for told in acme.told("key.expiring")] == [soon, later]


def test_a_key_that_is_revoked_is_not_told_of(acme: Heard):
    """
    It has ended already. Nor is one that never ends.
    """
    revoked = key(acme, 6)
    acme.billing.access_keys.revoke(acme.id, revoked)
    acme.billing.access_keys.issue(acme.id, name="for ever", scopes=["ingest:usage"])

    assert acme.billing.webhooks.tell_of_expiring_keys() == 0


def test_a_key_is_shown_as_its_route_does_and_without_its_secret(acme: Heard):
    """
    Its name and prefix say which it is.
    """
    key(acme, 6, "backend")
    acme.billing.webhooks.tell_of_expiring_keys()

    (told,) = acme.told("key.expiring")
    assert (told["name"], told["scopes"], told["revokedAt"]) == ("backend", ["ingest:usage"], None)
    assert set(told) == {
        "id",
        "name",
        "scopes",
        "prefix",
        "createdAt",
        "expiresAt",
        "revokedAt",
        "lastUsedAt",
    }


def test_of_keys_of_others_nobody_is_told(acme: Heard):
    """
    A project that is not listened to has no message, then or later.
    """
    other = acme.billing.projects.create(name="Other")
    ends = acme.billing.now() + timedelta(days=6)
    acme.billing.access_keys.issue(other.id, name="ingest", scopes=["ingest:usage"], expires_at=ends)

    assert acme.billing.webhooks.tell_of_expiring_keys() == 0
