"""Three real servers, killed and hung in turn: the bench for a short while."""

from pathlib import Path

from bench.serving.failing_servers import PLAIN, ask_failing_servers, columns_of
from tests.server.conftest import SCHEMA, draw_rows, write_bundle


async def test_every_call_is_answered_in_time_once_and_rightly(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    questions = [columns_of(SCHEMA, *draw_rows(4, seed=seed)) for seed in range(8)]
    seen, done = await ask_failing_servers(
        tmp_path, "toy", questions, seconds=5, every=3, rate=20, deadline=8, hedge_after=0.1
    )
    assert done["killed"] >= 2
    assert done["hung"] >= 1
    for name, way in seen.items():
        figures = way.figures()
        assert (figures["wrong"], figures["ended twice"], figures["never ended"]) == (0, 0, 0), name
        if name != PLAIN:
            assert figures["answered in time"] == 1, (name, way.errors)
