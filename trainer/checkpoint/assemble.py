"""A checkpoint of its parts, each checked against the others."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from tablefold.errors import CheckpointError
from tablefold.logs import Log
from tablefold.trainer.checkpoint.checkpoint import Checkpoint, build_model, require_examples
from tablefold.trainer.checkpoint.description import Description
from tablefold.trainer.checkpoint.id_arrays import take_row_maps, take_vocabularies
from tablefold.trainer.networks.ctr_model import CTRModel
from tablefold.trainer.networks.registry import NetworkFactory

ROW_COUNTS = "row_counts"


def assemble(
    description: Description,
    tensors: dict[str, torch.Tensor],
    sample: Mapping[str, np.ndarray],
    network: NetworkFactory | None,
    folder: Path,
) -> Checkpoint:
    """Return the checkpoint of these parts, with a `sample` of validation examples: dense, ids and label.

    Its weights stay where they are: no second table in memory, nothing drawn for nothing.

    Raises CheckpointError, which names `folder`, for parts that contradict each other or are not numbers, and
    where the network is missing or another than it was.
    """
    try:
        row_maps = tuple(
            take_row_maps(tensors, index, record, description.feature_schema.categorical[index].name)
            for index, record in enumerate(description.features)
        )
        validation = Log(dense=sample["dense"], ids=sample["ids"], label=sample["label"])
        row_counts = tensors.pop(ROW_COUNTS, None)
        vocabularies = take_vocabularies(tensors, description)
        model = build_model(
            description.feature_schema, description.config, row_maps, network=network, table_device="meta"
        )
        _require_types(model, tensors)
        model.load_state_dict(tensors, assign=True)
        if row_counts is not None:
            _require_counts(row_counts, model.collection.table.vectors.num_embeddings)
        require_examples(description.feature_schema, validation)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        problem = " ".join(str(error).split())  # torch lists every weight on a line
        raise CheckpointError(f"the checkpoint {folder} does not fit its description: {problem}") from error
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.numel() == 0:  # a network may keep counters
            continue
        if not all(torch.isfinite(extreme) for extreme in tensor.aminmax()):  # one is NaN if any value is
            raise CheckpointError(f"the checkpoint {folder} holds values that are not numbers in {name}")
    return Checkpoint(
        description=description,
        row_maps=row_maps,
        model=model,
        validation=validation,
        row_counts=None if row_counts is None else row_counts.numpy(),
        vocabularies=vocabularies,
    )


def _require_types(model: CTRModel, tensors: dict[str, torch.Tensor]) -> None:
    """Raise ValueError for weights of another type than the model's: loading would keep theirs."""
    for name, tensor in model.state_dict().items():
        if name in tensors and tensors[name].dtype != tensor.dtype:
            raise ValueError(f"{name} is {tensors[name].dtype}, and must be {tensor.dtype}")


def _require_counts(row_counts: torch.Tensor, rows: int) -> None:
    if row_counts.dtype != torch.int64 or row_counts.shape != (rows,) or (row_counts < 0).any():
        raise ValueError(
            f"{ROW_COUNTS} is {row_counts.dtype} {list(row_counts.shape)}, not a count for each row"
        )
