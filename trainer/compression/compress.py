"""Compression without retraining: fewer values a row, fewer rows; and what that costs on validation examples.

    low_rank       rows [n, d] -> inner rows [n, k] and a projection [k, d], as an MLET table has them
    cluster_rows   alike ids share a row: a learned hash made of the trained vectors themselves

Each takes any checkpoint and returns another; neither trains anything. Rows that were accessed more weigh
more; a row that was never counted counts one.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import torch
from torch import Tensor

from tablefold.errors import QualityError, UsageError
from tablefold.metrics import auc, logloss
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.compression.curvature import curvatures, metric
from tablefold.trainer.compression.feature_table import FeatureTable, empty_table, feature_tables, rebuild
from tablefold.trainer.methods.clustering import cluster
from tablefold.trainer.methods.registry import Method

ROWS_AT_ONCE = 1 << 16
MAX_LOGLOSS_INCREASE = 1e-3
"""The same default as export's."""

OnStep = Callable[[str], None]
"""Called before each step with what it does."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The size of a checkpoint, and its quality on its validation examples."""

    rows: int
    row_bytes: int
    """Of the folded table in fp32, projections included; fewer bits are the exporter's."""
    auc: float | None
    logloss: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Compressed:
    """A compressed checkpoint, and what that cost."""

    checkpoint: Checkpoint
    before: Quality
    after: Quality
    largest_change: float
    """Of a validation example's probability."""


def compress(
    checkpoint: Checkpoint,
    *,
    rank: int | None = None,
    row_ratio: float = 1.0,
    max_logloss_increase: float = MAX_LOGLOSS_INCREASE,
    on_step: OnStep = lambda step: None,
) -> Compressed:
    """Apply `low_rank`, then `cluster_rows`, and measure what they cost on validation examples.

    The new checkpoint's metrics are its own. `trained_logloss` among them is that of the model as trained,
    which all later steps are compared with; `compress_*` say what was lost in this one.

    Raises UsageError for an invalid rank or row ratio, QualityError where the validation logloss is more than
    `max_logloss_increase` above that of the model as trained.
    """
    on_step("judging the model as it is")
    log, before_probability = checkpoint.validation, checkpoint.model.predict(checkpoint.validation)
    small = checkpoint
    if rank is not None:
        small = low_rank(small, rank, on_step=on_step)
    if row_ratio > 1:
        small = cluster_rows(small, row_ratio, on_step=on_step)
    on_step("judging the compressed model")
    after_probability = small.model.predict(log)
    before, after = _quality(checkpoint, before_probability), _quality(small, after_probability)
    trained_logloss = checkpoint.description.metrics.get("trained_logloss", before.logloss)
    _require_quality(after.logloss, trained_logloss, len(log), max_logloss_increase)
    largest_change = float(np.abs(after_probability - before_probability).max())
    metrics = {
        "validation_logloss": after.logloss,
        "trained_logloss": trained_logloss,
        "compress_logloss_increase": after.logloss - before.logloss,
        "compress_largest_change": largest_change,
    }
    if before.auc is not None and after.auc is not None:
        metrics |= {"validation_auc": after.auc, "compress_auc_loss": before.auc - after.auc}
    description = small.description.model_copy(update={"metrics": metrics})
    return Compressed(
        checkpoint=replace(small, description=description),
        before=before,
        after=after,
        largest_change=largest_change,
    )


def _require_quality(logloss: float, trained_logloss: float, examples: int, most: float) -> None:
    if logloss - trained_logloss <= most:  # never true of NaN
        return
    raise QualityError(
        f"this costs too much on {examples} validation examples: a logloss of {logloss:.5f}, where the model "
        f"as trained has {trained_logloss:.5f}; at most {most:g} more is allowed. Nothing was written: give "
        "a higher --rank or a lower --row-ratio, or allow more with --max-logloss-increase"
    )


def low_rank(checkpoint: Checkpoint, rank: int, *, on_step: OnStep = lambda step: None) -> Checkpoint:
    """Project every feature's rows on the `rank` directions that lose least.

    The sum of count x squared error over rows is the least that any factorisation of that rank can have
    (Eckart-Young, on rows scaled by sqrt(count)).

    Raises UsageError for a rank below 1 or above the width that rows already have.
    """
    features = feature_tables(checkpoint)
    width = features[0].rows.shape[1]
    if not 1 <= rank <= width:
        raise UsageError(f"--rank {rank}: rows are {width} values wide; give 1 to {width}")
    narrow = []
    table = empty_table([len(feature.rows) for feature in features], rank)
    for feature, inner in zip(features, table.of_feature, strict=True):
        on_step(f"low rank of {feature.name}: {len(feature.rows):,} rows")
        directions = _directions(feature, rank)
        for part in feature.parts(ROWS_AT_ONCE):
            torch.mm(feature.vectors_of(part), directions.T, out=inner[part])
        narrow.append(replace(feature, rows=inner, projection=directions))
    row_map = Method.parse(checkpoint.description.config.method).row_map
    return rebuild(checkpoint, narrow, row_map, f"rank {rank}", table.whole)


