"""A log in memory: one pass of the parser, kept whole. Memory grows with the rows."""

from collections.abc import Sequence

import numpy as np

from tablefold.logs.log import Log
from tablefold.logs.parsing.parser import Parser, warn_of_dropped
from tablefold.logs.source import Table
from tablefold.schema import FeatureSchema


def read_log(
    tables: Sequence[Table], schema: FeatureSchema, list_separator: str = "|", *, labelled: bool
) -> Log:
    """Read the rows of tables, one after another; with labels where all tables have them.

    Raises LogError, also for a table without labels if `labelled`.
    """
    parser = Parser(schema, list_separator)
    batches = [batch for table in tables for batch in parser.batches(table, labelled=labelled)]
    ids_of = parser.ids()
    warn_of_dropped(parser.dropped)
    rows = sum(batch.rows for batch in batches)
    ids = np.empty((rows, schema.id_columns), np.int64)
    dense = np.empty((rows, len(schema.dense)), np.float32)
    labels = [batch.label for batch in batches if batch.label is not None]
    label = np.concatenate([np.empty(0, np.float32), *labels]) if len(labels) == len(batches) else None
    start = 0
    while batches:
        batch = batches.pop(0)
        part = slice(start, start + batch.rows)
        for column, values in enumerate(batch.dense):
            dense[part, column] = values
        for column, (codes, feature) in enumerate(zip(batch.codes, schema.feature_of_column, strict=True)):
            ids[part, column] = ids_of[feature][codes]
        start = part.stop
    return Log(dense=dense, ids=ids, label=label)
