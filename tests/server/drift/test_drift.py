"""Signs of a stale model: a replayed log shows none, replaced ids do, and old bundles show rates alone."""

import asyncio
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tablefold.bundle import read_manifest
from tablefold.exporter.export import export
from tablefold.logs import Log, read_splits
from tablefold.reference import count_unknown
from tablefold.schema import MISSING
from tablefold.server.drift.drift import BLOCK_ROWS
from tablefold.server.drift.sampled_engine import SAMPLED_EVERY, SAMPLED_ROWS
from tests.server.status_page.webdriver import DRIVER, browse
from tests.server.telemetry.test_metrics import DESCRIBED, NEED_FIGURES_OF_TRAINING, described
from tests.server.test_operations import get, samples

ROWS, ROWS_A_CALL = 10_000, 250
MOVED = {"score": 0.25, "dense": 0.25, "unknown_ids": 0.05}
"""As the alert has it: two bins move less than ten."""


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory) -> Path:
    repository = tmp_path_factory.mktemp("exported")
    export(trained("full")[0], repository, "ads")
    return repository


@pytest.fixture(scope="module")
def replayed() -> Log:
    """Examples of the training period that neither training nor the manifest has seen, again and again."""
    test = read_splits("synthetic:12000")[1].test
    return test.take(np.random.default_rng(0).integers(0, len(test), ROWS))


async def moved(repository: Path, toy, log: Log) -> tuple[set[tuple[str, str]], dict[tuple[str, ...], float]]:
    """Which scores and features have moved, and all metrics, after the log's rows."""
    random.seed(0)
    async with toy.here(repository) as client:
        for row in range(0, len(log), ROWS_A_CALL):
            rows = slice(row, row + ROWS_A_CALL)
            await client.oip.ModelInfer(toy.request(log.dense[rows], log.ids[rows], model_name="ads"))
        seen = await samples(client)
    indices = {name[1:]: value for name, value in seen.items() if name[0] == "tablefold_drift_psi"}
    return {(of, feature) for (feature, _, of, _), value in indices.items() if value > MOVED[of]}, seen


async def test_the_page_of_metrics_says_what_the_signs_are(exported, toy, replayed):
    async with toy.here(exported) as client:
        await client.oip.ModelInfer(toy.request(replayed.dense, replayed.ids, model_name="ads"))
        _, page = await get(client.http + "/metrics")
    found = described(text_string_to_metric_families(page))
    assert {name: found[name] for name in NEED_FIGURES_OF_TRAINING} == {
        name: DESCRIBED[name] for name in NEED_FIGURES_OF_TRAINING
    }


async def test_a_replayed_log_shows_nothing(exported, toy, replayed):
    found, seen = await moved(exported, toy, replayed)
    assert found == set()
    counted = seen["tablefold_sampled_rows_total", "ads", "1"]
    waiting = BLOCK_ROWS + ROWS_A_CALL / SAMPLED_ROWS  # at most
    assert 0.8 * ROWS / SAMPLED_EVERY - waiting < counted < 1.2 * ROWS / SAMPLED_EVERY
    assert counted >= BLOCK_ROWS


@pytest.mark.parametrize("column", [0, 8, 20])
async def test_a_fifth_of_a_features_ids_replaced_shows_within_10_000_rows(exported, toy, replayed, column):
    rng = np.random.default_rng(1)
    reference = read_manifest(exported / "ads" / "1").reference
    feature = read_manifest(exported / "ads" / "1").feature_schema.categorical[column].name
    ids = replayed.ids.copy()
    ids[rng.random(len(ids)) < 0.2, column] = 2**61 + 17
    found, seen = await moved(exported, toy, Log(dense=replayed.dense, ids=ids, label=replayed.label))
    assert ("unknown_ids", feature) in found
    assert {other for of, other in found if of != "score"} == {feature}
    share = (
        seen["tablefold_sampled_unknown_ids_total", feature, "ads", "1"]
        / seen["tablefold_sampled_ids_total", feature, "ads", "1"]
    )
    assert share == pytest.approx(0.2 + 0.8 * reference.unknown_ids[feature], abs=0.06)
    assert seen["tablefold_training_unknown_ids_ratio", feature, "ads", "1"] == reference.unknown_ids[feature]


async def test_a_dense_feature_that_is_missing_or_scaled_shows(exported, toy, replayed):
    for change in (lambda column: column * 3, lambda column: np.full_like(column, np.nan)):
        dense = replayed.dense.copy()
        dense[:, 2] = change(dense[:, 2])
        found, _ = await moved(exported, toy, Log(dense=dense, ids=replayed.ids, label=replayed.label))
        name = read_manifest(exported / "ads" / "1").feature_schema.dense[2].name
        assert {other for of, other in found if of == "dense"} == {name}


async def test_a_bundle_without_the_figures_of_training_shows_its_scores_alone(repository, toy):
    async with toy.here(repository) as client:
        for _ in range(40):
            await client.infer(*toy.rows(200))
        seen = await samples(client)
    names = {name[0] for name in seen if "drift" in name[0] or "sampled" in name[0] or "unknown" in name[0]}
    assert names == {"tablefold_sampled_rows_total"}
    assert seen["tablefold_sampled_rows_total", "toy", "1"] > 200
    buckets = {name[1]: value for name, value in seen.items() if name[0] == "tablefold_scores_bucket"}
    assert buckets["+Inf"] == seen["tablefold_sampled_rows_total", "toy", "1"]


def test_missing_ids_are_not_unknown(exported):
    reference = read_manifest(exported / "ads" / "1").reference
    ids = np.full((5, 26), MISSING)
    rows = np.zeros((5, 26), np.int32)
    assert not count_unknown(rows, ids, reference.unknown_rows).any()


@pytest.mark.skipif(shutil.which(DRIVER) is None, reason=f"{DRIVER} is not installed")
@pytest.mark.parametrize("replaced", [False, True])
async def test_the_status_page_says_what_has_moved(exported, toy, replayed, replaced):
    ids = replayed.ids.copy()
    if replaced:
        ids[::4, 8] = 2**61 + 17
    async with toy.here(exported) as client:
        await client.oip.ModelInfer(toy.request(replayed.dense, ids, model_name="ads"))

        def visit() -> tuple[list[str], list[str]]:
            with browse(390, dark=False, phone=True) as browser:
                browser.open(client.http + "/")
                for _ in range(100):
                    texts = browser.run(
                        "return new Promise((done) => setTimeout(() => done([...document.querySelectorAll("
                        "'p.drift, ul.drift li')].map((node) => node.textContent)), 100))"
                    )
                    if texts:
                        break
                return texts, browser.console()

        texts, console = await asyncio.to_thread(visit)
    assert console == []
    words = "unknown ids of C9 moved since training" if replaced else "as in training"
    assert any(words in text for text in texts)
