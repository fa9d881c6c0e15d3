"""Ids regroup: each chooses anew, among the rows near its own, the one that its own examples lose least with.

Rows are merged by what examples feel on average (see `curvature`). What the examples of one id feel is known
better once the model has learned on with fewer rows. That is the assignment step of k-means, with the logloss
itself for the distance; tuning, which moves the rows, is the other step.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from tablefold.logs import EncodedLog
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.compression.curvature import curvatures, metric
from tablefold.trainer.compression.feature_table import FeatureTable, feature_tables, rebuild
from tablefold.trainer.compression.forget import can_forget
from tablefold.trainer.methods.registry import Method

NEAR = 16
"""Rows that an id chooses from, its own among them."""
EXAMPLES = 1 << 20
"""So many are looked at, evenly spread over the log."""
EXAMPLES_AT_ONCE, DISTANCES_AT_ONCE = 1 << 14, 1 << 22
MOST_ROWS = 1 << 14
"""A feature of more rows stays as it is: all distances between them are too many."""


def regroup(checkpoint: Checkpoint, log: EncodedLog) -> Checkpoint:
    """Return the checkpoint after each feature of shared rows, one after the other, has regrouped its ids.

    The log's labels, float32 from 0 to 1, may be expectations. Features of several ids an example and those
    of several row maps stay as they are. Rows and their number stay, though one may have no id any more.
    """
    columns = checkpoint.description.feature_schema.feature_of_column
    for feature in range(len(checkpoint.row_maps)):
        table, (column, *others) = feature_tables(checkpoint)[feature], np.flatnonzero(columns == feature)
        rows = table.can_merge.sum()
        shared = can_forget(table) and rows < len(table.row_maps[0].keys) and rows <= MOST_ROWS
        if shared and not others:
            checkpoint = _regrouped(checkpoint, log, feature, int(column))
    return checkpoint


def _regrouped(checkpoint: Checkpoint, log: EncodedLog, feature: int, column: int) -> Checkpoint:
    tables = feature_tables(checkpoint)
    table = tables[feature]
    row_map, own = table.row_maps[0], np.flatnonzero(table.can_merge)
    near = _near(table, metric(curvatures(checkpoint)[feature]))
    losses = _losses(checkpoint, log, feature, column, near)
    chosen = near[row_map.rows, losses.argmin(axis=1)]
    # A row that is none of the mergeable ones, as that of a missing value may be, is kept.
    rows = np.where(np.isin(row_map.rows, own), chosen, row_map.rows)
    tables[feature] = replace(table, row_maps=(replace(row_map, rows=rows),))
    method = Method.parse(checkpoint.description.config.method)
    return rebuild(checkpoint, tables, method.row_map, "regrouped")


def _near(table: FeatureTable, root: Tensor) -> np.ndarray:
    """Return int64 [rows, NEAR]: the rows nearest to each as the logloss feels it, its own first."""
    own, felt = np.flatnonzero(table.can_merge), table.vectors @ root
    count = min(NEAR, len(own))
    near = np.tile(np.arange(len(felt))[:, None], count)
    for some in np.array_split(own, len(own) ** 2 // DISTANCES_AT_ONCE + 1):
        nearest = torch.cdist(felt[some], felt[own]).topk(count, largest=False).indices.numpy()
        near[some] = own[nearest]
    return near


@torch.no_grad()
def _losses(
    checkpoint: Checkpoint, log: EncodedLog, feature: int, column: int, near: np.ndarray
) -> np.ndarray:
    """Return float64 [known, NEAR]: the logloss summed over each id's examples, with each of its rows."""
    model, table = checkpoint.model, feature_tables(checkpoint)[feature]
    row_map, vectors = table.row_maps[0], table.vectors
    losses = np.zeros((len(row_map.keys), near.shape[1]))
    step = -(-len(log) // EXAMPLES)
    model.eval()
    for start in range(0, len(log), EXAMPLES_AT_ONCE * step):
        some = log.take(np.arange(start, min(start + EXAMPLES_AT_ONCE * step, len(log)), step))
        ids = some.ids[:, column]
        index = np.minimum(np.searchsorted(row_map.keys, ids), len(row_map.keys) - 1)
        known = np.flatnonzero(row_map.keys[index] == ids)
        some, index = some.take(known), index[known]
        looked_up = model.collection(torch.from_numpy(model.collection.rows(some.ids).astype(np.int64)))
        dense, label = torch.from_numpy(some.dense), torch.from_numpy(some.labels)
        for choice, row in enumerate(near[row_map.rows[index]].T):
            looked_up[:, feature] = vectors[row]
            loss = binary_cross_entropy_with_logits(model.network(dense, looked_up), label, reduction="none")
            losses[:, choice] += np.bincount(index, loss.double().numpy(), minlength=len(losses))
    return losses
