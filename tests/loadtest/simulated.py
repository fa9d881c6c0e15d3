"""A server that exists in figures only, so that sweeps of any server take no time."""

import numpy as np

from tablefold.loadtest.figures import SloResult


class Simulated:
    """A server that answers `capacity` calls/s and sheds the rest, its p99 growing towards that."""

    def __init__(self, example, capacity, noise=0.0, seed=0):
        self.example = example
        self.capacity = capacity
        self.random = np.random.default_rng(seed)
        self.noise = noise
        self.positions = []

    async def run(self, plan, position=None):
        capacity = self.capacity * float(np.exp(self.noise * self.random.normal()))
        offered = plan.rate or capacity / 3
        achieved = min(offered, capacity)
        p99 = 2 / max(0.01, 1 - offered / capacity)
        self.positions.append(position)
        due = max(1, round(offered * 1000))
        held = [SloResult(objective=slo.text, within=due, met=p99 <= slo.seconds * 1e3) for slo in plan.slo]
        return self.example.model_copy(
            update={
                "mode": "open",
                "seconds": 1000.0,
                "offered_rps": offered,
                "achieved_rps": achieved,
                "rows_per_second": achieved * 5,
                "calls": self.example.calls.model_copy(
                    update={"due": due, "ok": round(achieved * 1000), "failed": 0}
                ),
                "errors": {},
                "latency_ms": self.example.latency_ms.model_copy(update={"p50": p99 / 2, "p99": p99}),
                "client": self.example.client.model_copy(
                    update={
                        "event_loop_share": 0.1,
                        "waiting_share": 0.0,
                        "send_lag_ms": self.example.latency_ms,
                    }
                ),
                "most_in_flight": 1,  # the lag of the example means nothing
                "objectives": held,
            }
        )
