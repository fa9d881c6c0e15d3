"""Resized features: the ids that the logloss gains most by stay known, and rows merge as it feels them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tablefold.metrics import logloss
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.compression.compress import merge_rows
from tablefold.trainer.compression.curvature import curvatures, metric
from tablefold.trainer.compression.feature_table import feature_tables, rebuild
from tablefold.trainer.compression.forget import benefits, counts_of_ids
from tablefold.trainer.compression.resize import FeatureSize, resize

Trained = Callable[..., tuple[Checkpoint, Path]]


@pytest.fixture
def full(trained: Trained) -> Checkpoint:
    return trained("full")[0]


def test_the_curvature_foretells_what_a_small_change_costs(full: Checkpoint) -> None:
    """A change e of one feature's vectors raises the expected logloss by e^T C e / 2."""
    log, tables = full.validation, feature_tables(full)
    before = full.model.predict(log).astype(float)
    for i in (0, 5, 20):
        change = torch.randn(8, generator=torch.Generator().manual_seed(i)) * 0.05
        moved = list(tables)
        moved[i] = tables[i].__class__(**{**vars(tables[i]), "rows": tables[i].rows + change})
        after = rebuild(full, moved, "full", "moved").model.predict(log).astype(float)
        entropy = -(before * np.log(before) + (1 - before) * np.log(1 - before))
        cross = -(before * np.log(after) + (1 - before) * np.log(1 - after))
        foretold = float(change.double() @ curvatures(full)[i] @ change.double()) / 2
        assert (cross - entropy).mean() == pytest.approx(foretold, rel=0.25, abs=1e-7)


def test_merging_by_the_curvature_loses_less_than_merging_by_distance(full: Checkpoint) -> None:
    increases = []
    for by in (metric, lambda curvature: torch.eye(len(curvature))):
        tables = [
            merge_rows(feature, by(curvature), 8, 0)
            for feature, curvature in zip(feature_tables(full), curvatures(full), strict=True)
        ]
        merged = rebuild(full, tables, "lhf", "merged").model.predict(full.validation).astype(float)
        before = full.model.predict(full.validation).astype(float)
        # Against what the full model expects, not against labels: that is what merging may change.
        increases.append(
            float(
                -(
                    before * np.log(merged / before) + (1 - before) * np.log((1 - merged) / (1 - before))
                ).mean()
            )
        )
    assert increases[0] < increases[1]


def test_the_ids_that_gain_most_stay_known_and_other_features_as_they_were(full: Checkpoint) -> None:
    assert full.vocabularies is not None
    tables = feature_tables(full)
    name, known = tables[2].name, len(tables[2].row_maps[0].keys)
    small = resize(
        full,
        {name: FeatureSize(known=known // 2, rows=known), "no such feature": FeatureSize(known=0, rows=0)},
    )
    felt = metric(curvatures(full)[2])
    gain = benefits(tables[2], counts_of_ids(tables[2], full.vocabularies[2]), felt)
    best = tables[2].row_maps[0].keys[np.argsort(-gain, kind="stable")[: known // 2]]
    assert sorted(best) == feature_tables(small)[2].row_maps[0].keys.tolist()
    for old, new in zip(tables, feature_tables(small), strict=True):
        if old.name != name:
            assert torch.equal(old.rows, new.rows)


def test_a_feature_left_out_says_nothing(full: Checkpoint) -> None:
    name = feature_tables(full)[0].name
    without = resize(full, {name: FeatureSize(known=0, rows=0)})
    (row_map,) = feature_tables(without)[0].row_maps
    assert (len(row_map.keys), row_map.num_rows) == (0, 1)
    log = full.validation
    assert logloss(log.labels, without.model.predict(log)) == pytest.approx(
        logloss(log.labels, full.model.predict(log)), abs=0.1
    )


def test_rows_of_models_that_nobody_counted_are_resized_too(full: Checkpoint) -> None:
    uncounted = Checkpoint(
        description=full.description, row_maps=full.row_maps, model=full.model, validation=full.validation
    )
    name = feature_tables(full)[2].name
    small = resize(uncounted, {name: FeatureSize(known=50, rows=10)})
    (row_map,) = feature_tables(small)[2].row_maps
    assert (len(row_map.keys), row_map.num_rows) == (50, 11)
