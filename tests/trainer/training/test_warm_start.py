"""A warm start: rows are means of the full table's, rare ids are forgotten, and nothing is trained twice."""

from pathlib import Path

import numpy as np
import pytest

from tablefold.errors import UsageError
from tablefold.logs.formats import synthetic
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.compression.feature_table import feature_tables
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.row_map import num_rows
from tablefold.trainer.methods.builder import LEARN_FROM
from tablefold.trainer.methods.registry import make_row_maps
from tablefold.trainer.training.run import train
from tablefold.trainer.training.warm_start import fine_tune_config, full_stage, merged
from tests.trainer.runs import Watching, easy_splits

WARM = TrainConfig(
    method="lhf", warm_start=True, row_ratio=5, row_ratio_of={"C1": 20}, full_below=8, dim=4, epochs=2,
    batch_size=128, bottom=(8,), top=(8,), lr=2e-2, embedding_lr=1e-2,
)  # fmt: skip


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("warm") / "m"
    train(synthetic.SCHEMA, easy_splits(), WARM, out)
    return out


def vectors(checkpoint: Checkpoint, feature: int, ids: np.ndarray) -> np.ndarray:
    table = feature_tables(checkpoint)[feature]
    return sum(table.vectors.numpy()[row_map(ids)] for row_map in table.row_maps)  # type: ignore[return-value]


def test_a_shared_row_is_the_mean_of_its_ids_rows_and_rare_ids_share_that_of_unknown_ones(warm: Path) -> None:
    full = checkpoints.load(warm.with_name("m.stage1"))
    start = merged(full, WARM)
    assert full.vocabularies is not None
    for feature, vocabulary in enumerate(full.vocabularies):
        before, after = (vectors(model, feature, vocabulary.ids) for model in (full, start))
        (row_map,) = start.row_maps[feature]
        if len(vocabulary) <= WARM.full_below:
            np.testing.assert_array_equal(before, after)
            continue
        often = vocabulary.counts >= LEARN_FROM
        np.testing.assert_array_equal(row_map.keys, vocabulary.ids[often])
        rows = row_map(vocabulary.ids)
        assert set(rows[~often]) <= {row_map.hashed_first}
        for row in np.unique(rows):
            shared = rows == row
            mean = np.average(before[shared], axis=0, weights=vocabulary.counts[shared])
            np.testing.assert_allclose(after[shared], np.broadcast_to(mean, after[shared].shape), atol=1e-6)


def test_it_has_as_many_rows_as_any_learned_hash(warm: Path) -> None:
    model = checkpoints.load(warm)
    assert model.vocabularies is not None
    cold = WARM.model_copy(update={"method": "lhf-f", "warm_start": False})
    for warm_maps, vocabulary in zip(model.row_maps, model.vocabularies, strict=True):
        cold_maps = make_row_maps(cold, vocabulary)
        assert num_rows(warm_maps) <= num_rows(cold_maps)
        assert len(warm_maps[0].keys) == len(cold_maps[0].keys)


def test_it_goes_on_for_one_gentle_epoch(warm: Path) -> None:
    start, end = merged(checkpoints.load(warm.with_name("m.stage1")), WARM), checkpoints.load(warm)
    assert end.description.config == WARM
    assert end.description.metrics["epoch"] == 1
    pairs = zip(feature_tables(start), feature_tables(end), strict=True)
    moved = max(float((before.vectors - after.vectors).abs().max()) for before, after in pairs)
    assert (
        0 < moved <= 13 * 2 * fine_tune_config(WARM).embedding_lr
    )  # steps of Adam, each about a learning rate


def test_the_full_table_is_shared_by_all_sizes_and_a_finished_one_is_not_trained_again(
    warm: Path, tmp_path: Path
) -> None:
    other = WARM.model_copy(update={"row_ratio": 2})
    assert full_stage(other) == full_stage(WARM)
    watching = Watching()
    stage = warm.with_name("m.stage1")
    train(
        synthetic.SCHEMA, easy_splits(), other, tmp_path / "m", callback=watching, resume=True,
        first_stage_at=lambda settings: stage,
    )  # fmt: skip
    assert watching.found == [("first stage", stage)]
    assert watching.steps == 13


@pytest.mark.parametrize(
    "settings", [{"method": "full"}, {"method": "lhf+mlet"}, {"method_of": {"C1": "hash"}}]
)
def test_what_it_cannot_go_with_is_refused(settings: dict[str, object], tmp_path: Path) -> None:
    config = WARM.model_copy(update=settings)
    with pytest.raises(UsageError, match="--warm-start is for --method lhf"):
        train(synthetic.SCHEMA, easy_splits(), config, tmp_path / "m")
