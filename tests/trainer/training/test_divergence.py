"""A loss that is no number: the message names what made it so, and the checkpoint that is still good."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tablefold.errors import TrainingError
from tablefold.logs.formats import synthetic
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.checkpoint.checkpoint import build_model
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.networks.ctr_model import CTRModel
from tablefold.trainer.training.divergence import explain_divergence
from tablefold.trainer.training.run import train
from tests.trainer.runs import SMALL, Diverging, splits


def spoil_vector(model: CTRModel) -> None:
    with torch.no_grad():
        model.collection.table.vectors.weight[model.collection.rows_of[5](np.array([7]))] = torch.nan


def spoil_projection(model: CTRModel) -> None:
    with torch.no_grad():
        model.get_parameter("collection.table.projection")[2, 1, 1] = 1e20


def spoil_network(model: CTRModel) -> None:
    with torch.no_grad():
        model.get_parameter("network.module.logit.bias")[0] = -torch.inf


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (spoil_vector, r"the vector of the id 7 of 'C5' holds nan; lower --embedding-lr"),
        (spoil_projection, r"the weights collection\.table\.projection of 'C3' hold 1e\+20; lower --lr"),
        (spoil_network, r"the weights network\.module\.logit\.bias hold -inf; lower --lr"),
        (lambda _: None, "look at the network's own computation"),
    ],
)
def test_the_culprit_is_named(spoil: Callable[[CTRModel], None], says: str) -> None:
    own = RowMap(keys=np.arange(10), rows=np.arange(10), hashed_first=10, hashed_rows=1)
    maps = [(own,) for _ in synthetic.SCHEMA.categorical]
    maps[1] = (own, own)  # from there on a column of rows is not that of the ids
    config = TrainConfig(method="mlet", dim=4, inner_dim=8, bottom=(8,), top=(8,))
    model = build_model(synthetic.SCHEMA, config, maps)
    log = synthetic.generate(20)
    log.ids[:] = 7
    spoil(model)
    assert explain_divergence(model, log, np.arange(3, 9)).endswith(says.replace("\\", ""))


def test_an_infinite_dense_value_is_named_with_its_row(tmp_path: Path) -> None:
    data = splits(500)
    data.train.dense[7, 2] = np.inf
    says = (
        r"the loss became \S+ in epoch 1, step 1: the dense feature 'I3' is inf in row 8; .*"
        r"no epoch was finished"
    )
    with pytest.raises(TrainingError, match=says):
        train(synthetic.SCHEMA, data, SMALL.model_copy(update={"batch_size": 400}), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_the_last_good_checkpoint_is_named(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"epochs": 2, "network": "tests.trainer.runs:Diverging"})
    with pytest.raises(TrainingError, match=r"in epoch 2, step 1: .* the network's own") as stopped:
        train(synthetic.SCHEMA, splits(500), config, tmp_path / "m")
    assert f"(the last good checkpoint is {tmp_path / 'm'})" in str(stopped.value)
    good = checkpoints.load(tmp_path / "m", Diverging)
    assert not good.description.metrics.keys() & {"test_logloss"}
