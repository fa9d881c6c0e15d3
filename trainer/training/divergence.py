"""Where a loss comes from that is not a number: the feature, the id or the weights that are extreme.

Looked for in the order in which one makes the next: a dense value makes the network's weights what they
are, and those the vectors of ids.
"""

import numpy as np
import torch
from torch import Tensor

from tablefold.logs import EncodedLog, Log
from tablefold.trainer.networks.ctr_model import CTRModel

EXTREME = 1e6
"""No value that a network computes well with is larger."""
PROJECTION = "collection.table.projection"
"""MLET's, one a feature."""


@torch.no_grad()
def explain_divergence(model: CTRModel, log: Log | EncodedLog, numbers: np.ndarray) -> str:
    """What is extreme in these rows of a log [n], or in the weights they reach, and what to do about it.

    They are those of the step that failed and of the one before, whose gradients made the weights what they
    are.
    """
    rows = log.take(numbers)
    return (
        _dense_value(model, rows, numbers)
        or _vector(model, rows)
        or _parameter(model)
        or "no dense value, vector or weight is extreme, so look at the network's own computation"
    )


def _dense_value(model: CTRModel, rows: Log, numbers: np.ndarray) -> str | None:
    found = _largest(model.network.transform(torch.from_numpy(rows.dense)))
    if found is None:
        return None
    row, column = found
    name = model.collection.schema.dense[column].name
    return (
        f"the dense feature {name!r} is {rows.dense[row, column]:g} in row {numbers[row] + 1}; clip it, or "
        'give it transform = "log1p"'
    )


def _vector(model: CTRModel, rows: Log) -> str | None:
    collection = model.collection
    vectors = collection.table.vectors(torch.from_numpy(collection.rows(rows.ids)).long())
    found = _largest(vectors)
    if found is None:
        return None
    row, column, value = found
    features, id_column = collection.columns.feature, collection.columns.id_column
    name = collection.schema.categorical[features[column]].name
    alike = len(np.unique(features[(~(vectors.abs() <= EXTREME)).any(dim=2).any(dim=0).numpy()]))
    others = f" (and vectors of {alike - 1} other features are extreme too)" if alike > 1 else ""
    return (
        f"the vector of the id {rows.ids[row, id_column[column]]} of {name!r} holds "
        f"{vectors[row, column, value]:g}{others}; lower --embedding-lr"
    )


def _parameter(model: CTRModel) -> str | None:
    looked_up = model.collection.table.vectors.weight
    for name, parameter in model.named_parameters():
        found = None if parameter is looked_up else _largest(parameter)
        if found is not None:
            names = [feature.name for feature in model.collection.schema.categorical]
            of_feature = f" of {names[found[0]]!r}" if name == PROJECTION else ""
            return f"the weights {name}{of_feature} hold {parameter[found]:g}; lower --lr"
    return None


def _largest(values: Tensor) -> tuple[int, ...] | None:
    """The place of the value that is the furthest from being one to compute with, if any is extreme."""
    size = values.abs().nan_to_num(nan=torch.inf)
    if size.numel() == 0 or size.max() <= EXTREME:
        return None
    return tuple(int(i) for i in torch.unravel_index(size.argmax(), size.shape))
