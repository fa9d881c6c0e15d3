"""The checkpoint: a trained model, how it was made, and a sample of validation rows.

    <folder>/checkpoint.json           schema, settings, row maps' scalars, metrics, provenance
            /model.safetensors         weights, each row map's keys and rows, how often rows and ids were
                                       accessed
            /validation.safetensors    up to 20,000 raw validation rows: the exporter proves itself on them;
                                       and the first ones' probabilities, which loading must give again

Whole or not there (see `tablefold.files.atomic`). Arrays are read without running code (safetensors).
"""

from collections.abc import Mapping
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
from tablefold.trainer.checkpoint.assemble import ROW_COUNTS, assemble
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.checkpoint.description import Description
from tablefold.trainer.checkpoint.formats import read_description, upgrade_weights
from tablefold.trainer.checkpoint.id_arrays import row_map_arrays, vocabulary_arrays
from tablefold.trainer.checkpoint.tensor_file import TensorParts, write_tensors
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.networks.ctr_model import CTRModel
from tablefold.trainer.networks.registry import NetworkFactory
from tablefold.validation import first_fault

DESCRIPTION, ARRAYS, VALIDATION = "checkpoint.json", "model.safetensors", "validation.safetensors"
NETWORK = "network."
"""Names of its weights begin so."""
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


def save(
    checkpoint: Checkpoint, folder: Path | str, streamed: Mapping[str, TensorParts] | None = None
) -> None:
    """Write a checkpoint; an older one of the same name is replaced only once the new one is whole.

    `streamed` are weights of the model that come piece by piece. Raises UsageError rather than replace
    anything else, and where the disk is full.
    """
    folder = Path(folder)
    require_free(folder)
    try:
        with create_folder(folder, replace=True) as draft:
            _write(checkpoint, draft, streamed or {})
    except (OSError, SafetensorError) as error:
        raise not_written(folder, error) from error


def describe(description: Description, folder: Path) -> None:
    """Give a checkpoint another description. Raises UsageError where the disk is full."""
    try:
        write_text(folder / DESCRIPTION, description.model_dump_json(indent=2) + "\n")
    except OSError as error:
        raise not_written(folder, error) from error


def not_written(folder: Path, error: Exception) -> UsageError:
    """Return the error of a checkpoint that could not be written."""
    return UsageError(f"{folder} could not be written ({error}); what stood there before is whole")


def _write(checkpoint: Checkpoint, draft: Path, streamed: Mapping[str, TensorParts]) -> None:
    weights = {name: w for name, w in checkpoint.model.state_dict().items() if name not in streamed}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in weights.items()}
    for name in [name for name in tensors if name.startswith(NETWORK)]:
        tensors[name] = tensors[name].clone()  # a network may tie weights, safetensors may not
    tensors |= row_map_arrays(checkpoint.row_maps) | vocabulary_arrays(checkpoint.vocabularies or ())
    if checkpoint.row_counts is not None:
        tensors[ROW_COUNTS] = torch.from_numpy(checkpoint.row_counts)
    if streamed:
        write_tensors(draft / ARRAYS, {**tensors, **streamed})
    else:
        save_tensors(tensors, draft / ARRAYS)
    write_validation(checkpoint, draft)
    write_description(checkpoint.description, draft)


def write_validation(checkpoint: Checkpoint, draft: Path) -> None:
    """Write a sample of the validation examples, and what the model says of the first."""
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


def write_description(description: Description, draft: Path) -> None:
    """Write a checkpoint's description."""
    text = description.model_dump_json(indent=2) + "\n"
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
    checkpoint = assemble(description, tensors, sample, network, folder)
    if "probability" in sample:
        _require_replay(checkpoint.model, checkpoint.validation, sample["probability"], folder)
    return checkpoint


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
