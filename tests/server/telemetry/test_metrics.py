"""The page of metrics says what /metrics has, and the figures are those that clients counted."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tablefold.server.telemetry.metrics import REASONS
from tablefold.server.telemetry.slots import Slots
from tablefold.server.telemetry.version_counts import MAX_CLOSED, VersionCollector
from tests.server.processes.test_workers import connect, replaced, workers_of
from tests.server.test_operations import get, samples

PAGE = (Path(__file__).parents[3] / "docs/reference/metrics.md").read_text()
DESCRIBED = {
    name: (kind, frozenset(labels.split(", ")) - {""})
    for name, kind, labels in re.findall(r"^\| `(\w+)` \| (\w+) \| ([a-z, ]*?) ?\|", PAGE, re.M)
}
OUTCOMES: dict[str, tuple[str, ...]] = {
    "OK": (),
    "INVALID_ARGUMENT": ("invalid",),
    "NOT_FOUND": ("not_found",),
    # A busy machine may give a message up before its rows are known.
    "RESOURCE_EXHAUSTED": ("queue_full", "slow_message"),
}


NEED_FIGURES_OF_TRAINING = {
    "tablefold_sampled_ids_total",
    "tablefold_sampled_unknown_ids_total",
    "tablefold_training_unknown_ids_ratio",
    "tablefold_drift_psi",
    "tablefold_dense_values",
}
"""`tests/server/drift` holds their labels to the page."""

ON_A_GPU = {name for name in DESCRIBED if "_gpu_" in name}
"""`tests/server/models/test_gpu_memory.py` holds them to the page."""


def described(families: Iterable[Metric]) -> dict[str, tuple[str, frozenset[str]]]:
    """Type and labels of each metric, without labels where it has no value."""
    return {
        family.name + "_total" * (family.type == "counter"): (
            family.type,
            frozenset({label for sample in family.samples for label in sample.labels} - {"le"}),
        )
        for family in families
        if not family.name.endswith("_created")
    }


class Counted:
    """What clients saw."""

    def __init__(self, toy) -> None:
        self.calls: Counter[str] = Counter()
        self.rows, self._toy = 0, toy

    async def call(self, client, number: int) -> None:
        """A call whose outcome depends on its number."""
        rows = (0, 3000, 7, 50, 1)[number % 5]
        name = "nobody" if number % 7 == 3 else "toy"
        request = self._toy.request(*self._toy.rows(rows), model_name=name)
        status, _ = await self._toy.status(client.oip.ModelInfer(request, timeout=30))
        self.calls[status] += 1
        self.rows += rows * (status == "OK")

    async def many(self, clients, calls: int) -> None:
        await asyncio.gather(
            *(self.call(client, number) for client in clients for number in range(calls // len(clients)))
        )

    async def check(self, client) -> None:
        """The server counts the same, to the call."""
        seen = await samples(client)
        method = "/inference.GRPCInferenceService/ModelInfer"
        assert set(self.calls) == set(OUTCOMES)
        for status, reasons in OUTCOMES.items():
            assert seen["tablefold_calls_total", method, status] == self.calls[status]
            refused = sum(seen["tablefold_refusals_total", reason] for reason in reasons)
            assert refused == self.calls[status] * bool(reasons)
        assert seen["tablefold_call_seconds_count", method] == sum(self.calls.values())
        assert seen["tablefold_rows_total", "toy"] == self.rows
        assert seen["tablefold_model_calls_total", "toy", "", "OK", "1"] == self.calls["OK"]
        assert seen["nv_inference_request_success", "toy", "1"] == self.calls["OK"]
        assert seen["nv_inference_count", "toy", "1"] == self.rows
        too_many = seen["tablefold_refusals_total", "queue_full"]
        assert seen["nv_inference_request_failure", "toy", "REJECTED", "1"] == too_many


async def test_the_figures_are_what_clients_counted(repository, toy):
    counted = Counted(toy)
    async with toy.here(repository, max_queue_rows=2000) as client:
        await counted.many([client], 200)
        await counted.check(client)


async def test_the_figures_of_workers_are_what_clients_counted_after_one_was_killed_too(repository, toy):
    counted = Counted(toy)
    async with (
        toy.there(
            repository, "--workers", "4", "--max-queue-rows", "2000", "--memory-limit", "8GiB"
        ) as client,
        AsyncExitStack() as stack,
    ):
        await counted.many(await connect(stack, client), 160)
        await counted.check(client)
        families = list(text_string_to_metric_families((await get(client.http + "/metrics"))[1]))
        workers_of(client)[0].kill()
        await replaced(client, workers=4)
        await counted.check(client)
        await counted.many(await connect(stack, client), 160)
        await counted.check(client)
    found = described(families)
    assert set(found) == set(DESCRIBED) - ON_A_GPU
    assert all(found[name] in {DESCRIBED[name], (DESCRIBED[name][0], frozenset())} for name in found)
    assert {name for name in found if found[name] != DESCRIBED[name]} == NEED_FIGURES_OF_TRAINING


def test_the_page_names_every_reason():
    [text] = re.findall(r"^Reasons: (.*?)\n\n", PAGE, re.M | re.S)
    assert set(re.findall(r"`(\w+)`", text)) == set(REASONS)


def test_a_version_loaded_again_adds_up_and_closed_versions_are_bounded():
    versions = VersionCollector(Slots())

    def serve(version: int, rows: int) -> None:
        counts = versions.open("toy", str(version))
        counts.answer(rows, 0.2, 0.1, 0.1)
        counts.fail("INTERNAL", "internal", 0.1)
        versions.close(counts)

    def rows() -> dict[str, float]:
        [family] = [family for family in versions.collect() if family.name == "nv_inference_count"]
        return {sample.labels["version"]: sample.value for sample in family.samples}

    serve(1, 3)
    serve(1, 4)
    assert rows() == {"1": 7}
    for version in range(2, MAX_CLOSED + 2):
        serve(version, 1)
    assert set(rows()) == {str(version) for version in range(2, MAX_CLOSED + 2)}


@pytest.mark.parametrize(
    ("reason", "word"),
    [("queue_full", "REJECTED"), ("cancelled", "CANCELED"), ("internal", "BACKEND"), ("deadline", "OTHER")],
)
def test_failures_have_tritons_words(reason, word):
    versions = VersionCollector(Slots())
    counts = versions.open("toy", "1")
    counts.fail("ANY", reason, 0.1)
    [family] = [family for family in versions.collect() if family.name == "nv_inference_request_failure"]
    assert {sample.labels["reason"] for sample in family.samples if sample.value} == {word}
