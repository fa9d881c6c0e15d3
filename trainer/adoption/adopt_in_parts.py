"""Adopt a model whose tables are written part by part, and whole nowhere but in the checkpoint's file."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import pad

from tablefold.errors import CheckpointError
from tablefold.files.atomic import create_folder
from tablefold.logs import Log
from tablefold.schema import FeatureSchema
from tablefold.trainer.adoption.adopt import adopted, judged
from tablefold.trainer.checkpoint.assemble import assemble
from tablefold.trainer.checkpoint.checkpoint import Checkpoint, build_model, require_examples
from tablefold.trainer.checkpoint.files import (
    ARRAYS,
    not_written,
    require_free,
    write_description,
    write_validation,
)
from tablefold.trainer.checkpoint.id_arrays import row_map_names
from tablefold.trainer.checkpoint.tensor_file import TensorParts, write_tensors
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.embedding.table import PADDING_ROWS
from tablefold.trainer.networks.registry import require_logit


class FeatureInParts(Protocol):
    """One feature's ids and vectors. Each is read anew whenever it is asked for."""

    @property
    def num_ids(self) -> int:
        """How many ids it knows."""

    @property
    def num_rows(self) -> int:
        """How many rows they have."""

    @property
    def width(self) -> int:
        """Of a vector."""

    def ids(self) -> Iterator[Tensor]:
        """Give int64 [num_ids], ascending, in parts."""

    def rows(self) -> Iterator[Tensor]:
        """Give the row of each id, int64 [num_ids], in parts."""

    def vectors(self) -> Iterator[Tensor]:
        """Give float32 [num_rows + 1, width] in parts, the last row that of unknown ids."""


def adopt_in_parts(
    schema: FeatureSchema,
    features: Sequence[FeatureInParts],
    network: Module,
    validation: Log,
    folder: Path,
) -> Checkpoint:
    """Write the checkpoint of an existing model and return it: its table stays mapped from the file.

    `features`: one for each of the schema's categorical features, in their order. See `adopt`.

    Raises CheckpointError for what does not fit, UsageError where `folder` cannot be written.
    """
    dim = max(feature.width for feature in features)
    try:
        require_examples(schema, validation)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    require_logit(network, len(schema.dense), len(features), dim)
    require_free(folder)
    # Row maps that know no id: those that do are in the file alone.
    none = np.empty(0, np.int64)
    row_maps = [
        (RowMap(keys=none, rows=none, hashed_first=feature.num_rows, hashed_rows=1),) for feature in features
    ]
    description = adopted(schema, dim, network, row_maps, [feature.num_ids for feature in features])
    model = build_model(schema, description.config, row_maps, lambda *_: network, table_device="meta")
    tensors: dict[str, Tensor | TensorParts] = {}
    for name, tensor in model.state_dict().items():
        tensors[name] = _table(features, dim) if tensor.is_meta else tensor
    for index, feature in enumerate(features):
        keys, rows = row_map_names(index, 0)
        tensors[keys] = TensorParts(dtype=torch.int64, shape=(feature.num_ids,), parts=feature.ids())
        tensors[rows] = TensorParts(dtype=torch.int64, shape=(feature.num_ids,), parts=feature.rows())
    sample = {"dense": validation.dense, "ids": validation.ids, "label": validation.labels}
    try:
        with create_folder(folder, replace=True) as draft:
            write_tensors(draft / ARRAYS, tensors)
            written = load_file(draft / ARRAYS)
            checkpoint = judged(assemble(description, written, sample, lambda *_: network, folder))
            write_validation(checkpoint, draft)
            write_description(checkpoint.description, draft)
    except (OSError, SafetensorError) as error:
        raise not_written(folder, error) from error
    return checkpoint


def _table(features: Sequence[FeatureInParts], dim: int) -> TensorParts:
    """Return the fused table; narrower vectors end in zeros."""
    vectors = (part for feature in features for part in feature.vectors())
    padded = (pad(part, (0, dim - part.shape[1])) for part in vectors)
    return TensorParts(
        dtype=torch.float32,
        shape=(PADDING_ROWS + sum(feature.num_rows + 1 for feature in features), dim),
        parts=chain([torch.zeros(PADDING_ROWS, dim)], padded),
    )
