"""Training runs: every method learns, keeps its best epoch, and reads back the same."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tablefold.errors import CheckpointError, UsageError
from tablefold.logs.formats import synthetic
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.checkpoint.checkpoint import Checkpoint, build_model
from tablefold.trainer.methods.clustering import brute_force, cluster, in_cells
from tablefold.trainer.methods.registry import ROW_MAPS, Method
from tablefold.trainer.training.run import train
from tests.conftest import METHODS
from tests.trainer.runs import SMALL, Watching, splits

Trained = Callable[..., tuple[Checkpoint, Path]]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_something_and_reads_back_the_same(method: str, trained: Trained) -> None:
    checkpoint, folder = trained(method)
    again = checkpoints.load(folder)
    assert again.description == checkpoint.description
    rows = checkpoint.validation.take(slice(0, 100))
    assert np.array_equal(again.model.predict(rows), checkpoint.model.predict(rows))
    assert checkpoint.description.metrics["test_auc"] > 0.55


def test_hashes_have_as_many_times_fewer_rows_as_asked(trained: Trained) -> None:
    rows = {m: trained(m)[0].model.collection.table.vectors.num_embeddings for m in METHODS}
    assert rows["full"] == rows["mlet"]
    for method in ("hash", "double", "lhf", "lhf+mlet"):
        assert rows[method] < rows["full"] / 3


@pytest.mark.parametrize("method", [name for name in ROW_MAPS if name not in METHODS])
def test_every_other_method_trains_and_reads_back_too(method: str, tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"method": f"{method}+mlet", "method_of": {"C3": "double"}})
    checkpoint = train(synthetic.SCHEMA, splits(), config, tmp_path / "m")
    assert len(checkpoint.row_maps[2]) == 2
    assert (len(checkpoint.row_maps[3]) == 2) == (method == "qr")
    again = checkpoints.load(tmp_path / "m")
    assert np.array_equal(again.model.predict(again.validation), checkpoint.model.predict(again.validation))


def test_a_learned_hash_keeps_its_first_stage(trained: Trained) -> None:
    _, folder = trained("lhf")
    first = checkpoints.load(folder.with_name("lhf.stage1"))
    assert first.description.config.method == "mlet"


def test_clustering_puts_alike_ids_together_and_frequent_ones_apart() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 5, (8, 4))
    group = rng.integers(0, 8, 400)
    vectors = (centres[group] + rng.normal(0, 0.1, (400, 4))).astype(np.float32)
    counts = np.full(400, 3)
    rows = cluster(vectors, counts, 8, seed=0)
    pure = [len(set(group[rows == row].tolist())) == 1 for row in range(rows.max() + 1)]
    assert sum(pure) >= 6
    assert set(rows.tolist()) == set(range(rows.max() + 1))
    counts[0] = 1_000_000  # dear to merge with anything (Ward)
    private = cluster(vectors, counts, 20, seed=0)
    assert np.abs(vectors[private == private[0]] - vectors[0]).max() < 0.5
    assert np.array_equal(cluster(vectors[:5], counts[:5], 9, seed=0), np.arange(5))


def test_clustering_in_cells_costs_little_more_than_comparing_every_id_with_every_row() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(0, 1, (8000, 3)).astype(np.float32) ** 3
    counts = np.floor(2 * rng.random(8000) ** -0.8)

    def cost(row_of: np.ndarray) -> float:
        total = np.bincount(row_of, counts)
        means = [np.bincount(row_of, counts * column) / np.maximum(total, 1) for column in vectors.T]
        return float((counts * ((vectors - np.stack(means, axis=1)[row_of]) ** 2).sum(axis=1)).sum())

    cells, every = (method(vectors, counts, 200, seed=0) for method in (in_cells, brute_force))
    assert cells.max() < 200
    assert cost(cells) < 1.25 * cost(every)


def test_ids_that_are_all_alike_still_share_all_rows() -> None:
    alike, ones = np.ones((3000, 4), np.float32), np.ones(3000)
    assert np.bincount(in_cells(alike, ones, 100, seed=0)).tolist() == [30] * 100


def test_the_best_epoch_is_kept_and_a_worse_one_ends_the_run(tmp_path: Path) -> None:
    watched = Watching()
    config = SMALL.model_copy(update={"epochs": 12, "embedding_lr": 0.05})
    checkpoint = train(synthetic.SCHEMA, splits(), config, tmp_path / "m", callback=watched)
    losses = [epoch.validation["logloss"] for epoch in watched.epochs]
    assert len(losses) < 12
    assert losses[-1] > min(losses)
    assert checkpoint.description.metrics["validation_logloss"] == min(losses)


@pytest.mark.parametrize("name", ["", "fulll", "lhf+hash", "mlet+mlet", "lhf+mlet+mlet"])
def test_an_unknown_method_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="give one of full, hash, double"):
        Method.parse(name)


def damage_weights(folder: Path) -> None:
    path = folder / checkpoints.ARRAYS
    path.write_bytes(path.read_bytes()[:-100])


def damage_schema(folder: Path) -> None:
    path = folder / checkpoints.DESCRIPTION
    content = json.loads(path.read_text())
    content["config"]["dim"] = 5
    path.write_text(json.dumps(content))


def remove_weights(folder: Path) -> None:
    (folder / checkpoints.ARRAYS).unlink()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damage_weights, "is damaged"),
        (damage_schema, "does not fit its description"),
        (remove_weights, "is not a checkpoint"),
    ],
)
def test_a_damaged_checkpoint_is_refused(
    trained: Trained, tmp_path: Path, damage: Callable[[Path], None], says: str
) -> None:
    checkpoint, _ = trained("full")
    folder = tmp_path / "copy"
    checkpoints.save(checkpoint, folder)
    damage(folder)
    with pytest.raises(CheckpointError, match=says):
        checkpoints.load(folder)


def test_the_command_reports_bad_input_with_exit_code_2(tmp_path: Path, refused: Callable[..., str]) -> None:
    for arguments, says in [
        (["--data", "synthetic:500", "--method", "magic"], "--method 'magic' is not known"),
        (["--data", "criteo:/no/such"], "/no/such: there is no such file"),
        (
            ["--data", "synthetic:500", "--embedding-lr", "-1"],
            "--embedding-lr -1.0: Input should be greater than 0",
        ),
        (["--data", "synthetic:500", "--method-of", "C99=hash"], "--method-of names 'C99', which is no"),
        (["--data", "synthetic:500", "--method-of", "hash"], "--method-of 'hash': give FEATURE=METHOD"),
        (["--data", "synthetic:500", "--row-ratio-of", "C3=0.5"], "--row-ratio-of C3=0.5: Input should be"),
        (["--data", "synthetic:500", "--split", "odd"], "'odd' is not one of"),
    ]:
        assert says in refused("train", "--out", tmp_path / "m", *arguments)


def test_nothing_but_an_older_checkpoint_is_ever_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "thesis" / "chapter1.tex"
    precious.parent.mkdir()
    precious.write_text("years of work")
    with pytest.raises(UsageError, match="exists and is not a checkpoint; give another --out"):
        train(synthetic.SCHEMA, splits(500), SMALL, precious.parent)
    assert precious.read_text() == "years of work"
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(UsageError, match="circle is a link that leads nowhere; give another --out"):
        train(synthetic.SCHEMA, splits(500), SMALL, tmp_path / "circle")
    for _ in range(2):
        train(synthetic.SCHEMA, splits(500), SMALL, tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_fixed_projection_stays_as_drawn_while_the_rows_learn(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"method": "full+fixed", "inner_dim": 8, "optimizer": "sgd", "lr": 0.2})
    checkpoint = train(synthetic.SCHEMA, splits(), config, tmp_path / "m")
    drawn = build_model(synthetic.SCHEMA, config, checkpoint.row_maps)
    before, after = (model.collection.table for model in (drawn, checkpoint.model))
    assert torch.equal(before.projection, after.projection)  # type: ignore[attr-defined, arg-type]
    assert not torch.equal(before.vectors.weight, after.vectors.weight)


def test_a_penalty_on_vectors_makes_them_shorter(tmp_path: Path) -> None:
    def length(l2: float) -> float:
        config = SMALL.model_copy(update={"l2": l2})
        model = train(synthetic.SCHEMA, splits(), config, tmp_path / str(l2)).model
        return float(model.collection.table.vectors.weight.detach().norm())

    assert length(0.1) < 0.9 * length(0)


def test_features_of_which_no_id_is_known_are_named(tmp_path: Path) -> None:
    rare, *others = synthetic.SCHEMA.categorical
    rare = rare.model_copy(update={"min_count": 10**9})
    schema = synthetic.SCHEMA.model_copy(update={"categorical": (rare, *others)})
    watching = Watching()
    train(schema, splits(300), SMALL, tmp_path / "m", callback=watching)
    (warning,) = watching.warnings
    assert warning.startswith(f"no id of {rare.name!r} occurs 1,000,000,000 times in the training examples")
    known_from = SMALL.model_copy(update={"known_from": 10**6})
    train(schema, splits(300), known_from, tmp_path / "none", callback=watching)
    assert all(repr(feature.name) in watching.warnings[-1] for feature in schema.categorical)
    assert len(watching.warnings) == 2
