"""Promises of ``TenancyStore``: unique external keys, roles that are overwritten, one acceptance."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from attrs import evolve

from neruba_core.money import MAX_MICROS
from neruba_core.storage.port import Storage
from neruba_core.tenancy.model import (
    BillingMode,
    EarlierTerms,
    Invitation,
    LateUsagePolicy,
    MetricPolicy,
    OnEmpty,
    Project,
    Role,
    TopUp,
)
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import AWKWARD, NOW, later, new_id, person, tenant
from neruba_core.testing.contract.units import ANY_FAILURE, Rival, answer, read, start, together, waits, write

TERMS: dict[str, Any] = {
    "billing_mode": BillingMode.PREPAID,
    "on_empty": OnEmpty.RECORD,
    "late_usage_policy": LateUsagePolicy.QUARANTINE,
    "grace_hours": 0,
    "tax_rate": Decimal("0.07725"),
    "earlier_terms": (
        EarlierTerms(NOW, BillingMode.PREPAID, "America/New_York"),
        EarlierTerms(later(micros=1), BillingMode.ARREARS, "Asia/Tokyo"),
    ),
    "invoiced_until": later(micros=2),
    "low_balance_micros": 7,
    "top_up": TopUp(1, 2, 3, 4, later(micros=1)),
}
"""How a project is billed, where that is not as by default."""


class Tenancy(Promises):
    """Projects, memberships and invitations."""

    @pytest.mark.parametrize(
        "project",
        [
            samples.project(),
            samples.project(**TERMS),
            samples.project(name=AWKWARD, external_key=f"{AWKWARD} {new_id('key')}", max_backdate_days=None),
            samples.project(metric_policy=MetricPolicy.STRICT, credit_limit_micros=MAX_MICROS),
            samples.project(archived_at=later(micros=1), timezone="Europe/Berlin", currency="JPY"),
        ],
        ids=["plain", "terms", "awkward", "strict", "archived"],
    )
    def test_a_project_comes_back_as_it_was_stored(self, storage: Storage, project: Project) -> None:
        """
        Alone and among others.
        """
        project = evolve(project, id=new_id("prj"))
        if project.external_key is not None:
            project = evolve(project, external_key=f"{project.external_key} {project.id}")

        holder = write(storage, lambda work: work.tenancy.add_project(project))

        with storage.snapshot() as work:
            assert holder is None
            assert work.tenancy.project(project.id) == project
            assert work.tenancy.projects([project.id, "prj_none"]) == {project.id: project}
            assert work.tenancy.project("prj_none") is None
            assert work.tenancy.projects([]) == {}

    def test_an_external_key_names_one_project_of_its_creator(self, storage: Storage) -> None:
        """
        The second one is not stored; the answer is the project that holds the key.
        """
        key = new_id("ext")
        first = samples.project(external_key=key)
        second = samples.project(external_key=key)
        write(storage, lambda work: work.tenancy.add_project(first))

        holder = write(storage, lambda work: work.tenancy.add_project(second))

        assert holder == first
        assert read(storage, lambda work: work.tenancy.project(second.id)) is None

    def test_external_keys_of_different_creators_do_not_meet(self, storage: Storage) -> None:
        """
        Nor do projects without one.
        """
        key = new_id("ext")
        creators = [person(storage), person(storage)]

        with storage.work() as work:
            holders = [
                work.tenancy.add_project(samples.project(external_key=key, created_by=creator))
                for creator in creators
            ] + [work.tenancy.add_project(samples.project(external_key=None)) for _ in range(2)]

        assert holders == [None] * 4

    def test_external_keys_differ_by_case(self, storage: Storage) -> None:
        """
        They are compared byte by byte.
        """
        key = new_id("ext")

        with storage.work() as work:
            holders = [
                work.tenancy.add_project(samples.project(external_key=given))
                for given in (key, key.upper(), f"{key} ", f"{key}\u00e9", f"{key}e\u0301")
            ]

        assert holders == [None] * 5

    def test_of_many_who_want_an_external_key_one_gets_it(self, storage: Storage) -> None:
        """
        All others are given the winner's project.
        """
        key = new_id("ext")

        def create(project: Project) -> str:
            holder = write(storage, lambda work: work.tenancy.add_project(project))
            return project.id if holder is None else holder.id

        named = together(*(lambda: create(samples.project(external_key=key)) for _ in range(6)))

        assert len(set(named)) == 1

    def test_a_project_waits_for_its_competitor_in_flight(self, storage: Storage) -> None:
        """
        Only when the other has committed can it be told who holds the key.
        """
        key = new_id("ext")
        theirs, ours = samples.project(external_key=key), samples.project(external_key=key)

        with Rival(storage, lambda work: work.tenancy.add_project(theirs)) as rival:
            running = start(lambda: write(storage, lambda work: work.tenancy.add_project(ours)))
            waited = waits(running)
            rival.commit()

        assert waited
        assert answer(running) == theirs

    def test_a_project_takes_the_key_of_a_competitor_that_failed(self, storage: Storage) -> None:
        """
        What was rolled back holds nothing.
        """
        key = new_id("ext")
        theirs, ours = samples.project(external_key=key), samples.project(external_key=key)

        with Rival(storage, lambda work: work.tenancy.add_project(theirs)) as rival:
            running = start(lambda: write(storage, lambda work: work.tenancy.add_project(ours)))
            waits(running)
            rival.roll_back()

        assert answer(running) is None
        assert read(storage, lambda work: work.tenancy.project(ours.id)) == ours

    def test_all_projects_are_listed_newest_first(self, storage: Storage) -> None:
        """
        By descending id, strictly below ``before``.
        """
        projects = [samples.project() for _ in range(4)]
        with storage.work() as work:
            for project in projects:
                work.tenancy.add_project(project)

        with storage.snapshot() as work:
            first = work.tenancy.all_projects(limit=2, before=None)
            second = work.tenancy.all_projects(limit=2, before=projects[2].id)

        assert list(first) == [projects[3], projects[2]]
        assert list(second) == [projects[1], projects[0]]

    def test_the_projects_that_live_are_those_that_are_not_archived(self, storage: Storage) -> None:
        """
        By ascending id, however they were added.
        """
        projects = [samples.project() for _ in range(4)]
        archived = evolve(projects[1], archived_at=later(micros=1))
        with storage.work() as work:
            for project in reversed(projects):
                work.tenancy.add_project(project)
            work.tenancy.replace_project(archived)

        found = read(storage, lambda work: work.tenancy.live_ids())

        ours = [each for each in found if each in {project.id for project in projects}]
        assert ours == [projects[0].id, projects[2].id, projects[3].id]
        assert list(found) == sorted(found)

    def test_the_projects_that_close_are_archived_and_not_invoiced_beyond(self, storage: Storage) -> None:
        """
        By ascending id; whoever is invoiced until the very moment of archiving may have something left.
        """
        projects = [samples.project() for _ in range(5)]
        at = later(micros=1)
        archived = [
            evolve(projects[1], archived_at=at),
            evolve(projects[2], archived_at=at, invoiced_until=at),
            evolve(projects[3], archived_at=at, invoiced_until=later(micros=2)),
            evolve(projects[4], invoiced_until=NOW),
        ]
        with storage.work() as work:
            for project in reversed(projects):
                work.tenancy.add_project(project)
            for project in archived:
                work.tenancy.replace_project(project)
                if project.invoiced_until is not None:
                    work.tenancy.note_invoiced({project.id: project.invoiced_until})

        found = read(storage, lambda work: work.tenancy.closing_ids())

        ours = [each for each in found if each in {project.id for project in projects}]
        assert ours == [projects[1].id, projects[2].id]
        assert list(found) == sorted(found)

    def test_a_user_sees_the_projects_with_a_membership(self, storage: Storage) -> None:
        """
        By descending id, strictly below ``before``, and no one else's.
        """
        user_id, other_id = person(storage), person(storage)
        projects = [samples.project() for _ in range(4)]
        with storage.work() as work:
            for project in projects:
                work.tenancy.add_project(project)
                work.tenancy.put_member(samples.membership(project.id, user_id))
            work.tenancy.put_member(samples.membership(projects[0].id, other_id))

        with storage.snapshot() as work:
            first = work.tenancy.projects_of(user_id, limit=3, before=None)
            rest = work.tenancy.projects_of(user_id, limit=3, before=projects[1].id)
            others = work.tenancy.projects_of(other_id, limit=3, before=None)
            nobodys = work.tenancy.projects_of("usr_nobody", limit=3, before=None)

        assert list(first) == [projects[3], projects[2], projects[1]]
        assert list(rest) == list(others) == [projects[0]]
        assert list(nobodys) == []

    def test_a_project_can_be_overwritten(self, storage: Storage) -> None:
        """
        All that a setting may change, and nothing where the project is not there.
        """
        project_id = tenant(storage)
        changed = samples.project(
            id=project_id,
            name=AWKWARD,
            credit_limit_micros=5,
            metric_policy=MetricPolicy.STRICT,
            max_backdate_days=None,
            timezone="Asia/Tokyo",
            archived_at=NOW,
            **TERMS,
        )

        with storage.work() as work:
            work.tenancy.replace_project(changed)
            work.tenancy.replace_project(samples.project(id="prj_none"))

        with storage.snapshot() as work:
            assert work.tenancy.project(project_id) == changed
            assert work.tenancy.project("prj_none") is None

    def test_a_changed_external_key_is_the_only_one_that_counts(self, storage: Storage) -> None:
        """
        The earlier one is free for others; one that is taken fails the unit.
        """
        key = new_id("ext")
        project, newcomer = samples.project(external_key=key), samples.project(external_key=key)
        write(storage, lambda work: work.tenancy.add_project(project))
        moved = evolve(project, external_key=f"new {key}")

        with storage.work() as work:
            work.tenancy.replace_project(moved)
            holder = work.tenancy.add_project(newcomer)
        with pytest.raises(ANY_FAILURE):
            write(storage, lambda work: work.tenancy.replace_project(project))

        again = samples.project(external_key=f"new {key}")
        assert holder is None
        assert write(storage, lambda work: work.tenancy.add_project(again)) == moved

    def test_no_change_of_a_locked_project_is_lost(self, storage: Storage) -> None:
        """
        Whoever locks it second reads what the first one wrote.
        """
        project_id = tenant(storage)

        def raise_the_limit() -> None:
            with storage.work() as work:
                project = work.tenancy.lock_project(project_id)
                assert project is not None
                limit = project.credit_limit_micros + 1
                work.tenancy.replace_project(evolve(project, credit_limit_micros=limit))

        together(*([raise_the_limit] * 6))

        project = read(storage, lambda work: work.tenancy.project(project_id))
        assert project is not None
        assert project.credit_limit_micros == 6

    def test_many_projects_are_locked_and_noted_as_invoiced_at_once(self, storage: Storage) -> None:
        """
        Nothing else of them changes; what is not there is left out.
        """
        one, other, untouched = (tenant(storage) for _ in range(3))

        with storage.work() as work:
            before = work.tenancy.lock_projects([other, one, "prj_none", one])
            work.tenancy.note_invoiced({one: later(micros=1), other: None})
            work.tenancy.note_invoiced({})

        with storage.snapshot() as work:
            after = work.tenancy.projects([one, other, untouched])
        assert set(before) == {one, other}
        assert after[one] == evolve(before[one], invoiced_until=later(micros=1))
        assert after[other] == before[other]
        assert after[untouched].invoiced_until is None

    def test_a_project_that_is_not_there_cannot_be_locked(self, storage: Storage) -> None:
        """
        The answer is none, as with reading it.
        """
        assert write(storage, lambda work: work.tenancy.lock_project("prj_none")) is None

    # --- members ------------------------------------------------------------------------------

    @pytest.mark.parametrize("role", Role)
    def test_a_membership_comes_back_as_it_was_stored(self, storage: Storage, role: Role) -> None:
        """
        From the project's side and from the user's.
        """
        project_id, user_id = tenant(storage), person(storage)
        membership = samples.membership(project_id, user_id, role=role)

        write(storage, lambda work: work.tenancy.put_member(membership))

        with storage.snapshot() as work:
            assert work.tenancy.membership(project_id, user_id) == membership
            assert list(work.tenancy.memberships_of(user_id)) == [membership]
            assert list(work.tenancy.members(project_id)) == [membership]
            assert work.tenancy.membership(project_id, "usr_nobody") is None

    def test_putting_a_member_again_overwrites_the_role(self, storage: Storage) -> None:
        """
        Only the role: someone has been a member since they first were.
        """
        project_id, user_id = tenant(storage), person(storage)
        first = samples.membership(project_id, user_id, role=Role.VIEWER)
        write(storage, lambda work: work.tenancy.put_member(first))

        again = samples.membership(project_id, user_id, role=Role.OWNER, created_at=later(seconds=9))
        write(storage, lambda work: work.tenancy.put_member(again))

        with storage.snapshot() as work:
            assert list(work.tenancy.members(project_id)) == [evolve(first, role=Role.OWNER)]
            assert list(work.tenancy.memberships_of(user_id)) == [evolve(first, role=Role.OWNER)]

    def test_members_are_listed_by_user_id(self, storage: Storage) -> None:
        """
        Ascending, in whatever order they came.
        """
        project_id = tenant(storage)
        user_ids = [person(storage) for _ in range(3)]
        for user_id in (user_ids[1], user_ids[2], user_ids[0]):
            with storage.work() as work:
                work.tenancy.put_member(samples.membership(project_id, user_id))

        members = read(storage, lambda work: work.tenancy.members(project_id))

        assert [member.user_id for member in members] == user_ids

    def test_a_member_can_be_removed(self, storage: Storage) -> None:
        """
        From both sides; removing one who is none is no fault, and coming back is possible.
        """
        project_id, user_id, stays = tenant(storage), person(storage), person(storage)
        with storage.work() as work:
            work.tenancy.put_member(samples.membership(project_id, user_id))
            work.tenancy.put_member(samples.membership(project_id, stays))

        with storage.work() as work:
            work.tenancy.remove_member(project_id, user_id)
            work.tenancy.remove_member(project_id, "usr_nobody")

        with storage.snapshot() as work:
            assert work.tenancy.membership(project_id, user_id) is None
            assert list(work.tenancy.memberships_of(user_id)) == []
            assert list(work.tenancy.projects_of(user_id, limit=9, before=None)) == []
            assert [member.user_id for member in work.tenancy.members(project_id)] == [stays]
        write(storage, lambda work: work.tenancy.put_member(samples.membership(project_id, user_id)))
        assert len(read(storage, lambda work: work.tenancy.members(project_id))) == 2

    # --- invitations --------------------------------------------------------------------------

    def test_an_invitation_is_found_by_its_token(self, storage: Storage) -> None:
        """
        The token alone must do, for who follows the link names no project.
        """
        project_id = tenant(storage)
        invitations = [samples.invitation(project_id, email="Ünal@example.com") for _ in range(3)]
        with storage.work() as work:
            for invitation in reversed(invitations):
                work.tenancy.add_invitation(invitation)

        with storage.snapshot() as work:
            assert work.tenancy.invitation_by_token(invitations[1].token_hash) == invitations[1]
            assert work.tenancy.invitation_by_token("no such token") is None
            assert list(work.tenancy.invitations(project_id)) == invitations

    def test_a_token_belongs_to_one_invitation(self, storage: Storage) -> None:
        """
        A second one of the same token fails the unit.
        """
        invitation = samples.invitation(tenant(storage))
        write(storage, lambda work: work.tenancy.add_invitation(invitation))
        second = evolve(invitation, id=new_id("inv"), role=Role.OWNER)

        with pytest.raises(ANY_FAILURE):
            write(storage, lambda work: work.tenancy.add_invitation(second))

        found = read(storage, lambda work: work.tenancy.invitation_by_token(invitation.token_hash))
        assert found == invitation

    def test_an_invitation_is_accepted_once(self, storage: Storage) -> None:
        """
        Compare and set: the second acceptance is told so and changes nothing.
        """
        invitation = samples.invitation(tenant(storage))
        write(storage, lambda work: work.tenancy.add_invitation(invitation))

        first = write(storage, lambda work: work.tenancy.accept_invitation(invitation, NOW))
        second = write(storage, lambda work: work.tenancy.accept_invitation(invitation, later(seconds=1)))

        found = read(storage, lambda work: work.tenancy.invitation_by_token(invitation.token_hash))
        assert (first, second) == (True, False)
        assert found == evolve(invitation, accepted_at=NOW)

    def test_of_many_acceptances_at_once_one_wins(self, storage: Storage) -> None:
        """
        A double click makes one member.
        """
        invitation = samples.invitation(tenant(storage))
        write(storage, lambda work: work.tenancy.add_invitation(invitation))

        def accept(found: Invitation) -> bool:
            return write(storage, lambda work: work.tenancy.accept_invitation(found, NOW))

        accepted = together(*(lambda: accept(invitation) for _ in range(6)))

        assert sorted(accepted) == [False] * 5 + [True]
