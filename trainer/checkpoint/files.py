"""The checkpoint: a trained model, how it was made, and a sample of validation rows.

    <folder>/checkpoint.json           schema, settings, row maps' scalars, metrics, provenance
            /model.safetensors         weights, each row map's keys and rows, how often rows and ids were
                                       accessed
            /validation.safetensors    up to 20,000 raw validation rows: the exporter proves itself on them;
                                       and the first ones' probabilities, which loading must give again

Whole or not there (see `tablefold.files.atomic`). Arrays are read without running code (safetensors).
"""

from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors

from tablefold.errors import CheckpointError, UsageError
from tablefold.files.atomic import create_folder, read_folder, write_text
from tablefold.logs import Log
from tablefold.trainer.checkpoint.checkpoint import Checkpoint, build_model, require_examples
from tablefold.trainer.checkpoint.description import Description
from tablefold.trainer.checkpoint.formats import read_description, upgrade_weights
from tablefold.trainer.checkpoint.id_arrays import (
    row_map_arrays,
    take_row_maps,
    take_vocabularies,
    vocabulary_arrays,
)
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.networks.ctr_model import CTRModel
from tablefold.trainer.networks.registry import NetworkFactory
from tablefold.validation import first_fault

ROW_COUNTS = "row_counts"
DESCRIPTION, ARRAYS, VALIDATION = "checkpoint.json", "model.safetensors", "validation.safetensors"
VALIDATION_ROWS = 20_000
REPLAYED_ROWS = 32
REPLAY_TOLERANCE = 1e-4
"""Above what another machine's rounding does to a probability, below what another network does."""


def require_free(folder: Path) -> None:
    """Raise UsageError if anything but an older checkpoint stands where one is to be written."""
    if folder.name in ("", ".."):
        raise UsageError(f"--out {str(folder)!r} has no name of its own; give the folder to write")
    try:
        occupied = (folder.is_dir() and any(folder.iterdir())) or (folder.exists() and not folder.is_dir())
        is_checkpoint = (folder / DESCRIPTION).is_file()
    except OSError as error:
        raise UsageError(f"--out {folder} cannot be used: {error.strerror}") from error
    if folder.is_symlink() and not folder.exists():
        raise UsageError(f"{folder} is a link that leads nowhere; give another --out, or remove it")
    if occupied and not is_checkpoint:
        raise UsageError(f"{folder} exists and is not a checkpoint; give another --out, or remove it")


def save(checkpoint: Checkpoint, folder: Path | str) -> None:
    """Write a checkpoint; an older one of the same name is replaced only once the new one is whole.

    Raises UsageError rather than replace anything else, and where the disk is full.
    """
    folder = Path(folder)
    require_free(folder)
    try:
        with create_folder(folder, replace=True) as draft:
            _write(checkpoint, draft)
    except (OSError, SafetensorError) as error:
        raise _not_written(folder, error) from error


def describe(description: Description, folder: Path) -> None:
    """Give a checkpoint another description. Raises UsageError where the disk is full."""
    try:
        write_text(folder / DESCRIPTION, description.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise _not_written(folder, error) from error


def _not_written(folder: Path, error: Exception) -> UsageError:
    return UsageError(f"{folder} could not be written ({error}); what stood there before is whole")


def _write(checkpoint: Checkpoint, draft: Path) -> None:
    tensors = {name: tensor.cpu().contiguous() for name, tensor in checkpoint.model.state_dict().items()}
    for name in [name for name in tensors if name.startswith("network.")]:
        tensors[name] = tensors[name].clone()  # a network may tie weights, safetensors may not
    tensors |= row_map_arrays(checkpoint.row_maps) | vocabulary_arrays(checkpoint.vocabularies or ())
    if checkpoint.row_counts is not None:
        tensors[ROW_COUNTS] = torch.from_numpy(checkpoint.row_counts)
    save_tensors(tensors, draft / ARRAYS)
    rows = checkpoint.validation.take(slice(0, VALIDATION_ROWS))
    save_file(
        {
            "dense": np.ascontiguousarray(rows.dense),
            "ids": np.ascontiguousarray(rows.ids),
            "label": np.ascontiguousarray(rows.labels),
            "probability": checkpoint.model.predict(rows.take(slice(0, REPLAYED_ROWS))),
        },
        draft / VALIDATION,
    )
    text = checkpoint.description.model_dump_json(indent=2) + "\n"
    (draft / DESCRIPTION).write_text(text, encoding="utf-8")


def load(folder: Path | str, network: NetworkFactory | None = None) -> Checkpoint:
    """Read a checkpoint back; `network` makes any network that is not ours, since no code is imported for
    what a checkpoint says.

    Raises CheckpointError for one that is absent, damaged or contradicts itself (wrong shapes, an id twice in
    a vocabulary, weights that are not numbers), and where its network is missing or another than it was.
    """
    folder = Path(folder)
    try:
        description, tensors, sample = read_folder(folder, _read)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} is not a checkpoint: {error.filename or error} is missing"
        ) from error
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    except ValidationError as error:
        raise CheckpointError(f"the checkpoint {folder} is damaged: {first_fault(error)}") from error
    except (ValueError, SafetensorError, OSError) as error:
        raise CheckpointError(f"the checkpoint {folder} is damaged: {error}") from error
    try:
        row_maps = tuple(
            take_row_maps(tensors, index, record, description.feature_schema.categorical[index].name)
            for index, record in enumerate(description.features)
        )
        validation = Log(dense=sample["dense"], ids=sample["ids"], label=sample["label"])
        # Weights stay where safetensors mapped them: no second table in memory, nothing drawn for nothing.
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
    if "probability" in sample:
        _require_replay(model, validation, sample["probability"], folder)
    return Checkpoint(
        description=description,
        row_maps=row_maps,
        model=model,
        validation=validation,
        row_counts=None if row_counts is None else row_counts.numpy(),
        vocabularies=vocabularies,
    )


def read_settings(folder: Path) -> TrainConfig:
    """Return the settings that a checkpoint was trained with. Raises CheckpointError for a damaged one."""
    try:
        return _read_description(folder)[0].config
    except (ValueError, OSError) as error:
        raise CheckpointError(f"the checkpoint {folder} is damaged: {error}") from error


def _read_description(folder: Path) -> tuple[Description, int]:
    content, written_format = read_description((folder / DESCRIPTION).read_bytes())
    return Description.model_validate(content, extra="ignore"), written_format  # fields of a newer Tablefold


def _read(folder: Path) -> tuple[Description, dict[str, torch.Tensor], dict[str, np.ndarray]]:
    description, written_format = _read_description(folder)
    tensors = upgrade_weights(load_tensors(folder / ARRAYS), written_format)
    return description, tensors, load_file(folder / VALIDATION)


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


def _require_replay(model: CTRModel, validation: Log, probability: np.ndarray, folder: Path) -> None:
    """Raise CheckpointError unless the model gives the probabilities that it was saved with.

    Weights also fit a network of the same shapes that computes something else.
    """
    replayed = model.predict(validation.take(slice(0, REPLAYED_ROWS)))
    if probability.shape != replayed.shape:
        raise CheckpointError(
            f"the checkpoint {folder} is damaged: it has {list(probability.shape)} probabilities, and needs "
            f"{list(replayed.shape)}"
        )
    off = np.abs(replayed - probability)
    if not off.max(initial=0) <= REPLAY_TOLERANCE:
        raise CheckpointError(
            f"the checkpoint {folder} no longer gives the probabilities it was saved with (off by "
            f"{off.max():.2g}): its network's code has changed, or --network names another one"
        )
