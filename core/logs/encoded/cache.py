"""A cache: a folder that holds one log as arrays, encoded once and mapped into memory by every later run.

Whole or not there (see `tablefold.files.atomic`): a cache that a kill or a full disk cut off is never seen.
It says what it was made from, and each array's checksum is compared when it is opened: one of other files, or
a damaged one, is refused by name, never used and never removed.
"""

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import xxhash
from pydantic import BaseModel, ConfigDict, ValidationError

from tablefold.errors import CacheError
from tablefold.files.atomic import create_folder
from tablefold.files.place import Place, stamp
from tablefold.logs.encoded.encode import OnRows, encode
from tablefold.logs.encoded.engines import Engine
from tablefold.logs.encoded.tasks import Piece
from tablefold.logs.encoded_log import EncodedLog
from tablefold.logs.log import Log
from tablefold.logs.source import Source
from tablefold.logs.splits import PARTS, Splits
from tablefold.logs.tables.compressed import require_file
from tablefold.schema import FeatureSchema

DESCRIPTION = "cache.json"


class Origin(BaseModel):
    """What a cache is made from."""

    model_config = ConfigDict(frozen=True)

    feature_schema: FeatureSchema
    cut: str
    """How rows became parts."""
    settings: str = ""
    """How the files were read where that was not as usual."""
    files: dict[str, tuple[int, int]]
    """By name: bytes, and when they were changed, ns; of one in a store, the number of its mark."""

    @classmethod
    def of(cls, source: Source, files: Sequence[Place], cut: str) -> Self:
        """Describe files as they are now. Raises LogError for one that is not there."""
        distinct = len({file.name for file in files}) == len(files)
        found = {file.name if distinct else str(file): stamp(require_file(file)) for file in files}
        return cls(feature_schema=source.schema, cut=cut, files=found, settings=source.settings)

    def difference(self, was: Self) -> str | None:
        """Say what is no longer as it was."""
        if list(was.files) != list(self.files):
            return f"of {', '.join(was.files)}, not of {', '.join(self.files)}"
        for name, (size, changed) in self.files.items():
            before, then = was.files[name]
            if before != size:
                return f"when {name} had {before:,} bytes, and it has {size:,}"
            if changed != then:
                return f"before {name} was last changed"
        if was.cut != self.cut:
            return f"of rows cut {was.cut}, not {self.cut}"
        if was.settings != self.settings:
            return f"by other settings of the files ({was.settings or 'the usual ones'})"
        return None if was.feature_schema == self.feature_schema else "by another feature schema"


class Description(BaseModel):
    """What a cache says of itself."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    origin: Origin
    rows: dict[str, int]
    ids: tuple[int, ...]
    """Distinct ones of each feature."""
    checksums: dict[str, str]
    """XXH3 of each array's file."""


def is_cache(folder: Path) -> bool:
    """Whether a cache stands there. Raises CacheError if something else does."""
    if (folder / DESCRIPTION).is_file():
        return True
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CacheError(f"{folder} exists and is no cache; give another --cache, or remove it")
    return False


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make runs that want the same cache wait for each other: the second finds what the first has made.

    Raises CacheError where no cache can stand.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = (folder.parent / f".{folder.name}.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise CacheError(f"no cache can stand at {folder} ({error}); give another --cache") from error
    with lock:
        yield


def write(
    pieces: Sequence[Piece],
    rows: Sequence[int],
    part_of_row: np.ndarray,
    origin: Origin,
    folder: Path,
    engine: Engine,
    on_rows: OnRows,
) -> None:
    """Encode pieces, which have so many rows, into a folder of that name, as `encode` does.

    Raises LogError for rows that cannot be read, CacheError where the disk is full.
    """
    try:
        with create_folder(folder) as draft:
            encode(pieces, rows, part_of_row, draft.resolve(), engine, on_rows)
            paths = sorted(draft.iterdir())
            description = Description(
                origin=origin,
                rows=dict(zip(PARTS, np.bincount(part_of_row, minlength=3).tolist(), strict=True)),
                ids=tuple(
                    (draft / f"{feature}.ids").stat().st_size // 8
                    for feature in range(len(origin.feature_schema.categorical))
                ),
                checksums={path.name: _checksum(path) for path in paths},
            )
            (draft / DESCRIPTION).write_text(description.model_dump_json(indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise CacheError(
            f"{folder} could not be written ({error}); make room, or give another --cache"
        ) from error


def read(folder: Path, origin: Origin) -> Splits:
    """What `write` wrote, mapped into memory; training rows encoded.

    Raises CacheError for one that is damaged, or of other files, schema or cut than `origin`.
    """
    try:
        made = Description.model_validate_json((folder / DESCRIPTION).read_bytes())
    except (OSError, ValidationError) as error:
        raise CacheError(f"the cache {folder} is damaged: {DESCRIPTION} cannot be read; remove it") from error
    difference = origin.difference(made.origin)
    if difference is not None:
        raise CacheError(f"the cache {folder} was made {difference}; remove it, or give another --cache")
    for name, checksum in made.checksums.items():
        if not (folder / name).is_file() or _checksum(folder / name) != checksum:
            raise CacheError(f"the cache {folder} is damaged: {name} is not as it was written; remove it")
    schema = origin.feature_schema
    sizes = range(len(made.ids))

    def array(name: str, dtype: Any, *shape: int) -> np.ndarray:
        if 0 in shape:
            return np.empty(shape, dtype)  # nothing cannot be mapped
        # Copy on write: torch wants arrays that could be written, and the file stays as it is.
        return np.memmap(folder / name, dtype, "c", shape=shape)

    def held_out(name: str) -> Log:
        rows = made.rows[name]
        return Log(
            dense=array(f"{name}.dense", np.float32, len(schema.dense), rows).T,
            ids=array(f"{name}.ids", np.int64, schema.id_columns, rows).T,
            label=array(f"{name}.label", np.float32, rows),
        )

    train = EncodedLog(
        dense=array("train.dense", np.float32, len(schema.dense), made.rows["train"]),
        codes=array("train.codes", np.int32, schema.id_columns, made.rows["train"]),
        labels=array("train.label", np.float32, made.rows["train"]),
        ids=tuple(array(f"{feature}.ids", np.int64, made.ids[feature]) for feature in sizes),
        counts=tuple(array(f"{feature}.counts", np.int64, made.ids[feature]) for feature in sizes),
        feature_of_column=schema.feature_of_column,
        digest=xxhash.xxh3_128_hexdigest(repr(sorted(made.checksums.items())).encode()),
    )
    return Splits(train=train, validation=held_out("validation"), test=held_out("test"), rule=origin.cut)


def _checksum(path: Path) -> str:
    hashed = xxhash.xxh3_128()
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            hashed.update(piece)
    return hashed.hexdigest()
