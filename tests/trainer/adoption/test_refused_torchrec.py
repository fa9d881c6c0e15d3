"""Checkpoints of TorchRec that do not fit, are damaged or hostile: refused by name, and run nothing."""

import os
import pickle
from pathlib import Path

import pytest
import torch

from tablefold.errors import CheckpointError
from tablefold.trainer.adoption.sharded_files import METADATA
from tests.trainer.adoption.shop import (
    Save,
    Sum,
    adopted_of,
    log_of,
    managed,
    schema_of,
    some_ids,
    state,
)

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")  # so `save` says

USER = "ebc.embedding_bags.t_user.weight"


@pytest.mark.parametrize(
    ("tensors", "named", "says"),
    [
        ({USER: None}, {}, "'user' has no table of its own, user or t_user, .* there are t_item, t_place"),
        ({"other.embedding_bags.user.weight": torch.ones(2, 2)}, {}, "'user' has two tables of its own"),
        ({"copy.embedding_bags.t_user.weight": torch.ones(2, 2)}, {}, "two tables 't_user': .*save the"),
        ({}, {"buyer": "t_user"}, "'buyer' is given the table 't_user' and is no categorical feature"),
        ({}, {"user": "t_nobody"}, "no table 't_nobody'; there are: t_item, t_place, t_user"),
        ({USER: torch.ones(4)}, {}, r"'user': table .* is torch.float32 \[4\], and must be float"),
        ({USER: torch.ones(4, 4, dtype=torch.int64)}, {}, "is torch.int64"),
        ({USER: torch.full((7, 4), float("nan"))}, {}, "'user': the vector of the id 0 is not all numbers"),
        ({"scale": None}, {}, r"the weights of the network \(scale, ...\) are not all there"),
        ({"copy.scale": torch.ones(1)}, {}, "are there under several prefixes"),
        ({"scale": torch.ones(2)}, {}, r"'scale' is \[2\] in .*, and the factory's network has \[1\]"),
        (managed("user", [1], [9], 7, [0, 7]), {}, "'user': the ids of table .* lead to rows that it has"),
        (managed("user", [1], [-1], 7, [0, 7]), {}, "lead to rows that it has not"),
        (managed("user", [1], [1], 7, [0, 70]), {}, "lead to rows that it has not"),
        (managed("user", [1], [1], 7, [0]), {}, "lead to rows that it has not"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(save: Save, tensors, named, says) -> None:
    whole = {name: tensor for name, tensor in (state() | tensors).items() if tensor is not None}
    with pytest.raises(CheckpointError, match=says):
        adopted_of(save(whole), schema_of(), Sum, log_of(some_ids()), tables=named)


class Ran:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self._folder),)


def test_a_folder_that_is_none_or_damaged_or_hostile_is_refused_and_runs_nothing(
    save: Save, tmp_path: Path
) -> None:
    def refused(folder: Path, says: str) -> None:
        with pytest.raises(CheckpointError, match=says):
            adopted_of(folder, schema_of(), Sum, log_of(some_ids()))

    refused(tmp_path / "nowhere", "it has no .metadata, which is written last")
    folder = save(state())
    about = (folder / METADATA).read_bytes()
    for part in (b"", about[:40], b"no pickle"):
        (folder / METADATA).write_bytes(part)
        refused(folder, "damaged or of another kind")
    (folder / METADATA).write_bytes(pickle.dumps(Ran(tmp_path / "ran")))
    refused(folder, "names posix.mkdir")
    assert not (tmp_path / "ran").exists()
    elsewhere = pickle.loads(about)
    for place in elsewhere.storage_data.values():
        place.relative_path = "../elsewhere"
    (folder / METADATA).write_bytes(pickle.dumps(elsewhere))
    refused(folder, "leads out of its folder")
    (folder / METADATA).write_bytes(about)
    [shards] = folder.glob("*.distcp")
    whole = shards.read_bytes()
    shards.write_bytes(whole[: len(whole) // 2])
    refused(folder, "cannot be read; is a file of it missing or cut off")
    shards.unlink()
    refused(folder, "cannot be read; is a file of it missing or cut off")
