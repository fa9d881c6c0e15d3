"""The proof that a written bundle equals its checkpoint, in ONNX Runtime itself, from the ids on:
every known id's row, then rows, vectors and probabilities of rows of every kind.

Torch answers first and the written graph afterwards, so that a large table need not be in memory twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass

from tablefold.bundle import GRAPH, TOLERANCE
from tablefold.errors import VerificationError
from tablefold.exporter.folded import Folded
from tablefold.exporter.graph import value_named
from tablefold.exporter.options import NetworkType
from tablefold.exporter.passes.lookup import ROWS
from tablefold.exporter.passes.network import PROBABILITY
from tablefold.exporter.passes.rows import VECTORS
from tablefold.exporter.proof.probes import known_ids
from tablefold.logs import Log
from tablefold.schema import FeatureSchema
from tablefold.trainer.embedding.lookup_columns import LookupColumns
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.networks.ctr_model import CTRModel

BATCHES = (1, 2, 7)
"""Batch sizes besides the whole: a graph specialised to one size fails here."""
KNOWN_IDS_AT_ONCE = 1 << 14

Predict = Callable[[Log], np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What torch makes of some rows."""

    what: str
    """Which rows these are."""
    log: Log
    rows: np.ndarray
    """int32 [rows, L]"""
    vectors: np.ndarray
    """float32 [rows, F, d]"""
    probability: np.ndarray
    """float32 [rows]"""

    @classmethod
    @torch.inference_mode()
    def of(cls, model: CTRModel, log: Log, what: str) -> Self:
        """The model's."""
        rows = model.collection.rows(log.ids)
        vectors = model.collection(torch.from_numpy(rows.astype(np.int64))).numpy()
        return cls(what=what, log=log, rows=rows, vectors=vectors, probability=model.predict(log))


