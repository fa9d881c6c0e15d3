"""How many rows go fastest together, and how many rows a second get through."""

import pytest

from tablefold.server.queue.batch_sizing import BatchSizing, Throughput, calibrate


def test_the_throughput_is_measured_while_calls_wait_and_goes_back_to_the_promise_when_none_does():
    throughput = Throughput(BatchSizing(rows=100, rows_per_second=2000, max_rows=150))
    assert throughput.rows_per_second == pytest.approx(2000)
    for batch in range(100):
        throughput.ended(50, now=batch * 0.5, waiting=True)
    assert throughput.rows_per_second == pytest.approx(100, rel=0.01)
    for batch in range(100):
        throughput.ended(50, now=1000 + batch * 0.5, waiting=False)
    assert throughput.rows_per_second == pytest.approx(2000, rel=0.01)


@pytest.mark.parametrize(
    ("seconds", "knee"),
    [
        (lambda rows: rows / 50_000 + 1e-4, 512),  # a core: what a batch costs is soon spread thin
        (lambda rows: 2e-3 + rows / 10_000_000, 65_536),  # a GPU: the more the better
        (lambda rows: 5e-3 + rows / (10_000 if rows <= 256 else 6_000), 256),  # it falls out of a cache
        (lambda rows: 1.0, 32),  # too slow to try more
    ],
)
def test_the_knee_is_the_smallest_batch_with_nearly_the_best_rows_a_second(seconds, knee):
    now = 0.0

    def run(rows: int) -> None:
        nonlocal now
        now += seconds(rows)

    sizing = calibrate(run, 65_536, lambda: now)
    assert sizing.rows == knee
    assert sizing.max_rows == min(1.5 * knee, 65_536)
    assert sizing.rows_per_second == pytest.approx(knee / seconds(knee), rel=0.2)
    assert calibrate(run, 7, lambda: now).rows == 7
