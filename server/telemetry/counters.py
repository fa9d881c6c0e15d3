"""All that one process counts of its calls: in slots, so that it can be read when the process is dead."""

from collections.abc import Iterator, Sequence

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from tablefold.server.telemetry.counts import Counts, Distributions
from tablefold.server.telemetry.slots import Slots
from tablefold.server.telemetry.version_counts import VersionCollector

SECONDS_BUCKETS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10,
)  # fmt: skip
ROWS_BUCKETS = (1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 16384)


class Counters(Collector):
    """The counters and histograms of calls. They go on from what the slots hold."""

    def __init__(self, slots: Slots) -> None:
        self.versions = VersionCollector(slots)
        self.rows = Counts(slots, "tablefold_rows", "Rows answered with a probability.", ["model"])
        self.calls = Counts(slots, "tablefold_calls", "Finished calls.", ["method", "status"])
        self.refusals = Counts(slots, "tablefold_refusals", "Calls that got an error, by reason.", ["reason"])

        def distributions(name: str, text: str, label: str, bounds: Sequence[float]) -> Distributions:
            return Distributions(slots, f"tablefold_{name}", text, label, bounds)

        seconds = SECONDS_BUCKETS
        self.batch_rows = distributions("batch_rows", "Rows of a batch.", "model", ROWS_BUCKETS)
        self.queue_seconds = distributions(
            "queue_seconds", "From a call's acceptance to its last batch.", "model", seconds
        )
        self.compute_seconds = distributions(
            "compute_seconds", "The engine's time for a batch.", "model", seconds
        )
        self.call_seconds = distributions(
            "call_seconds", "A call from its message to its answer.", "method", seconds
        )

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        for family in vars(self).values():
            yield from family.collect()
