"""Tensors of a `torch.distributed.checkpoint`, whatever it was sharded by: read without running code of it.

    <folder>/.metadata     a pickle: names, sizes, shards and where they lie
            /*.distcp      the shards

torch reads the pickle with `pickle.load`; here it may name nothing but what such a file needs.
"""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from tablefold.errors import CheckpointError

METADATA = ".metadata"
ALLOWED = {
    "collections": {"OrderedDict"},
    "pathlib": {"PosixPath"},
    "pathlib._local": {"PosixPath"},
    "torch": {"Size"} | {name for name, value in vars(torch).items() if isinstance(value, torch.dtype)},
    "torch.serialization": {"_get_layout"},
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo", "_StoragePrefix"},
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta",
        "TensorProperties", "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
    },
}  # fmt: skip
"""What the pickle may name, by module."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what is allowed. Raises UnpicklingError."""
        if name not in ALLOWED.get(module, ()):
            raise pickle.UnpicklingError(f"it names {module}.{name}")
        return super().find_class(module, name)


class _Reader(FileSystemReader):
    def read_metadata(self, *arguments: Any, **named: Any) -> Metadata:
        """Return what the folder holds."""
        with (Path(self.path) / METADATA).open("rb") as file:
            metadata = _Unpickler(file).load()
        if not isinstance(metadata, Metadata):
            raise pickle.UnpicklingError(f"it holds {type(metadata).__name__}")
        return metadata


class ShardedFiles:
    """The tensors of a folder by name. Raises CheckpointError where it is no such checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reader = _Reader(folder)
        try:
            metadata = self._reader.read_metadata()
        except FileNotFoundError:
            raise CheckpointError(
                f"{folder} is no checkpoint of torch.distributed.checkpoint: it has no {METADATA}, which is "
                "written last"
            ) from None
        except OSError as error:
            raise CheckpointError(f"{folder} cannot be read: {error.strerror}") from error
        except Exception as error:  # a pickle may raise anything
            raise CheckpointError(f"{folder / METADATA} is damaged or of another kind: {error}") from error
        stored: Mapping[str, Any] = metadata.state_dict_metadata
        self._tensors = {
            name: about for name, about in stored.items() if isinstance(about, TensorStorageMetadata)
        }
        for place in (metadata.storage_data or {}).values():
            if Path(place.relative_path).name != place.relative_path:
                raise CheckpointError(f"{folder / METADATA} leads out of its folder: {place.relative_path}")

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    @property
    def names(self) -> list[str]:
        """Of all tensors, as the model that was saved calls them."""
        return list(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a whole tensor."""
        return tuple(self._tensors[name].size)

    def dtype(self, name: str) -> torch.dtype:
        """Return the dtype of a tensor."""
        return self._tensors[name].properties.dtype

    def read(self, names: list[str]) -> dict[str, torch.Tensor]:
        """Return whole tensors, their shards put together. Raises CheckpointError."""
        found = {name: torch.empty(self.shape(name), dtype=self.dtype(name)) for name in names}
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "torch.distributed is disabled")  # as it is meant
                load(found, storage_reader=self._reader, no_dist=True)
        except CheckpointException as error:  # no Exception, and its text holds a traceback
            causes = [cause for cause, _ in error.failures.values()]
            raise CheckpointError(
                f"{self.folder}: {names[0]!r} cannot be read; is a file of it missing or cut off? {causes[0]}"
            ) from error
        return found
