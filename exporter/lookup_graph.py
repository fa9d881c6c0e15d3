"""The lookup graph: raw ids -> vectors, as arrays, as a graph, and as the same in torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import Sequential

from tablefold.exporter.dictionaries.dictionary import Dictionary
from tablefold.exporter.dictionaries.false_hits import allowed_false_hits, unknown_shares
from tablefold.exporter.folded import Folded, folded_model
from tablefold.exporter.graph import empty_model
from tablefold.exporter.options import DictionaryKind, RowType
from tablefold.exporter.passes.lookup import BuildLookup, build_dictionary
from tablefold.exporter.passes.rows import AttachRows
from tablefold.exporter.tables.stored_table import StoredTable
from tablefold.exporter.tables.waste import without_waste
from tablefold.logs import Log
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.networks.ctr_model import CTRModel


def folded_dictionary(folded: Folded, kind: DictionaryKind, examples: Log) -> Dictionary:
    """Return the dictionary of a folded model; examples that it was not trained on say how many of their ids
    are unknown."""
    shares = unknown_shares(folded.row_maps, folded.columns, examples)
    return build_dictionary(kind, folded.row_maps, folded.columns, allowed_false_hits(shares))


@dataclass(frozen=True, kw_only=True, eq=False)
class LookupGraph:
    """A folded model's lookup as it is stored."""

    graph: ir.Model
    """From `ids` to `vectors`; the network is missing yet."""
    stored_model: CTRModel
    """The trained network in torch, behind the dictionary and the rows as they are stored."""
    row_types: list[RowType]
    """The row type of each feature: a finer one than asked for where that would be no smaller."""

    @classmethod
    def build(
        cls, checkpoint: Checkpoint, folded: Folded, dictionary: Dictionary, row_types: Sequence[RowType]
    ) -> Self:
        """Run the lookup pass and the row pass, with a row type for each feature.

        Raises TablefoldError for values that a row type cannot hold.
        """
        stored = without_waste(row_types, folded.feature_rows, folded.table.shape[1])
        table = StoredTable.of(folded.table, folded.feature_rows, stored)
        passes = Sequential(
            BuildLookup(folded.row_maps, folded.columns, dictionary),
            AttachRows(table, folded.columns, folded.projection),
        )
        return cls(
            graph=passes(empty_model(folded.schema)).model,
            stored_model=folded_model(checkpoint, dictionary.row_maps, table.vectors(), folded.projection),
            row_types=stored,
        )

    def false_hits(self, trained: CTRModel, log: Log) -> np.ndarray:
        """Return bool [rows]: whether the dictionary takes an unknown id of a row for a known one."""
        stored, exact = (model.collection.rows(log.ids) for model in (self.stored_model, trained))
        hits: np.ndarray = (stored != exact).any(axis=1)
        return hits
