"""What the model meets in validation examples, for the manifest: a server holds what it meets beside that."""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from tablefold.exporter.folded import Folded
from tablefold.exporter.graph import value_named
from tablefold.exporter.passes.lookup import ROWS
from tablefold.exporter.proof.bundle_graph import open_graph
from tablefold.logs import Log
from tablefold.reference import Reference, Shares, UnknownRows, by_feature, count_unknown

EXAMPLES = 50_000
"""At most, evenly spaced."""


def measure_reference(draft: Path, folded: Folded, validation: Log, probability: np.ndarray) -> Reference:
    """Return the figures of a written bundle, whose probabilities float32 [n] of the examples are given."""
    chosen = np.unique(np.linspace(0, len(validation) - 1, EXAMPLES).astype(np.int64))
    log, schema = validation.take(chosen), folded.schema
    unknown_rows = [unknown_rows_of(folded, column) for column in range(schema.id_columns)]
    unknown, given = by_feature(count_unknown(open_graph(draft, ROWS)(log), log.ids, unknown_rows), schema)
    return Reference(
        examples=len(log),
        scores=Shares.of(probability[chosen]),
        dense={feature.name: Shares.of(log.dense[:, i]) for i, feature in enumerate(schema.dense)},
        unknown_ids={
            feature.name: float(unknown[i] / given[i])
            for i, feature in enumerate(schema.categorical)
            if given[i]
        },
        unknown_rows=unknown_rows,
    )


def declare_rows(graph: ir.Model, folded: Folded) -> ir.Model:
    """Make `rows` int32 [batch, L] an output where it tells which ids are unknown; return the graph."""
    if any(unknown_rows_of(folded, column) for column in range(folded.schema.id_columns)):
        rows = value_named(graph, ROWS)
        rows.shape = ir.Shape(("batch", len(folded.columns.row_map)))
        graph.graph.outputs.append(rows)
    return graph


def unknown_rows_of(folded: Folded, id_column: int) -> UnknownRows | None:
    """Return the rows that only unknown ids of a column have; None where there are no such rows."""
    for column in np.flatnonzero(folded.columns.id_column == id_column):
        row_map = folded.row_maps[folded.columns.row_map[column]]
        first, count = row_map.hashed_first, row_map.hashed_rows
        shared = (row_map.rows >= first) & (row_map.rows < first + count)
        if len(row_map.keys) and not shared.any():
            return UnknownRows(column=int(column), first=first, count=count)
    return None
