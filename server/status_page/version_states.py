"""How many versions are served, changing or refused, for Prometheus."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import get_args

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tablefold.server.models.refusals import State
from tablefold.server.status_page.overview import Overview


class VersionStates(Collector):
    """`read` gives the JSON of the overview; b"" where there is none yet."""

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read

    def describe(self) -> list[GaugeMetricFamily]:
        """Return the family without looking: the server may not run yet."""
        return [self._family()]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the number of versions in each state; a model that is refused as a whole counts as one."""
        family = self._family()
        if found := self._read():
            states = Counter(version.state for version in Overview.model_validate_json(found).versions)
            for state in get_args(State):
                family.add_metric([state], states[state])
        yield family

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily("tablefold_versions", "Versions of models in each state.", labels=["state"])
