"""The line that says that the network outweighs the tables."""

from pathlib import Path

import pytest

from tablefold.logs.formats import synthetic
from tablefold.trainer.defaults.outweighed import advice_if_outweighed
from tablefold.trainer.training.run import train
from tests.trainer.runs import SMALL, splits


def test_a_network_larger_than_the_tables_is_named_with_the_remedy(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"top": (512, 256), "method": "hash", "row_ratio": 100.0})
    checkpoint = train(synthetic.SCHEMA, splits(), config, tmp_path / "m")
    weights = sum(weight.numel() for weight in checkpoint.model.network.parameters())
    rows = checkpoint.model.collection.table.vectors.num_embeddings
    assert advice_if_outweighed(checkpoint) == (
        f"the network takes {4 * weights:,} bytes and the tables {4 * 4 * rows:,}: "
        "--top 64,32 --bottom 64,32 makes it smaller, and "
        "`tablefold export --network-type int8` stores it in about a quarter"
    )


@pytest.mark.parametrize("inner_dim", [2, 4, 8])
def test_the_tables_of_mlet_count_as_they_are_folded(tmp_path: Path, inner_dim: int) -> None:
    changes = {"top": (512, 256), "method": "hash+mlet", "row_ratio": 100.0, "inner_dim": inner_dim}
    checkpoint = train(synthetic.SCHEMA, splits(), SMALL.model_copy(update=changes), tmp_path / "m")
    rows, projection = checkpoint.model.collection.table.fold()
    values = rows.numel() + (0 if projection is None else projection.numel())
    assert f"and the tables {4 * values:,}:" in str(advice_if_outweighed(checkpoint))


def test_nothing_is_said_of_a_small_network(tmp_path: Path) -> None:
    assert advice_if_outweighed(train(synthetic.SCHEMA, splits(), SMALL, tmp_path / "m")) is None
