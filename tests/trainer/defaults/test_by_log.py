"""Settings that the schema and the size of the log decide."""

from pathlib import Path

import numpy as np
import pytest

from tablefold.logs.formats import synthetic
from tablefold.schema import CategoricalFeature, DenseFeature, Encoding, FeatureSchema
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.defaults.by_log import by_log, describe_chosen
from tablefold.trainer.training.run import train
from tests.trainer.runs import SMALL, splits

IDS = FeatureSchema(name="ids", categorical=(CategoricalFeature(name="user", encoding=Encoding.INT),))
NUMBERS = IDS.model_copy(update={"dense": (DenseFeature(name="price"),)})


def test_the_schema_decides_the_network() -> None:
    assert by_log(TrainConfig(), IDS, 10_000).network == "deepfm"
    assert by_log(TrainConfig(), NUMBERS, 10_000).network == "dlrm"


def test_the_size_of_the_log_decides_the_size_of_the_network() -> None:
    small, large = (by_log(TrainConfig(), NUMBERS, examples) for examples in (999_999, 1_000_000))
    assert (small.top, small.bottom) == ((64, 32), (64, 32))
    assert (large.top, large.bottom) == ((512, 256), (512, 256, 64))


@pytest.mark.parametrize(("examples", "batch_size"), [(1, 32), (20_000, 200), (10_000_000, 2048)])
def test_an_epoch_of_a_small_log_has_enough_steps(examples: int, batch_size: int) -> None:
    assert by_log(TrainConfig(), IDS, examples).batch_size == batch_size


@pytest.mark.parametrize(("examples", "known_from"), [(1, 1), (10_000, 2), (50_000, 10), (10_000_000, 10)])
def test_a_log_must_be_long_for_ids_to_be_left_out(examples: int, known_from: int) -> None:
    assert by_log(TrainConfig(), IDS, examples).known_from == known_from


def test_a_minimum_count_in_the_schema_stays() -> None:
    feature = CategoricalFeature(name="user", encoding=Encoding.INT, min_count=1)
    schema = FeatureSchema(name="ids", categorical=(feature,))
    assert by_log(TrainConfig(), schema, 1_000_000).known_from is None


def test_what_is_given_stays() -> None:
    given = TrainConfig(network="dcnv2", top=(8,), bottom=(512, 256, 64), batch_size=7, known_from=3)
    assert by_log(given, IDS, 10_000) == given


def test_the_chosen_settings_are_described_as_options() -> None:
    config = by_log(TrainConfig(l2=0.25), IDS, 50_000)
    assert describe_chosen(config) == (
        "--known-from 10 --epochs 3 --batch-size 500 --embedding-lr 0.01 --l2 0.25 --network deepfm "
        "--top 64,32"
    )


def test_rare_ids_are_unknown_and_train_the_row_of_unknown_ids(tmp_path: Path) -> None:
    examples = splits()
    config = SMALL.model_copy(update={"known_from": 3})
    checkpoint = train(synthetic.SCHEMA, examples, config, tmp_path / "m")
    assert checkpoint.row_counts is not None
    assert checkpoint.vocabularies is not None
    assert [f.min_count for f in checkpoint.description.feature_schema.categorical] == [3] * 26
    start = 1
    for column, (row_map,) in enumerate(checkpoint.row_maps):
        ids, counts = np.unique(examples.train.take(slice(0, None)).ids[:, column], return_counts=True)
        assert row_map.keys.tolist() == ids[counts >= 3].tolist()
        assert checkpoint.row_counts[start + row_map.hashed_first] == counts[counts < 3].sum()
        start += row_map.num_rows
