"""Models trained elsewhere: taken over unchanged, or refused by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tablefold.errors import CheckpointError, UsageError
from tablefold.exporter.export import export
from tablefold.logs import Log
from tablefold.logs.formats import movielens
from tablefold.schema import MISSING, CategoricalFeature, DenseFeature, Encoding, FeatureSchema
from tablefold.trainer.adoption.adopt import Array, adopt
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.compression.compress import compress
from tablefold.trainer.compression.feature_table import feature_tables

Trained = Callable[..., tuple[Checkpoint, Path]]


def test_a_model_taken_apart_and_adopted_gives_its_own_predictions(trained: Trained) -> None:
    checkpoint = trained("full")[0]
    schema, network = checkpoint.description.feature_schema, checkpoint.model.network.module
    rng = np.random.default_rng(0)
    ids, vectors, counts, unknown = (dict[str, Array]() for _ in range(4))
    for feature in feature_tables(checkpoint):
        order = rng.permutation(len(feature.row_maps[0].keys))  # ids come in no order
        ids[feature.name] = feature.row_maps[0].keys[order]
        vectors[feature.name] = feature.vectors[feature.row_maps[0].rows[order]]
        counts[feature.name] = feature.counts[feature.row_maps[0].rows[order]]
        unknown[feature.name] = feature.vectors[feature.row_maps[0].hashed_first].numpy()
    rows = checkpoint.validation
    adopted = adopt(schema, ids, vectors, network, rows, counts_of=counts, unknown_of=unknown)
    assert np.array_equal(adopted.model.predict(rows), checkpoint.model.predict(rows))
    expected = checkpoint.description.metrics["validation_logloss"]
    assert adopted.description.metrics["validation_logloss"] == pytest.approx(expected, abs=1e-6)
    for ours, theirs in zip(feature_tables(adopted), feature_tables(checkpoint), strict=True):
        assert dict(zip(ours.row_maps[0].keys, ours.counts[ours.row_maps[0].rows], strict=True)) == dict(
            zip(theirs.row_maps[0].keys, theirs.counts[theirs.row_maps[0].rows], strict=True)
        )


class Sum(nn.Module):
    """The smallest network there is, as somebody else wrote it."""

    def __init__(self, *_: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([0.5]))

    def forward(self, dense: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        return self.scale * (dense.sum(1) + vectors.sum((1, 2)))


def test_vectors_of_several_values_are_summed_and_unknown_ids_get_the_weighted_mean(tmp_path: Path) -> None:
    state = nn.ModuleDict({f.name: nn.Embedding(4, 2) for f in movielens.SCHEMA.categorical}).state_dict()
    names = [feature.name for feature in movielens.SCHEMA.categorical]
    ids: dict[str, Array] = {name: np.array([7, -3, 2**40, 5]) for name in names}
    vectors: dict[str, Array] = {name: state[f"{name}.weight"] for name in names}
    raw = np.array([[7, 5, -3, 2**40, 7, 5, 7, 5, MISSING, 99, MISSING, MISSING]] * 2)
    rows = Log(dense=np.zeros((2, 0), np.float32), ids=raw, label=np.array([0, 1], np.float32))
    counts: dict[str, Array] = {"genres": np.array([3, 0, 4, 0])}
    adopted = adopt(movielens.SCHEMA, ids, vectors, Sum(), rows, counts_of=counts)
    genres = state["genres.weight"]
    # An id that was never counted counts one.
    mean = (3 * genres[0] + genres[1] + 4 * genres[2] + genres[3]) / 9
    place = [0, 3, 1, 2, 0, 3]
    total = sum(state[f"{name}.weight"][row].sum() for name, row in zip(names, place, strict=False))
    logit = 0.5 * (total + genres[0].sum() + genres[3].sum() + mean.sum())
    np.testing.assert_allclose(adopted.model.predict(rows), torch.sigmoid(logit).expand(2), atol=1e-6)
    checkpoints.save(adopted, tmp_path / "adopted")
    with pytest.raises(CheckpointError, match=r"network is .*:Sum, .*name its factory again"):
        checkpoints.load(tmp_path / "adopted")
    again = checkpoints.load(tmp_path / "adopted", Sum)
    assert np.array_equal(again.model.predict(rows), adopted.model.predict(rows))
    export(compress(again, rank=1).checkpoint, tmp_path, "m")


SCHEMA = FeatureSchema(
    name="x",
    dense=(DenseFeature(name="price"),),
    categorical=(
        CategoricalFeature(name="user", encoding=Encoding.INT),
        CategoricalFeature(name="tags", encoding=Encoding.INT, slots=2),
    ),
)
ROWS = Log(
    dense=np.zeros((4, 1), np.float32),
    ids=np.zeros((4, 3), np.int64),
    label=np.array([0, 1, 0, 1], np.float32),
)
IDS, VECTORS = np.array([3, 1, 2]), np.ones((3, 2), np.float32)


def no_number() -> np.ndarray:
    vectors = VECTORS.copy()
    vectors[1, 0] = np.nan
    return vectors


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ids_of": {"user": IDS}}, "feature 'tags' has no ids"),
        ({"vectors_of": {"tags": VECTORS}}, "feature 'user' has no vectors"),
        ({"ids_of": {"user": IDS, "tags": IDS, "tag": IDS}}, "ids of 'tag' are given, which is no categor"),
        ({"ids_of": {"user": np.array([3, 1, 3]), "tags": IDS}}, "feature 'user' has the id 3 twice"),
        ({"ids_of": {"user": IDS[:2], "tags": IDS}}, r"'user' needs ids \[n\] and .* has \[2\] and \[3, 2\]"),
        ({"ids_of": {"user": IDS * 1.5, "tags": IDS}}, "'user': ids are float64, not int64"),
        ({"ids_of": {"user": IDS.astype(np.uint64), "tags": IDS}}, r"uint64, .*hash\.view"),
        ({"ids_of": {"user": IDS, "tags": np.array([MISSING, 1, 2])}}, "'tags' has a vector for the missing"),
        ({"vectors_of": {"user": no_number(), "tags": VECTORS}}, "'user': the vector of the id 1 is not all"),
        ({"vectors_of": {"user": IDS, "tags": VECTORS}}, "'user': vectors are torch.int64, not float32"),
        ({"counts_of": {"user": np.array([1, -1, 1])}}, r"'user' needs counts \[3\], none negative"),
        ({"unknown_of": {"user": np.ones(3)}}, "'user': the unknown vector must be 2 numbers"),
        ({"validation": ROWS.take(slice(0, 0))}, r"validation examples need dense \[n, 1\], ids \[n, 3\]"),
        ({"validation": Log(dense=ROWS.dense, ids=ROWS.ids, label=None)}, "validation examples need"),
        (
            {"validation": Log(dense=ROWS.dense, ids=ROWS.ids, label=ROWS.dense[:, 0] + 5)},
            "labels of 0 and 1",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change: dict[str, object], says: str) -> None:
    both = {"user": IDS, "tags": IDS}
    fits = {"ids_of": both, "vectors_of": dict.fromkeys(both, VECTORS), "network": Sum(), "validation": ROWS}
    adopt(SCHEMA, **fits)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=says):
        adopt(SCHEMA, **fits | change)  # type: ignore[arg-type]


def test_a_network_that_gives_no_logit_is_refused() -> None:
    both: dict[str, Array] = {"user": IDS, "tags": IDS}
    vectors: dict[str, Array] = dict.fromkeys(both, VECTORS)
    with pytest.raises(UsageError, match=r"gives torch\.float32 \[2, 2, 2\] for 2 rows"):
        adopt(SCHEMA, both, vectors, Everything(), ROWS)


class Everything(nn.Module):
    """Gives back what it gets."""

    def forward(self, dense: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        return vectors
