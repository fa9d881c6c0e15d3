"""The signs of a stale model, for Prometheus."""

from collections.abc import Iterator
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from tablefold.reference import BINS, Shares
from tablefold.server.drift.drift import Drift


class DriftCollector(Collector):
    """The figures of all versions in memory."""

    def __init__(self) -> None:
        self._drifts: WeakValueDictionary[tuple[str, str], Drift] = WeakValueDictionary()

    def add(self, drift: Drift) -> None:
        """Show the figures of a version for as long as it lives."""
        self._drifts[drift.manifest.name, str(drift.manifest.version)] = drift

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        drifts = dict(self._drifts.items())
        version, feature = ["model", "version"], ["model", "version", "feature"]
        rows = CounterMetricFamily("tablefold_sampled_rows", "Rows looked at.", labels=version)
        given = CounterMetricFamily("tablefold_sampled_ids", "Ids in them, but missing ones.", labels=feature)
        unknown = CounterMetricFamily("tablefold_sampled_unknown_ids", "Unknown ones.", labels=feature)
        then = GaugeMetricFamily(
            "tablefold_training_unknown_ids_ratio", "Their share in training.", labels=feature
        )
        index = GaugeMetricFamily(
            "tablefold_drift_psi", "Population stability index.", labels=["model", "version", "of", "feature"]
        )
        scores = HistogramMetricFamily("tablefold_scores", "Probabilities, sampled.", labels=version)
        dense = HistogramMetricFamily("tablefold_dense_values", "Values, sampled.", labels=feature)
        for key, drift in drifts.items():
            rows.add_metric([*key], drift.rows)
            for name, (unknown_ids, ids) in zip(drift.features, drift.ids.T, strict=True):
                if ids:
                    given.add_metric([*key, name], float(ids))
                    unknown.add_metric([*key, name], float(unknown_ids))
            for name, share in {} if drift.reference is None else drift.reference.unknown_ids.items():
                then.add_metric([*key, name], share)
            for of, name, value in drift.indices():
                index.add_metric([*key, of, name], value)
            for name, shares, counts in zip(["", *drift.dense], drift.values, drift.counts, strict=True):
                (dense if name else scores).add_metric(
                    [*key, *([name] if name else [])], _buckets(shares, counts), sum_value=None
                )
        yield from (rows, given, unknown, then, index, scores, dense)


def _buckets(shares: Shares, counts: NDArray[np.int64]) -> list[tuple[str, float]]:
    """Return Prometheus' buckets; missing values are in none."""
    below = np.cumsum(counts[:BINS])
    bounds = [*shares.bounds, float("inf")]
    last = len(shares.bounds)
    return [
        (str(floatToGoString(bound)), float(below[-1] if i == last else below[i]))  # type: ignore[no-untyped-call]
        for i, bound in enumerate(bounds)
    ]