def cluster_rows(
    checkpoint: Checkpoint, row_ratio: float, *, on_step: OnStep = lambda step: None
) -> Checkpoint:
    """Leave `row_ratio` times fewer rows in every feature that has more than a few (see `merge_rows`).

    Raises UsageError for a ratio below 1, and where no feature has rows to merge.
    """
    features, config = feature_tables(checkpoint), checkpoint.description.config
    if not row_ratio >= 1:
        raise UsageError(f"--row-ratio {row_ratio:g}: give 1 or more")
    if not any(feature.can_merge.sum() > config.full_below for feature in features):
        raise UsageError(
            f"--row-ratio {row_ratio:g}: no feature has more than {config.full_below} rows that belong to "
            "known ids; there is nothing to merge"
        )
    merged = []
    for feature, curvature in zip(features, curvatures(checkpoint), strict=True):
        own = int(feature.can_merge.sum())
        rows = own if own <= config.full_below else ceil(own / row_ratio)
        on_step(f"merging rows of {feature.name}: {own:,} to {rows:,}")
        merged.append(merge_rows(feature, metric(curvature), rows, config.seed))
    return rebuild(checkpoint, merged, "lhf", f"row ratio {row_ratio:g}")


def merge_rows(feature: FeatureTable, metric: Tensor, rows: int, seed: int) -> FeatureTable:
    """Leave at most `rows` rows for the known ids: k-means of the vectors times `metric` float32 [d, d],
    weighted by access counts (see `clustering`). A row is the weighted mean of those that it replaces.

    Rows of unknown ids follow in the order they had.
    """
    own, weights = feature.can_merge, feature.weights
    row_of = np.empty(len(own), np.int64)
    vectors = np.empty((int(own.sum()), len(metric)), np.float32)
    done = 0
    for part in feature.parts(ROWS_AT_ONCE):
        merged = feature.vectors_of(part)[own[part]] @ metric
        vectors[done : done + len(merged)] = merged
        done += len(merged)
    row_of[own] = cluster(vectors, weights[own, 0].numpy(), rows, seed=seed)
    del vectors
    used = int(row_of[own].max(initial=-1)) + 1
    row_of[~own] = used + np.arange((~own).sum())
    index = torch.from_numpy(row_of)
    size = int(row_of.max()) + 1
    sums = torch.zeros(size, feature.rows.shape[1], dtype=torch.float64)
    for part in feature.parts(ROWS_AT_ONCE):
        sums.index_add_(0, index[part], feature.rows[part] * weights[part])
    total = torch.zeros(size, 1, dtype=torch.float64).index_add_(0, index, weights)
    return replace(
        feature,
        row_maps=tuple(
            replace(row_map, rows=row_of[row_map.rows], hashed_first=int(row_of[row_map.hashed_first]))
            for row_map in feature.row_maps
        ),
        rows=(sums / total).float(),
        counts=torch.zeros(size, dtype=torch.int64).index_add_(0, index, feature.counts),
    )


def _directions(feature: FeatureTable, rank: int) -> Tensor:
    """float32 [rank, d]: the first right singular vectors of the feature's vectors scaled by sqrt(count),
    orthonormal, so that distances between inner rows are those between the vectors they stand for."""
    weights = feature.weights
    width = feature.vectors_of(slice(0, 0)).shape[1]
    moments = torch.zeros(width, width, dtype=torch.float64)
    for part in feature.parts(ROWS_AT_ONCE):
        wide = feature.vectors_of(part).double()
        moments += wide.T @ (wide * weights[part])
    directions: Tensor = torch.linalg.eigh(moments).eigenvectors[:, -rank:].T.float()
    return directions


def _quality(checkpoint: Checkpoint, probability: np.ndarray) -> Quality:
    rows, projection = checkpoint.model.collection.table.fold()
    labels = checkpoint.validation.labels
    return Quality(
        rows=len(rows),
        row_bytes=rows.nbytes + (0 if projection is None else projection.nbytes),
        auc=auc(labels, probability),
        logloss=logloss(labels, probability),
    )
