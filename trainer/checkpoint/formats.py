"""Checkpoints of older formats become the newest one as they are read.

2   settings `batch_rows` and `table_lr`; the network's weights begin with `head.network.`; without dense
    values DLRM reads only products of vectors
3   settings `batch_size` and `embedding_lr`; the network's weights begin with `network.module.`; the setting
    `vectors_without_dense`
"""

import json
import re
from typing import Any, Final

from torch import Tensor

from tablefold.errors import CheckpointError

OLDEST: Final = 2
FORMAT: Final = 3
RENAMED_SETTINGS = {"batch_rows": "batch_size", "table_lr": "embedding_lr"}


def read_description(text: bytes) -> tuple[dict[str, Any], int]:
    """The content of `checkpoint.json` in the newest format, and the format that it had.

    Raises ValueError for what is no JSON object, CheckpointError naming a format that this Tablefold does not
    read.
    """
    try:
        content = json.loads(text)
    except RecursionError as error:
        raise ValueError("its description is nested too deep") from error
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        raise ValueError("its description is no JSON object with a `config` object")
    written = content.get("format", FORMAT)
    if type(written) is not int or not OLDEST <= written <= FORMAT:
        raise CheckpointError(
            f"the checkpoint has format {written!r}, and this Tablefold reads {OLDEST} to {FORMAT}: use the "
            "Tablefold that wrote it, or a newer one"
        )
    if written < 3:
        config = {RENAMED_SETTINGS.get(name, name): value for name, value in content["config"].items()}
        seed = config.get("seed", 0)
        if type(seed) is int:
            config["seed"] = seed % (1 << 63)  # seeds below 0 were settings then
        content = content | {"config": config | {"vectors_without_dense": False}}
    return content | {"format": FORMAT}, written


def upgrade_weights(tensors: dict[str, Tensor], written: int) -> dict[str, Tensor]:
    """The arrays of a checkpoint of format `written` by their names in the newest one."""
    if written < 3:
        return {
            re.sub(r"^head\.network\.", "network.module.", name): tensor for name, tensor in tensors.items()
        }
    return tensors
