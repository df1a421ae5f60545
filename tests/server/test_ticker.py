"""What the server folds in the background."""

from __future__ import annotations

from datetime import timedelta

from neruba_core import Neruba
from neruba_core.testing.clock import NOON, SettableClock
from neruba_server import ticker as tickers
from neruba_server.auth import KeyRing
from neruba_server.ticker import Ticker


async def test_usage_is_folded_piece_by_piece(tmp_path, monkeypatch):
    """
    Until less than a piece is left, so that steady ingest does not keep one tick busy for ever.
    """
    monkeypatch.setattr(tickers, "FOLD_AT_MOST", 4)
    pieces = []

    async def run(act):
        pieces.append(act())
        return pieces[-1]

    with Neruba.open(
        f"sqlite:///{tmp_path}/t.db", password_effort="testing", clock=SettableClock()
    ) as neruba:
        project = neruba.projects.create(name="x")
        for number in range(10):
            neruba.usage.record(
                project.id,
                metric_key="m",
                units=1,
                timestamp=NOON - number * timedelta(minutes=1),
                idempotency_key=str(number),
            )
        ticker = Ticker(neruba, KeyRing(neruba), run)
        await ticker.fold()
        await ticker.fold()

        assert pieces == [4, 4, 2, 0]
        assert neruba.usage.rollup_faults(project.id) == ()
