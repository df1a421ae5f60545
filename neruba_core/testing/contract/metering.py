"""Promises of ``MeteringStore``: metrics unique by project and key, declared at once by one of many."""

from __future__ import annotations

import pytest
from attrs import evolve

from neruba_core.metering.model import Aggregation, PropertyRule, PropertyType
from neruba_core.storage.port import Storage
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
