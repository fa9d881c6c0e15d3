"""The proof that a written bundle equals its checkpoint, in ONNX Runtime itself, from the ids on.

Every known id has its row; rows of every kind have the expected rows, vectors and probabilities.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tablefold.bundle import TOLERANCE
from tablefold.errors import VerificationError
from tablefold.exporter.folded import Folded
from tablefold.exporter.options import NetworkType
from tablefold.exporter.passes.lookup import ROWS
from tablefold.exporter.passes.rows import VECTORS
from tablefold.exporter.proof.bundle_graph import Predict, open_graph
from tablefold.exporter.proof.expected import ExpectedValues
from tablefold.exporter.proof.probes import known_ids
from tablefold.logs import Log
from tablefold.schema import FeatureSchema
from tablefold.trainer.embedding.lookup_columns import LookupColumns
from tablefold.trainer.embedding.row_map import RowMap

__all__ = ["require_bundle", "require_equal"]

BATCH_SIZES = (1, 2, 7)
"""Batch sizes besides the whole: a graph specialised to one size fails here."""
KNOWN_IDS_AT_ONCE = 1 << 14


def require_bundle(
    folder: Path, expected: Sequence[ExpectedValues], folded: Folded, network_type: NetworkType
) -> None:
    """Check known ids, rows, vectors and probabilities of the graph in a folder.

    Raises VerificationError naming the first difference.
    """
    schema, columns = folded.schema, folded.columns
    rows_of = open_graph(folder, ROWS)
    require_known_ids(folded.row_maps, columns, rows_of, schema)
    for values in expected:
        require_rows(values, rows_of, columns, schema)
    del rows_of  # every open graph maps the whole bundle
    vectors_of = open_graph(folder, VECTORS)
    for values in expected:
        require_vectors(values, vectors_of, schema)
    del vectors_of
    graph = open_graph(folder)
    for values in expected:
        # A network in fewer bits has no equal in torch: it must agree with itself at every batch size here,
        # and is judged by its quality.
        probability = values.probability if network_type is NetworkType.FP32 else graph(values.log)
        check = f"graph against torch, {values.source}"
        require_equal(probability, graph, values.log, check, tolerance=network_type.tolerance)


def require_known_ids(
    row_maps: Sequence[RowMap], columns: LookupColumns, rows_of: Predict, schema: FeatureSchema
) -> None:
    """Check that the graph gives every known id of every feature its own rows.

    Raises VerificationError naming the feature, the id and both rows.
    """
    known = [known_ids(row_maps, columns, column) for column in range(schema.id_columns)]
    most = max(len(keys) for keys in known)
    for start in range(0, most, KNOWN_IDS_AT_ONCE):
        numbers = np.arange(start, min(start + KNOWN_IDS_AT_ONCE, most))
        ids = np.zeros((len(numbers), len(known)), np.int64)
        for column, keys in enumerate(known):
            if len(keys):  # shorter ones start over
                ids[:, column] = keys[numbers % len(keys)]
        actual = rows_of(Log(dense=np.zeros((len(ids), len(schema.dense)), np.float32), ids=ids, label=None))
        expected = columns.rows(row_maps, ids)
        for lookup, column in enumerate(columns.id_column):
            if len(known[column]):
                name = schema.categorical[columns.feature[lookup]].name
                _require_rows(expected[:, lookup], actual[:, lookup], ids[:, column], name)


def require_rows(
    expected: ExpectedValues, rows_of: Predict, columns: LookupColumns, schema: FeatureSchema
) -> None:
    """Check that the graph gives every id, known or not, the row that torch has for it.

    Raises VerificationError naming the feature, the id and both rows.
    """
    actual = rows_of(expected.log)
    for lookup, column in enumerate(columns.id_column):
        name = f"{schema.categorical[columns.feature[lookup]].name}, {expected.source}"
        _require_rows(expected.rows[:, lookup], actual[:, lookup], expected.log.ids[:, column], name)


def _require_rows(expected: np.ndarray, actual: np.ndarray, ids: np.ndarray, name: str) -> None:
    wrong = np.flatnonzero(actual != expected)
    if len(wrong):
        first = int(wrong[0])
        raise VerificationError(
            f"lookup, feature {name}: id {ids[first]} must have row {expected[first]} and has "
            f"{actual[first]} ({len(wrong)} of {len(ids)} ids are wrong)"
        )


def require_vectors(expected: ExpectedValues, vectors_of: Predict, schema: FeatureSchema) -> None:
    """Check that the graph gives torch's vectors within `TOLERANCE` of the largest value.

    Raises VerificationError naming the feature, its ids and both vectors.
    """
    vectors, actual = expected.vectors, vectors_of(expected.log)
    close = np.abs(vectors - actual) <= TOLERANCE * np.maximum(1, np.abs(vectors).max(initial=0))
    wrong = np.argwhere(~close.all(axis=2))
    if len(wrong):
        row, feature = wrong[0]
        ids = expected.log.ids[row, schema.feature_of_column == feature]
        raise VerificationError(
            f"rows, feature {schema.categorical[feature].name}, {expected.source}: ids {ids.tolist()} must "
            f"have the vector {vectors[row, feature].tolist()} and have {actual[row, feature].tolist()}"
        )


def require_equal(
    expected: np.ndarray, predict: Predict, log: Log, check: str, *, tolerance: float = TOLERANCE
) -> None:
    """Check that `predict` gives `expected` float32 [rows] within `tolerance`, in one batch and in small ones

    Raises VerificationError with the name of the check, the row, its ids and both probabilities.
    """
    _compare(expected, predict(log), log, check, tolerance)
    for size in BATCH_SIZES:
        part = log.take(slice(0, size))
        _compare(expected[:size], predict(part), part, f"{check}, batch of {size}", tolerance)


def _compare(expected: np.ndarray, actual: np.ndarray, log: Log, check: str, tolerance: float) -> None:
    if actual.dtype != np.float32:
        raise VerificationError(f"{check}: probabilities are {actual.dtype}, not float32")
    if not (np.isfinite(actual).all() and np.isfinite(expected).all()):
        raise VerificationError(f"{check}: a probability is not a number")
    if expected.shape != actual.shape:
        raise VerificationError(f"{check}: {actual.shape} probabilities for {expected.shape} rows")
    wrong = np.flatnonzero(~(np.abs(expected - actual) <= tolerance))
    if len(wrong):
        row = int(wrong[0])
        raise VerificationError(
            f"{check}: {len(wrong)} of {len(log)} rows differ; row {row} with ids {log.ids[row].tolist()} "
            f"must give {expected[row]} and gives {actual[row]}"
        )