def graph_of(folder: Path, output: str = PROBABILITY) -> Predict:
    """The bundle's graph on the CPU as a function from raw rows to one of its values: `probability` float32
    [rows], `rows` int32 [rows, L] or `vectors` float32 [rows, F, d]."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # it would keep the memory of the largest batch
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    model: Path | bytes = folder / GRAPH
    if output != PROBABILITY:
        part = ir.load(folder / GRAPH)
        part.graph.outputs[:] = [value_named(part, output)]
        RemoveUnusedNodesPass()(part)  # ONNX Runtime itself computes what nobody asks for
        model = ir.to_proto(part).SerializeToString()
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    inputs = [each.name for each in session.get_inputs()]

    def run(log: Log) -> np.ndarray:
        (value,) = session.run([output], {name: getattr(log, name) for name in inputs})
        return np.asarray(value)

    return run


def require_bundle(
    folder: Path, answers: Sequence[Answers], folded: Folded, network_type: NetworkType
) -> None:
    """The bundle's graph gives what torch gives: known ids, rows, vectors, probabilities.

    Raises VerificationError naming what differs.
    """
    schema, columns = folded.schema, folded.columns
    rows_of = graph_of(folder, ROWS)
    require_known_ids(folded.row_maps, columns, rows_of, schema)
    for each in answers:
        require_rows(each, rows_of, columns, schema)
    del rows_of  # every open graph maps the whole bundle
    vectors_of = graph_of(folder, VECTORS)
    for each in answers:
        require_vectors(each, vectors_of, schema)
    del vectors_of
    graph = graph_of(folder)
    for each in answers:
        # A network in fewer bits has no equal in torch: it must agree with itself at every batch size here,
        # and is judged by its quality.
        want = each.probability if network_type is NetworkType.FP32 else graph(each.log)
        what = f"graph against torch, {each.what}"
        require_equal(want, graph, each.log, what, tolerance=network_type.tolerance)


def require_known_ids(
    row_maps: Sequence[RowMap], columns: LookupColumns, rows_of: Predict, schema: FeatureSchema
) -> None:
    """The graph gives every known id of every feature its own rows.

    Raises VerificationError naming the feature, the id and both rows.
    """
    known = [known_ids(row_maps, columns, column) for column in range(schema.id_columns)]
    most = max(len(keys) for keys in known)
    for start in range(0, most, KNOWN_IDS_AT_ONCE):
        places = np.arange(start, min(start + KNOWN_IDS_AT_ONCE, most))
        ids = np.zeros((len(places), len(known)), np.int64)
        for column, keys in enumerate(known):
            if len(keys):  # shorter ones start over
                ids[:, column] = keys[places % len(keys)]
        got = rows_of(Log(dense=np.zeros((len(ids), len(schema.dense)), np.float32), ids=ids, label=None))
        want = columns.rows(row_maps, ids)
        for lookup, column in enumerate(columns.id_column):
            if len(known[column]):
                name = schema.categorical[columns.feature[lookup]].name
                _require_rows(want[:, lookup], got[:, lookup], ids[:, column], name)


def require_rows(answers: Answers, rows_of: Predict, columns: LookupColumns, schema: FeatureSchema) -> None:
    """The graph gives every id, known or not, the row that torch has for it.

    Raises VerificationError naming the feature, the id and both rows.
    """
    got = rows_of(answers.log)
    for lookup, column in enumerate(columns.id_column):
        name = f"{schema.categorical[columns.feature[lookup]].name}, {answers.what}"
        _require_rows(answers.rows[:, lookup], got[:, lookup], answers.log.ids[:, column], name)


def _require_rows(want: np.ndarray, got: np.ndarray, ids: np.ndarray, name: str) -> None:
    wrong = np.flatnonzero(got != want)
    if len(wrong):
        first = int(wrong[0])
        raise VerificationError(
            f"lookup, feature {name}: id {ids[first]} must have row {want[first]} and has {got[first]} "
            f"({len(wrong)} of {len(ids)} ids are wrong)"
        )


def require_vectors(answers: Answers, vectors_of: Predict, schema: FeatureSchema) -> None:
    """The graph gives torch's vectors within `TOLERANCE` of the largest value.

    Raises VerificationError naming the feature, its ids and both vectors.
    """
    want, got = answers.vectors, vectors_of(answers.log)
    close = np.abs(want - got) <= TOLERANCE * np.maximum(1, np.abs(want).max(initial=0))
    wrong = np.argwhere(~close.all(axis=2))
    if len(wrong):
        row, feature = wrong[0]
        ids = answers.log.ids[row, schema.feature_of_column == feature]
        raise VerificationError(
            f"rows, feature {schema.categorical[feature].name}, {answers.what}: ids {ids.tolist()} must "
            f"have the vector {want[row, feature].tolist()} and have {got[row, feature].tolist()}"
        )


def require_equal(
    want: np.ndarray, actual: Predict, log: Log, what: str, *, tolerance: float = TOLERANCE
) -> None:
    """Every row's probability is `want` float32 [rows] within `tolerance`, in one batch and in small ones.

    Raises VerificationError naming the row, its ids and both probabilities.
    """
    _compare(want, actual(log), log, what, tolerance)
    for size in BATCHES:
        part = log.take(slice(0, size))
        _compare(want[:size], actual(part), part, f"{what}, batch of {size}", tolerance)


def _compare(want: np.ndarray, got: np.ndarray, log: Log, what: str, tolerance: float) -> None:
    if want.shape != got.shape:
        raise VerificationError(f"{what}: {got.shape} probabilities for {want.shape} rows")
    wrong = np.flatnonzero(~(np.abs(want - got) <= tolerance))
    if len(wrong):
        row = int(wrong[0])
        raise VerificationError(
            f"{what}: {len(wrong)} of {len(log)} rows differ; row {row} with ids {log.ids[row].tolist()} "
            f"must give {want[row]} and gives {got[row]}"
        )
