"""Models that learn nothing are named so, and nothing is clustered by their vectors."""

import json
from pathlib import Path

import numpy as np
import pytest

from tablefold.cli import main
from tablefold.errors import TrainingError
from tablefold.logs import Log, Splits
from tablefold.schema import CategoricalFeature, Encoding, FeatureSchema
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.training.run import train
from tests.trainer.runs import Watching

SCHEMA = FeatureSchema(
    name="pairs",
    categorical=(
        CategoricalFeature(name="user", encoding=Encoding.INT),
        CategoricalFeature(name="item", encoding=Encoding.INT),
    ),
)
LEARNED = TrainConfig(
    method="lhf", row_ratio=4, full_below=8, dim=4, batch_size=64, epochs=1, bottom=(8,), top=(16,)
)


def pairs(weight: float, examples: int = 6000, ids: int = 60) -> Splits:
    """Clicks depend, by `weight`, on products of users' and items' hidden vectors, and on nothing else."""
    rng = np.random.default_rng(0)
    users, items = rng.normal(0, 1, (2, ids, 2))
    user, item = rng.integers(0, ids, (2, examples))
    odds = 1 / (1 + np.exp(-weight * (users[user] * items[item]).sum(axis=1)))
    label = (rng.random(examples) < odds).astype(np.float32)
    log = Log(dense=np.zeros((examples, 0), np.float32), ids=np.stack([user, item], axis=1), label=label)
    tenth = examples // 10
    return Splits(
        train=log.take(slice(0, -2 * tenth)),
        validation=log.take(slice(-2 * tenth, -tenth)),
        test=log.take(slice(-tenth, None)),
    )


def test_a_first_stage_that_collapsed_is_tried_again_with_a_smaller_l2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tablefold.trainer.config.FIRST_STAGE_EPOCHS", 3)  # with more it would leave zero
    config = LEARNED.model_copy(update={"vectors_without_dense": False})
    splits, watching = pairs(0.5), Watching()
    train(SCHEMA, splits, config, tmp_path / "m", callback=watching)
    assert [stage.name for stage in watching.stages] == ["first stage", "first stage", "training"]
    (warning,) = watching.warnings
    assert warning.startswith(
        "the first stage learned nothing with an L2 of 0.01 (validation normalised entropy"
    )
    assert warning.endswith("; trying 0.001")
    tried = [checkpoints.load(tmp_path / f"m.stage1{end}").description for end in ("", "-l2-0.001")]
    assert [description.config.l2 for description in tried] == [0.01, 0.001]
    entropies = [description.metrics["validation_normalised_entropy"] for description in tried]
    assert entropies[0] > 0.99 >= entropies[1]
    assert [description.metrics.get("collapsed") for description in tried] == [1, None]
    (tmp_path / "m" / checkpoints.DESCRIPTION).unlink()
    (tmp_path / "m" / checkpoints.ARRAYS).unlink()
    (tmp_path / "m" / checkpoints.VALIDATION).unlink()
    again = Watching()
    train(SCHEMA, splits, config, tmp_path / "m", callback=again, resume=True)
    assert [stage.name for stage in again.stages] == ["training"]


@pytest.mark.parametrize("warm_start", [False, True])
def test_nothing_is_clustered_where_no_first_stage_learns(tmp_path: Path, warm_start: bool) -> None:
    watching = Watching()
    config = LEARNED.model_copy(update={"warm_start": warm_start})
    with pytest.raises(TrainingError, match="do not say which ids are alike: give a longer log, or a method"):
        train(SCHEMA, pairs(0), config, tmp_path / "m", callback=watching)
    assert {stage.name for stage in watching.stages} == {"first stage"}
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("warm_start", [False, True])
def test_where_few_validation_examples_judge_it_ids_are_clustered_by_frequency(
    tmp_path: Path, warm_start: bool
) -> None:
    watching, splits = Watching(), pairs(0, 900)
    config = LEARNED.model_copy(update={"warm_start": warm_start})
    checkpoint = train(SCHEMA, splits, config, tmp_path / "m", callback=watching)
    first_stages = 1 if warm_start else 3
    assert [stage.name for stage in watching.stages] == ["first stage"] * first_stages + ["training"]
    assert "as far as 90 validation examples can say: ids are clustered by how" in watching.warnings[-1]
    assert checkpoint.description.metrics["first_stage_collapsed"] == 1
    by_frequency = train(SCHEMA, splits, LEARNED.model_copy(update={"method": "lhf-f"}), tmp_path / "f")
    assert "first_stage_collapsed" not in by_frequency.description.metrics
    for (found,), (same,) in zip(checkpoint.row_maps, by_frequency.row_maps, strict=True):
        np.testing.assert_array_equal(found.keys, same.keys)
        np.testing.assert_array_equal(found.rows, same.rows)
        assert found.num_rows < len(found.keys)


def test_a_model_that_learned_nothing_is_said_to_in_its_metrics_and_in_the_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    lines = [
        f"{label},{id_}" for label, id_ in zip(rng.integers(0, 2, 900), rng.integers(0, 9, 900), strict=True)
    ]
    (tmp_path / "chance.csv").write_text("\n".join(["click,sku", *lines, ""]))
    (tmp_path / "chance.toml").write_text(
        'name = "chance"\nlabel = "click"\n[files]\nformat = "csv"\npath = "chance.csv"\n'
        '[[categorical]]\nname = "sku"\nencoding = "int"\n'
    )
    arguments = ["--data", str(tmp_path / "chance.toml"), "--split", "random", "--epochs", "1"]
    monkeypatch.setattr("sys.argv", ["tablefold", "train", *arguments, "--out", str(tmp_path / "m")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert (
        "it learned next to nothing: its validation normalised entropy is"
        in (capsys.readouterr().err.strip().splitlines()[-1])
    )
    metrics = checkpoints.load(tmp_path / "m").description.metrics
    assert metrics["collapsed"] == 1
    assert metrics["validation_normalised_entropy"] > 0.99
    lines = [json.loads(line) for line in (tmp_path / "m.metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["collapsed"] == 1


@pytest.mark.parametrize("network", ["dlrm", "dcnv2", "deepfm"])
def test_a_single_feature_without_dense_values_is_learned(tmp_path: Path, network: str) -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 20, (2000, 1))
    label = (rng.random(2000) < np.where(ids[:, 0] % 2, 0.9, 0.1)).astype(np.float32)
    log = Log(dense=np.zeros((2000, 0), np.float32), ids=ids, label=label)
    splits = Splits(
        train=log.take(slice(0, 1600)),
        validation=log.take(slice(1600, 1800)),
        test=log.take(slice(1800, None)),
    )
    schema = FeatureSchema(name="one", categorical=SCHEMA.categorical[:1])
    config = TrainConfig(dim=4, batch_size=32, epochs=2, top=(16,), network=network)
    metrics = train(schema, splits, config, tmp_path / "m").description.metrics
    assert metrics["test_auc"] > 0.85
    assert "collapsed" not in metrics
