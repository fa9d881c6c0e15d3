"""The memory of the GPU, for Prometheus: what the driver does not tell is absent, not 0."""

import os
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tablefold.server.models.gpu_footprint import GpuFootprint
from tablefold.server.models.model import Model


class GpuCollector(Collector):
    """Of this process; `models` gives those in memory, on any thread."""

    def __init__(self, gpu: GpuFootprint, models: Callable[[], Iterable[Model]]) -> None:
        self._gpu, self._models = gpu, models

    def describe(self) -> list[GaugeMetricFamily]:
        """Return nothing: which there are, the driver decides."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics."""
        if self._gpu.use.limit is not None:
            yield GaugeMetricFamily(
                "tablefold_gpu_memory_limit_bytes", "What --gpu-memory-limit allows.", self._gpu.use.limit
            )
        now, own = self._gpu.read(), os.getpid()
        if now is None:
            return
        yield GaugeMetricFamily("tablefold_gpu_total_bytes", "Memory of the GPU.", now.total)
        yield GaugeMetricFamily("tablefold_gpu_free_bytes", "Of it, taken by nobody.", now.free)
        if own in now.by_process:
            yield GaugeMetricFamily(
                "tablefold_process_gpu_bytes", "Memory of the GPU that the process holds.", now.of([own])
            )
        labels = ["model", "version"]
        parts = GaugeMetricFamily(
            "tablefold_model_gpu_bytes", "A version's memory of the GPU, by part.", labels=[*labels, "part"]
        )
        peaks = GaugeMetricFamily("tablefold_model_gpu_peak_bytes", "Its highest so far.", labels=labels)
        for model, share in self._gpu.of_models(self._models(), [own]).items():
            version = [model.name, str(model.version)]
            parts.add_metric([*version, "weights"], share.weights)
            parts.add_metric([*version, "work"], share.work)
            peaks.add_metric(version, share.peak)
        yield parts
        yield peaks
