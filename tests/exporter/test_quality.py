"""The cost of an export: fewer bits and false hits apart, beside the cost against the model as trained."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tablefold.bundle import read_manifest
from tablefold.errors import QualityError
from tablefold.exporter.export import export
from tablefold.exporter.options import DictionaryKind, ExportOptions, RowType
from tablefold.exporter.proof.bundle_graph import open_graph
from tablefold.exporter.proof.quality import describe_cost, measure_cost, require_quality
from tablefold.logs import Log
from tablefold.trainer.checkpoint.checkpoint import Checkpoint

Trained = Callable[..., tuple[Checkpoint, Path]]
LOG = Log(
    dense=np.zeros((4, 0), np.float32),
    ids=np.zeros((4, 1), np.int64),
    label=np.array([0, 1, 0, 1], np.float32),
)
BEFORE = np.array([0.2, 0.8, 0.3, 0.6], np.float32)


def test_fewer_bits_and_false_hits_are_told_apart() -> None:
    after = np.array([0.21, 0.8, 0.3, 0.33], np.float32)
    hits = np.array([False, False, False, True])
    cost = measure_cost(LOG, checkpoint=BEFORE, bundle=after, false_hits=hits, metrics={})
    assert cost["export_largest_change"] == pytest.approx(0.27)
    assert cost["export_largest_change_of_bits"] == pytest.approx(0.01)
    assert cost["export_largest_change_of_false_hits"] == pytest.approx(0.27)
    assert cost["export_false_hits"] == 0.25
    assert cost["export_logloss_increase_of_false_hits"] == pytest.approx(np.log(0.6 / 0.33) / 4)
    assert cost["export_logloss_increase"] == pytest.approx((np.log(0.6 / 0.33) + np.log(0.8 / 0.79)) / 4)
    says = describe_cost(cost)
    assert "fewer bits changed no probability by more than 0.0100" in says
    assert (
        "passed for known ones in 25.0% of the examples, changed a probability there by up to 0.2700" in says
    )


def test_without_false_hits_nothing_is_said_of_them() -> None:
    nobody = np.zeros(4, bool)
    cost = measure_cost(LOG, checkpoint=BEFORE, bundle=BEFORE, false_hits=nobody, metrics={})
    assert cost["export_largest_change_of_false_hits"] == cost["export_false_hits"] == 0
    assert "unknown ids" not in describe_cost(cost)
    assert "total_logloss_increase" not in cost


def test_the_gate_is_for_the_exports_own_step_and_refuses_what_is_no_number() -> None:
    trained = {"trained_logloss": 0.1}
    nobody = np.zeros(4, bool)
    cost = measure_cost(LOG, checkpoint=BEFORE, bundle=BEFORE, false_hits=nobody, metrics=trained)
    assert cost["total_logloss_increase"] > 0.1
    assert "against the model as trained, before compression, +0." in describe_cost(cost)
    require_quality(cost, 4, 0)
    broken = {**cost, "export_logloss_increase": float("nan")}
    with pytest.raises(QualityError, match="cost too much on 4 validation examples"):
        require_quality(broken, 4, 1)


def test_false_hits_are_those_of_the_compact_dictionary_as_served(trained: Trained, tmp_path: Path) -> None:
    """Unknown ids in every example, so that some pass; the rows are fp32, so nothing else may change."""
    checkpoint = trained("full")[0]
    rng, log = np.random.default_rng(0), checkpoint.validation
    unknown = Log(dense=log.dense, ids=rng.integers(2**40, 2**62, log.ids.shape), label=log.label)
    strange = replace(checkpoint, validation=unknown)
    options = ExportOptions(lookup=DictionaryKind.COMPACT, max_logloss_increase=10)
    manifest = read_manifest(folder := export(strange, tmp_path, "m", options=options))
    cost = manifest.metrics
    assert 0 < cost["export_false_hits"] <= 26 * manifest.false_hit_rate
    assert cost["export_largest_change_of_bits"] < 1e-6 < cost["export_largest_change_of_false_hits"]
    changed = np.abs(open_graph(folder)(unknown) - checkpoint.model.predict(unknown)) > 1e-6
    assert changed.mean() <= cost["export_false_hits"]
    exact = export(strange, tmp_path, "exact", options=ExportOptions(row_type=RowType.INT8))
    assert read_manifest(exact).metrics["export_false_hits"] == 0
