"""A trained model on the scales: the bytes of its bundle and its quality, in several row types, unwritten.

The arrays are those that `export` writes; the network's, which stay the same, are counted and not made into a
graph.
"""

from collections.abc import Sequence

from onnx_ir.passes import Sequential

from tablefold.exporter.folded import fold, folded_model
from tablefold.exporter.graph import empty_model, parts_of
from tablefold.exporter.options import DictionaryKind, RowType
from tablefold.exporter.passes.lookup import BuildLookup, build_dictionary
from tablefold.exporter.passes.rows import AttachRows
from tablefold.exporter.tables.stored_table import StoredTable
from tablefold.logs import Log
from tablefold.metrics import DECILES, quality
from tablefold.study.study import Weighed
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.training.frequency import id_frequency


def weigh(
    checkpoint: Checkpoint, log: Log, row_types: Sequence[RowType], lookup: DictionaryKind
) -> list[Weighed]:
    """Bytes by part and quality on a log of both labels, with the rows in each type; false hits count too.

    Raises TablefoldError for values that a row type cannot hold.
    """
    folded = fold(checkpoint)
    dictionary = build_dictionary(lookup, folded.row_maps, folded.columns)
    trained = checkpoint.model.network
    network = sum(weight.nbytes for weight in trained.parameters())
    network += 4 * sum(buffer.numel() for buffer in trained.buffers())  # indices, 32 bits in the graph
    features = len(folded.schema.categorical)
    assert checkpoint.vocabularies is not None  # a study trains what it weighs
    frequency = id_frequency(folded.schema, checkpoint.vocabularies, log)
    weighed = []
    for row_type in row_types:
        table = StoredTable.of(folded.table, folded.feature_rows, [row_type] * features)
        passes = Sequential(
            BuildLookup(folded.row_maps, folded.columns, dictionary),
            AttachRows(table, folded.columns, folded.projection),
        )
        parts = parts_of(passes(empty_model(folded.schema)).model)
        stored = folded_model(checkpoint, dictionary.row_maps, table.vectors(), folded.projection)
        measured = quality(log.labels, stored.predict(log), frequency)
        weighed.append(
            Weighed(
                row_type=row_type.value,
                parts=parts.model_copy(update={"network": parts.network + network}),
                baseline_fp32=4 * checkpoint.description.distinct_ids * checkpoint.description.config.dim,
                auc=measured["auc"],
                logloss=measured["logloss"],
                logloss_deciles=tuple(measured[f"logloss_decile_{n}"] for n in range(1, DECILES + 1)),
            )
        )
    return weighed
