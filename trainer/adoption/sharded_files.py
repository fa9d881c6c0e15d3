"""Tensors of a `torch.distributed.checkpoint`, whatever it was sharded by: read without running code of it.

    <folder>/.metadata     a pickle: names, sizes, shards and where they lie
            /*.distcp      the shards

torch reads the pickle with `pickle.load`; here it may name nothing but what such a file needs.
"""

import pickle
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from tablefold.errors import CheckpointError
from tablefold.trainer.adoption.stored_pieces import StoredPiece

METADATA = ".metadata"
PART_BYTES = 4 << 20
"""Of a table that is read in parts."""
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

    def slice_of(self, file: IO[bytes], place: Any) -> IO[bytes]:
        """Return that part of an open file where something is stored."""
        return self._slice_file(file, place)


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
        self._places: Mapping[MetadataIndex, Any] = metadata.storage_data or {}
        for place in self._places.values():
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
        """Return whole tensors, their pieces put together. Raises CheckpointError."""
        found = {name: torch.empty(self.shape(name), dtype=self.dtype(name)) for name in names}
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "torch.distributed is disabled")  # as it is meant
                load(found, storage_reader=self._reader, no_dist=True)
        except CheckpointException as error:  # no Exception, and its text holds a traceback
            raise self._unreadable(names[0], next(iter(error.failures.values()))[0]) from error
        return found

    def parts(self, name: str) -> Iterator[torch.Tensor]:
        """Give a table's rows [n, d] some at a time, from the first on: about `PART_BYTES`, however large its
        pieces are. What no piece has is NaN. Raises CheckpointError.

        A piece that is compressed, or stored column by column, is put together in memory first.
        """
        n, d = self.shape(name)
        at_once = max(1, PART_BYTES // max(1, d * self.dtype(name).itemsize))
        pieces = self._pieces(name)
        if pieces is None:
            yield from torch.split(self.read([name])[name], at_once)
            return
        for start in range(0, n, at_once):
            part = torch.full((min(at_once, n - start), d), torch.nan, dtype=self.dtype(name))
            try:
                for piece in pieces:
                    piece.copy_into(part, start)
            except (OSError, ValueError, RuntimeError) as error:
                raise self._unreadable(name, error) from error
            yield part

    def _pieces(self, name: str) -> list[StoredPiece] | None:
        """Return the pieces of a table, None where one cannot be read in parts."""
        pieces = []
        for chunk in self._tensors[name].chunks:
            try:
                place = self._places[MetadataIndex(name, chunk.offsets)]
                if getattr(place, "transform_descriptors", None):
                    return None
                path = self.folder / place.relative_path
                with path.open("rb") as file:
                    saved = self._reader.slice_of(file, place)
                    piece = StoredPiece.of(path, place.offset, saved, chunk.offsets, chunk.sizes)
            except Exception as error:  # of a damaged archive torch may raise anything
                raise self._unreadable(name, error) from error
            if piece is None:
                return None
            pieces.append(piece)
        return pieces

    def _unreadable(self, name: str, cause: BaseException) -> CheckpointError:
        return CheckpointError(
            f"{self.folder}: {name!r} cannot be read; is a file of it missing or cut off? {cause}"
        )
