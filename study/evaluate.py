"""Evaluation of a trained model: the bytes of its bundle and its quality, in several row types, unwritten.

The lookup graph is the one that `export` writes. The network, which stays the same, is only counted.
"""

from collections.abc import Sequence

from tablefold.exporter.byte_counts import count_parts, network_bytes
from tablefold.exporter.folded import fold
from tablefold.exporter.lookup_graph import LookupGraph
from tablefold.exporter.options import DictionaryKind, NetworkType, RowType
from tablefold.exporter.passes.lookup import build_dictionary
from tablefold.logs import Log
from tablefold.metrics import DECILES, quality
from tablefold.model_size import full_table_bytes
from tablefold.study.results import EvaluatedModel
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.training.frequency import id_frequency

__all__ = ["evaluate"]


def evaluate(
    checkpoint: Checkpoint, log: Log, row_types: Sequence[RowType], lookup: DictionaryKind
) -> list[EvaluatedModel]:
    """Return bytes by part and quality on a log of both labels, with the rows in each type.

    False hits of a compact dictionary count too. Raises TablefoldError for values that a row type cannot
    hold.
    """
    description = checkpoint.description
    folded = fold(checkpoint)
    dictionary = build_dictionary(lookup, folded.row_maps, folded.columns)
    network = network_bytes(checkpoint.model.network.module, NetworkType.FP32)
    assert checkpoint.vocabularies is not None  # a study evaluates what it has trained
    frequency = id_frequency(folded.schema, checkpoint.vocabularies, log)
    models = []
    for row_type in row_types:
        graph = LookupGraph.build(checkpoint, folded, dictionary, [row_type] * len(folded.feature_rows))
        parts = count_parts(graph.graph)
        measured = quality(log.labels, graph.stored_model.predict(log), frequency)
        models.append(
            EvaluatedModel(
                row_type=row_type,
                parts=parts.model_copy(update={"network": parts.network + network}),
                baseline_fp32=full_table_bytes(description.distinct_ids, description.config.dim),
                auc=measured["auc"],
                logloss=measured["logloss"],
                logloss_deciles=tuple(measured[f"logloss_decile_{n}"] for n in range(1, DECILES + 1)),
            )
        )
    return models
