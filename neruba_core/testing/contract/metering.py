"""Promises of ``MeteringStore``: metrics unique by project and key, declared at once by one of many; and
those of the catalogue, which no change passes by a project that is just about to follow."""

from __future__ import annotations

import pytest
from attrs import evolve

from neruba_core.metering.model import Aggregation, PropertyRule, PropertyType, SharedMetric
from neruba_core.storage.port import Storage, UnitOfWork
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import AWKWARD, STORED, TOKENS, later, tenant
from neruba_core.testing.contract.units import Rival, answer, read, start, together, waits, write

RULES = (
    PropertyRule("region", PropertyType.STRING, required=True),
    PropertyRule(AWKWARD, PropertyType.INTEGER),
    PropertyRule("cached", PropertyType.BOOLEAN),
)


class Metering(Promises):
    """Metrics."""

    @pytest.mark.parametrize("aggregation", Aggregation)
    def test_a_metric_comes_back_as_it_was_stored(self, storage: Storage, aggregation: Aggregation) -> None:
        """
        Whole, with the rules for its properties in their order.
        """
        metric = samples.metric(
            tenant(storage),
            "new",
            aggregation=aggregation,
            unit=AWKWARD,
            unique_property="region",
            free=True,
            properties=RULES,
            auto_declared=True,
            created_at=later(micros=1),
            shared=True,
        )

        added = write(storage, lambda work: work.metering.add_metrics([metric]))

        found = read(storage, lambda work: work.metering.metrics([metric.project_id]))
        assert added == 1
        assert found[metric.project_id]["new"] == metric

    def test_metrics_come_by_key_bytewise(self, storage: Storage) -> None:
        """
        Upper case before lower, in whatever order they were declared.
        """
        project_id = tenant(storage)
        keys = ["b", "a", "B", "a.b", "a_b", "a-b", "A", "9", "aB"]
        write(
            storage, lambda work: work.metering.add_metrics([samples.metric(project_id, key) for key in keys])
        )

        found = read(storage, lambda work: work.metering.metrics([project_id]))

        assert list(found[project_id]) == sorted([*keys, STORED, TOKENS], key=str.encode)

    def test_metrics_of_many_projects_come_at_once(self, storage: Storage) -> None:
        """
        Every project that was asked for is there, also one without any.
        """
        one, other = tenant(storage), tenant(storage)
        bare = samples.project()
        write(storage, lambda work: work.tenancy.add_project(bare))

        found = read(storage, lambda work: work.metering.metrics([one, bare.id, other]))

        assert found.keys() == {one, bare.id, other}
        assert found[bare.id] == {}
        assert found[one] == {key: samples.metric(one, key) for key in (STORED, TOKENS)}
        assert found[other] == {key: samples.metric(other, key) for key in (STORED, TOKENS)}
        assert read(storage, lambda work: work.metering.metrics([])) == {}

    def test_a_metric_that_is_there_is_left_alone(self, storage: Storage) -> None:
        """
        Only the others go in, and only they are counted.
        """
        one, other = tenant(storage), tenant(storage)
        metrics = [
            samples.metric(other, "new"),
            samples.metric(one, TOKENS, aggregation=Aggregation.MAX),
            samples.metric(one, "new"),
        ]

        added = write(storage, lambda work: work.metering.add_metrics(metrics))

        found = read(storage, lambda work: work.metering.metrics([one, other]))
        assert added == 2
        assert found[one][TOKENS].aggregation is Aggregation.SUM
        assert "new" in found[one]
        assert "new" in found[other]
        assert write(storage, lambda work: work.metering.add_metrics([])) == 0

    def test_a_metric_waits_for_its_competitor_in_flight(self, storage: Storage) -> None:
        """
        It counts as added only when the competitor did not commit.
        """
        project_id = tenant(storage)
        metric = samples.metric(project_id, "new")

        with Rival(storage, lambda work: work.metering.add_metrics([metric])) as rival:
            ours = start(lambda: write(storage, lambda work: work.metering.add_metrics([metric])))
            waited = waits(ours)
            rival.commit()

        assert waited
        assert answer(ours) == 0

    def test_metrics_declared_at_once_in_any_order_all_get_in(self, storage: Storage) -> None:
        """
        Ingest declares metrics on sight, so units do that in opposite orders; none may be refused.
        """
        project_id = tenant(storage)
        metrics = [samples.metric(project_id, f"metric_{number:03}") for number in range(300)]

        def declare(reverse: bool) -> int:
            given = metrics[::-1] if reverse else metrics
            return write(storage, lambda work: work.metering.add_metrics(given))

        added = together(*(lambda n=n: declare(n % 2 == 1) for n in range(6)))

        found = read(storage, lambda work: work.metering.metrics([project_id]))
        assert sum(added) == 300
        assert len(found[project_id]) == 302

    def test_a_metric_can_be_overwritten(self, storage: Storage) -> None:
        """
        The one of this project and key; where there is none, none is made.
        """
        one, other = tenant(storage), tenant(storage)
        changed = evolve(
            samples.metric(one, TOKENS),
            aggregation=Aggregation.UNIQUE,
            unit="token",
            unique_property="user",
            free=True,
            properties=RULES,
        )

        with storage.work() as work:
            work.metering.replace_metric(changed)
            work.metering.replace_metric(samples.metric(one, "none"))

        found = read(storage, lambda work: work.metering.metrics([one, other]))
        assert found[one] == {STORED: samples.metric(one, STORED), TOKENS: changed}
        assert found[other][TOKENS] == samples.metric(other, TOKENS)

    # --- the catalogue ------------------------------------------------------------------------

    @pytest.mark.parametrize("aggregation", Aggregation)
    def test_a_shared_metric_comes_back_as_it_was_stored(
        self, storage: Storage, aggregation: Aggregation
    ) -> None:
        """
        By all ways that lead to it.
        """
        metric = samples.shared_metric(
            aggregation=aggregation,
            unit=AWKWARD,
            unique_property="region",
            free=True,
            properties=RULES,
            created_at=later(micros=1),
        )

        added = write(storage, lambda work: work.metering.add_shared_metric(metric))

        assert added
        assert read(storage, lambda work: work.metering.shared_metrics()[metric.key]) == metric
        with storage.work() as work:
            assert work.metering.hold_shared_metrics([metric.key, "none"]) == {metric.key: metric}
            assert work.metering.lock_shared_metric(metric.key) == metric
            assert work.metering.lock_shared_metric("none") is None

    def test_shared_metrics_come_by_key_bytewise(self, storage: Storage) -> None:
        """
        Upper case before lower.
        """
        stem = samples.new_id("metric")
        with storage.work() as work:
            for end in ("b", "a", "B", ".", "_"):
                work.metering.add_shared_metric(samples.shared_metric(key=stem + end))

        found = list(read(storage, lambda work: work.metering.shared_metrics()))

        assert found == sorted(found, key=str.encode)
        assert {key for key in found if key.startswith(stem)} == {stem + end for end in "baB._"}

    def test_a_shared_key_is_taken_once(self, storage: Storage) -> None:
        """
        The first stays as it is; a competitor in flight is waited for.
        """
        metric = samples.shared_metric()
        other = evolve(metric, free=True)

        with Rival(storage, lambda work: work.metering.add_shared_metric(metric)) as rival:
            ours = start(lambda: write(storage, lambda work: work.metering.add_shared_metric(other)))
            waited = waits(ours)
            rival.commit()

        assert waited
        assert not answer(ours)
        assert read(storage, lambda work: work.metering.shared_metrics()[metric.key]) == metric

    def test_whoever_follows_is_overwritten(self, storage: Storage) -> None:
        """
        In every project, but neither their own metrics of that key nor others that they share.
        """
        metric, another = samples.shared_metric(), samples.shared_metric()
        one, other, own = tenant(storage), tenant(storage), tenant(storage)
        changed = evolve(metric, unit=AWKWARD, free=True, properties=RULES)
        with storage.work() as work:
            work.metering.add_shared_metric(metric)
            work.metering.add_metrics([metric.followed_by(one), metric.followed_by(other)])
            work.metering.add_metrics([another.followed_by(one), samples.metric(own, metric.key)])

        with storage.work() as work:
            work.metering.replace_shared_metric(changed)
            work.metering.replace_shared_metric(evolve(another, key="none"))
            work.metering.update_followers(changed)

        found = read(storage, lambda work: work.metering.metrics([one, other, own]))
        shared = read(storage, lambda work: work.metering.shared_metrics())
        assert found[one][metric.key] == changed.followed_by(one)
        assert found[other][metric.key] == changed.followed_by(other)
        assert found[one][another.key] == another.followed_by(one)
        assert found[own][metric.key] == samples.metric(own, metric.key)
        assert (shared[metric.key], "none" in shared) == (changed, False)

    def test_a_change_waits_for_whoever_is_about_to_follow(self, storage: Storage) -> None:
        """
        Then it finds them, and leaves nobody behind with what was before.
        """
        metric = samples.shared_metric()
        project_id = tenant(storage)
        write(storage, lambda work: work.metering.add_shared_metric(metric))

        with Rival(storage, lambda work: _follow(work, project_id, metric.key)) as rival:
            ours = start(lambda: write(storage, lambda work: _free(work, metric.key)))
            waited = waits(ours)
            rival.commit()

        assert waited
        changed = answer(ours)
        found = read(storage, lambda work: work.metering.metrics([project_id]))
        assert found[project_id][metric.key] == changed.followed_by(project_id)

    def test_whoever_follows_waits_for_a_change(self, storage: Storage) -> None:
        """
        And follows what it has become.
        """
        metric = samples.shared_metric()
        project_id = tenant(storage)
        write(storage, lambda work: work.metering.add_shared_metric(metric))

        with Rival(storage, lambda work: _free(work, metric.key)) as rival:
            ours = start(lambda: write(storage, lambda work: _follow(work, project_id, metric.key)))
            waited = waits(ours)
            rival.commit()

        assert waited
        assert answer(ours).free
        found = read(storage, lambda work: work.metering.metrics([project_id]))
        assert found[project_id][metric.key].free


def _follow(work: UnitOfWork, project_id: str, key: str) -> SharedMetric:
    metric = work.metering.hold_shared_metrics([key])[key]
    work.metering.add_metrics([metric.followed_by(project_id)])
    return metric


def _free(work: UnitOfWork, key: str) -> SharedMetric:
    metric = work.metering.lock_shared_metric(key)
    assert metric is not None
    changed = evolve(metric, free=True)
    work.metering.replace_shared_metric(changed)
    work.metering.update_followers(changed)
    return changed
