"""The checkpoint: a trained model, how it was made, and a sample of validation rows.

    <folder>/checkpoint.json           schema, settings, row maps' scalars, metrics, provenance
            /model.safetensors         weights, and each row map's keys and rows
            /validation.safetensors    up to 20,000 raw validation rows: the exporter proves itself on them

Written to a temporary name and renamed. Arrays are read without running code from them (safetensors).
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors
from torch import nn

from tablefold.errors import CheckpointError, UsageError
from tablefold.logs import Log
from tablefold.schema import FeatureSchema
from tablefold.trainer.collection import EmbeddingCollection, fuse
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.dlrm import DLRM
from tablefold.trainer.method import Method
from tablefold.trainer.model import CTRModel
from tablefold.trainer.row_map import RowMap

DESCRIPTION, ARRAYS, VALIDATION = "checkpoint.json", "model.safetensors", "validation.safetensors"
VALIDATION_ROWS = 20_000


class RowMapRecord(BaseModel):
    """What a row map is besides its arrays, and how many distinct ids its feature showed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hashed_first: Annotated[int, Field(ge=0)]
    hashed_rows: Annotated[int, Field(ge=1)]
    salt: int
    distinct_ids: Annotated[int, Field(ge=0)]


class Description(BaseModel):
    """Everything about a checkpoint but its arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    feature_schema: FeatureSchema
    config: TrainConfig
    row_maps: tuple[RowMapRecord, ...]
    metrics: dict[str, float] = {}
    provenance: dict[str, str] = {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A trained model in memory with everything the exporter needs."""

    description: Description
    row_maps: tuple[RowMap, ...]
    """One a feature, not yet fused."""
    model: CTRModel
    validation: Log


def build_model(
    schema: FeatureSchema, config: TrainConfig, row_maps: tuple[RowMap, ...], *, table_device: str = "cpu"
) -> CTRModel:
    """An untrained model of the given settings, weights drawn from `config.seed`; on the device `meta` the
    table is a shape without weights."""
    torch.manual_seed(config.seed)
    with torch.device(table_device):
        table = Method.parse(config.method).make_table(row_maps, config.dim, config.inner_dim)
    network: nn.Module = DLRM(
        len(schema.dense), len(schema.categorical), config.dim, bottom=config.bottom, top=config.top
    )
    return CTRModel(EmbeddingCollection(schema, fuse(schema, row_maps), table), network)


def require_free(folder: Path) -> None:
    """Nothing but an older checkpoint may stand where one is to be written. Raises UsageError."""
    occupied = folder.is_file() or (folder.is_dir() and any(folder.iterdir()))
    if occupied and not (folder / DESCRIPTION).is_file():
        raise UsageError(f"{folder} exists and is not a checkpoint; give another --out, or remove it")


def save(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a checkpoint; an older one of the same name is replaced only once the new one is whole.

    Raises UsageError rather than replace anything else.
    """
    require_free(folder)
    temporary = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    tensors = {name: tensor.contiguous() for name, tensor in checkpoint.model.state_dict().items()}
    for index, row_map in enumerate(checkpoint.row_maps):
        tensors[f"row_maps.{index}.keys"] = torch.from_numpy(np.ascontiguousarray(row_map.keys))
        tensors[f"row_maps.{index}.rows"] = torch.from_numpy(np.ascontiguousarray(row_map.rows))
    save_tensors(tensors, temporary / ARRAYS)
    rows = checkpoint.validation.take(slice(0, VALIDATION_ROWS))
    save_file(
        {
            "dense": np.ascontiguousarray(rows.dense),
            "ids": np.ascontiguousarray(rows.ids),
            "label": np.ascontiguousarray(rows.labels),
        },
        temporary / VALIDATION,
    )
    (temporary / DESCRIPTION).write_text(checkpoint.description.model_dump_json(indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint back. Raises CheckpointError for one that is absent, damaged or contradicts
    itself: wrong shapes, an id twice in a vocabulary, weights that are not numbers."""
    try:
        description = Description.model_validate_json((folder / DESCRIPTION).read_bytes())
        tensors = load_tensors(folder / ARRAYS)
        sample = load_file(folder / VALIDATION)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} is not a checkpoint: {error.filename or error} is missing"
        ) from error
    except (ValidationError, SafetensorError, OSError) as error:
        raise CheckpointError(f"the checkpoint {folder} is damaged: {error}") from error
    try:
        row_maps = tuple(
            _row_map(tensors, index, record, description.feature_schema.categorical[index].name)
            for index, record in enumerate(description.row_maps)
        )
        validation = Log(dense=sample["dense"], ids=sample["ids"], label=sample["label"])
        # Weights stay where safetensors mapped them: no second table in memory, nothing drawn for nothing.
        model = build_model(description.feature_schema, description.config, row_maps, table_device="meta")
        model.load_state_dict(tensors, assign=True)
    except (KeyError, IndexError, ValueError, RuntimeError, CheckpointError) as error:
        raise CheckpointError(f"the checkpoint {folder} does not fit its description: {error}") from error
    for name, tensor in tensors.items():
        if not all(torch.isfinite(extreme) for extreme in tensor.aminmax()):  # one is NaN if any value is
            raise CheckpointError(f"the checkpoint {folder} holds values that are not numbers in {name}")
    return Checkpoint(description=description, row_maps=row_maps, model=model, validation=validation)


def _row_map(tensors: dict[str, torch.Tensor], index: int, record: RowMapRecord, feature: str) -> RowMap:
    try:
        return RowMap(
            keys=tensors.pop(f"row_maps.{index}.keys").numpy(),
            rows=tensors.pop(f"row_maps.{index}.rows").numpy(),
            hashed_first=record.hashed_first,
            hashed_rows=record.hashed_rows,
            salt=record.salt,
        )
    except CheckpointError as error:
        raise CheckpointError(f"feature {feature}: {error}") from error
