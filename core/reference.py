"""What a model meets: shares of unknown ids, of values and of scores, in training and while it is served.

The exporter writes those of examples that the model was not trained on into the manifest; a server counts the
same of sampled rows and tells how far they have moved.
"""

from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from tablefold.schema import MISSING, FeatureSchema

BINS = 10
LEAST_SHARE = 1e-4
"""An empty bin counts as so much: the index would be infinite."""

Share = Annotated[float, Field(ge=0, le=1)]


class Shares(BaseModel):
    """A histogram: which share of values lies in each bin."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bounds: Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(max_length=BINS - 1)]
    """Ascending; a bin holds the values above the bound before it, up to its own."""
    shares: Annotated[list[Share], Field(min_length=BINS + 1, max_length=BINS + 1)]
    """Of the bins, empty ones behind the last bound, and at the end of missing values."""

    @classmethod
    def of(cls, values: NDArray[np.float32]) -> Self:
        """Make bins of about the same share each of values float32 [n]; NaN is missing."""
        found = values[np.isfinite(values)]
        levels = np.arange(1, BINS) / BINS
        bounds = np.unique(np.quantile(found, levels, method="lower")) if len(found) else found
        counts = count_bins(values[:, None], padded([bounds.tolist()]))[0]
        return cls(bounds=bounds.tolist(), shares=(counts / max(1, len(values))).tolist())


class UnknownRows(BaseModel):
    """Where the graph's value `rows` shows that an id is unknown: rows that only unknown ids have."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: Annotated[int, Field(ge=0)]
    """Of `rows`."""
    first: Annotated[int, Field(ge=0)]
    count: Annotated[int, Field(ge=1)]


class Reference(BaseModel):
    """Of examples that the model was not trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    examples: Annotated[int, Field(ge=1)]
    scores: Shares
    dense: dict[str, Shares]
    unknown_ids: dict[str, Share]
    """The share of a feature's values that are unknown ids, where that can be told; missing values do not
    count."""
    unknown_rows: list[UnknownRows | None]
    """By column of ids; None where unknown ids share rows with known ones, or none is known."""


def padded(bounds: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """Return bounds as float32 [N, BINS - 1], those that are missing infinite."""
    array = np.full((len(bounds), BINS - 1), np.inf, dtype=np.float32)
    for row, some in zip(array, bounds, strict=True):
        row[: len(some)] = some
    return array


def count_bins(values: NDArray[np.float32], bounds: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return int64 [N, BINS + 1]: the counts of values float32 [n, N] in bins, and of NaN at the end."""
    missing = np.isnan(values).sum(axis=0)
    above = (values[:, :, None] > bounds).sum(axis=0)
    edges = np.column_stack([len(values) - missing, above, np.zeros_like(missing)])
    return np.column_stack([edges[:, :-1] - edges[:, 1:], missing])


def count_unknown(
    rows: NDArray[np.int32], ids: NDArray[np.int64], unknown_rows: Sequence[UnknownRows | None]
) -> NDArray[np.int64]:
    """Return int64 [2, C]: how many of ids int64 [n, C] are unknown, by their rows int32 [n, L], and how many
    there are.

    Missing ids do not count, nor columns that cannot tell.
    """
    columns = [c for c, unknown in enumerate(unknown_rows) if unknown is not None]
    known = [unknown for unknown in unknown_rows if unknown is not None]
    first = np.array([unknown.first for unknown in known], dtype=np.int64)
    count = np.array([unknown.count for unknown in known], dtype=np.int64)
    given = ids[:, columns] != MISSING
    offset = rows[:, [unknown.column for unknown in known]] - first
    counts = np.zeros((2, ids.shape[1]), dtype=np.int64)
    counts[0, columns] = (given & (offset >= 0) & (offset < count)).sum(axis=0)
    counts[1, columns] = given.sum(axis=0)
    return counts


def by_feature(columns: NDArray[np.int64], schema: FeatureSchema) -> NDArray[np.int64]:
    """Return counts int64 [..., C] of columns of ids, summed over those of each feature [..., F]."""
    starts = np.flatnonzero(np.diff(schema.feature_of_column, prepend=-1))
    summed: NDArray[np.int64] = np.add.reduceat(columns, starts, axis=-1)
    return summed


def stability_index(shares: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the population stability index [...] of counts [..., bins] beside shares [..., bins].

    The sum of (now - then) x ln(now / then). Below .1 little has moved, above .25 much has. 0 of nothing.
    """
    total = counts.sum(axis=-1, keepdims=True)
    then = np.maximum(shares, LEAST_SHARE)
    now = np.where(total > 0, np.maximum(counts / np.maximum(total, 1), LEAST_SHARE), then)
    index: NDArray[np.float64] = ((now - then) * np.log(now / then)).sum(axis=-1)
    return index
