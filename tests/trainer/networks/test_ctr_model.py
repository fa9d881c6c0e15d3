"""Tables, collection and network: fold equals unfold, a batch equals its rows, gradients stay sparse."""

import numpy as np
import pytest
import torch

from tablefold.logs import Log
from tablefold.logs.formats import movielens, synthetic
from tablefold.schema import MISSING, DenseFeature, FeatureSchema, Pooling, Transform
from tablefold.trainer.checkpoint.checkpoint import build_model
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.embedding.table import MLET, PADDING_ROWS
from tablefold.trainer.networks.ctr_model import CTRModel, DenseTransform


def model_of(schema: FeatureSchema, method: str, summed: int = 1) -> CTRModel:
    """Each feature has so many row maps that are summed."""
    maps = tuple(
        (RowMap(keys=np.arange(10), rows=np.arange(10), hashed_first=10, hashed_rows=7, salt=index),) * summed
        for index, _ in enumerate(schema.categorical)
    )
    config = TrainConfig(method=method, dim=4, inner_dim=8, bottom=(8,), top=(8,), seed=3)
    return build_model(schema, config, maps)


def movielens_rows(rows: int) -> Log:
    rng = np.random.default_rng(0)
    ids = rng.integers(-5, 15, (rows, movielens.SCHEMA.id_columns))
    ids[rng.random(ids.shape) < 0.2] = MISSING
    return Log(dense=np.zeros((rows, 0), np.float32), ids=ids, label=None)


@pytest.mark.parametrize("method", ["full", "mlet"])
@pytest.mark.parametrize("summed", [1, 2])
def test_folding_changes_no_vector(method: str, summed: int) -> None:
    model = model_of(movielens.SCHEMA, method, summed)
    collection = model.collection
    rows = torch.from_numpy(collection.rows(movielens_rows(50).ids).astype(np.int64))
    vectors = collection(rows)
    folded, projection = collection.table.fold()
    assert folded.shape == (PADDING_ROWS + 7 * 17, 4)
    assert projection is None
    pooled = torch.zeros_like(vectors).index_add(
        1, torch.from_numpy(movielens.SCHEMA.feature_of_column.repeat(summed)), folded[rows]
    )
    torch.testing.assert_close(vectors, pooled, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("method", ["full", "mlet"])
def test_empty_slots_of_a_multi_valued_feature_add_nothing(method: str) -> None:
    collection = model_of(movielens.SCHEMA, method).collection
    log = movielens_rows(1)
    log.ids[0, -6:] = [3, MISSING, MISSING, 4, MISSING, MISSING]
    packed = log.ids.copy()
    packed[0, -6:] = [4, 3, MISSING, MISSING, MISSING, MISSING]
    empty = log.ids.copy()
    empty[0, -6:] = MISSING
    vectors = [
        collection(torch.from_numpy(collection.rows(ids).astype(np.int64)))[0, -1]
        for ids in (log.ids, packed, empty)
    ]
    torch.testing.assert_close(vectors[0], vectors[1])
    assert not vectors[2].any()


@pytest.mark.parametrize("summed", [1, 2])
def test_a_mean_is_of_the_values_that_are_there(summed: int) -> None:
    genres = movielens.SCHEMA.categorical[-1].model_copy(update={"pooling": Pooling.MEAN})
    schema = movielens.SCHEMA.model_copy(update={"categorical": (*movielens.SCHEMA.categorical[:-1], genres)})
    sums, means = (model_of(pooled, "mlet", summed).collection for pooled in (movielens.SCHEMA, schema))
    log = movielens_rows(200)
    log.ids[0, -6:] = MISSING
    values = (log.ids[:, -6:] != MISSING).sum(axis=1, keepdims=True)
    rows = torch.from_numpy(sums.rows(log.ids).astype(np.int64))
    torch.testing.assert_close(means(rows)[:, :-1], sums(rows)[:, :-1])
    expected = sums(rows)[:, -1] / torch.from_numpy(np.maximum(values, 1))
    torch.testing.assert_close(means(rows)[:, -1], expected)
    assert not means(rows)[0, -1].any()


@pytest.mark.parametrize("schema", [synthetic.SCHEMA, movielens.SCHEMA], ids=["dense", "no dense"])
def test_a_batch_gives_what_its_rows_give_alone(schema: FeatureSchema) -> None:
    log = synthetic.generate(9) if schema is synthetic.SCHEMA else movielens_rows(9)
    model = model_of(schema, "mlet")
    together = model.predict(log)
    alone = [model.predict(log.take(slice(row, row + 1)))[0] for row in range(9)]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert len(model.predict(log.take(slice(0, 0)))) == 0


def test_only_rows_of_the_batch_get_gradients() -> None:
    model = model_of(movielens.SCHEMA, "full")
    rows = torch.from_numpy(model.collection.rows(movielens_rows(2).ids).astype(np.int64))
    model(torch.zeros(2, 0), rows).sum().backward()
    gradient = model.collection.table.vectors.weight.grad
    assert gradient is not None
    assert gradient.is_sparse
    assert set(gradient.coalesce().indices()[0].tolist()) <= set(rows.flatten().tolist())


def test_dense_values_are_transformed_as_the_schema_says() -> None:
    transform = DenseTransform(
        [DenseFeature(name="a", transform=Transform.LOG1P), DenseFeature(name="b", transform=Transform.NONE)]
    )
    raw = torch.tensor([[np.e - 1, -2.5], [-3.0, np.nan], [np.nan, 1e30]], dtype=torch.float32)
    expected = torch.tensor([[1.0, -2.5], [0.0, 0.0], [0.0, 1e30]])
    torch.testing.assert_close(transform(raw), expected)


def test_mlet_starts_as_the_papers_code_does() -> None:
    torch.manual_seed(0)
    table = MLET([400, 10], dim=16, inner_dim=64)
    assert abs(float(table.projection.detach().std()) - 0.25) < 0.02
    first = table.vectors.weight[PADDING_ROWS : PADDING_ROWS + 400]
    assert 0.045 < float(first.detach().abs().max()) < 0.0501  # 1 / sqrt(400)
    assert not table.vectors.weight[0].any()
