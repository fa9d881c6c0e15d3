"""The proof that a written bundle equals its checkpoint, row by row, in ONNX Runtime itself."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from tablefold.bundle import GRAPH, TOLERANCE
from tablefold.errors import VerificationError
from tablefold.logs import Log
from tablefold.schema import FeatureSchema
from tablefold.trainer.row_map import RowMap, RowsOf

BATCHES = (1, 2, 7)
"""Batch sizes besides the whole: a graph specialised to one size fails here."""

Predict = Callable[[Log], np.ndarray]


def graph_of(folder: Path) -> Predict:
    """The bundle's graph on the CPU as a function from raw rows to probabilities float32 [rows]."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(folder / GRAPH, options, providers=["CPUExecutionProvider"])

    def predict(log: Log) -> np.ndarray:
        (probability,) = session.run(["probability"], {"dense": log.dense, "ids": log.ids})
        return np.asarray(probability)

    return predict


def require_known_ids(row_maps: Sequence[RowMap], stored: Sequence[RowsOf], schema: FeatureSchema) -> None:
    """A dictionary gives every known id of every feature its own row.

    Raises VerificationError naming the feature, the id and both rows.
    """
    for feature, row_map, rows_of in zip(schema.categorical, row_maps, stored, strict=True):
        got = rows_of(row_map.keys)
        wrong = np.flatnonzero(got != row_map.rows)
        if len(wrong):
            first = int(wrong[0])
            raise VerificationError(
                f"dictionary, feature {feature.name!r}: id {row_map.keys[first]} must have row "
                f"{row_map.rows[first]} and has {got[first]} ({len(wrong)} ids are wrong)"
            )


def require_equal(expected: Predict, actual: Predict, log: Log, what: str) -> None:
    """Every row's probability is the same within `TOLERANCE`, in one batch and in small ones.

    Raises VerificationError naming the row, its ids and both probabilities.
    """
    want, got = expected(log), actual(log)
    _compare(want, got, log, what)
    for size in BATCHES:
        part = log.take(slice(0, size))
        _compare(want[:size], actual(part), part, f"{what}, batch of {size}")


def _compare(want: np.ndarray, got: np.ndarray, log: Log, what: str) -> None:
    if want.shape != got.shape:
        raise VerificationError(f"{what}: {got.shape} probabilities for {want.shape} rows")
    wrong = np.flatnonzero(~(np.abs(want - got) <= TOLERANCE))
    if len(wrong):
        row = int(wrong[0])
        raise VerificationError(
            f"{what}: {len(wrong)} of {len(log)} rows differ; row {row} with ids {log.ids[row].tolist()} "
            f"must give {want[row]!r} and gives {got[row]!r}"
        )
