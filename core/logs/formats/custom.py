"""Any CSV, TSV or Parquet log, described by a feature schema in TOML.

name = "shop"
label = "click"

[files]                    # paths are relative to this file
format = "csv"             # csv, tsv or parquet; text files may be .gz
train = "train.csv"        # or `path = "log.csv"`, one log to be split
validation = "dev.csv"
test = "test.csv"
list_separator = "|"       # between the values of a multi-valued feature

[[dense]]
name = "price"
transform = "log1p"        # or "none"

[[categorical]]
name = "user"
encoding = "int"           # int, hex32 or string
min_count = 2
[[categorical]]
name = "tags"
encoding = "string"
slots = 4                  # multi-valued: up to four values a row
pooling = "mean"           # or "sum"
"""

import tomllib
from functools import partial
from pathlib import Path
from typing import Literal, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from tablefold.errors import LogError, SchemaError
from tablefold.logs.formats.parse import parse
from tablefold.logs.formats.text import part, read_text, refuse_ragged_lines, scan_text
from tablefold.logs.log import Log
from tablefold.logs.log_file import LogFile
from tablefold.schema import FeatureSchema


class Files(BaseModel):
    """Where the rows are and how they are written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["csv", "tsv", "parquet"]
    path: Path | None = None
    train: Path | None = None
    validation: Path | None = None
    test: Path | None = None
    list_separator: str = "|"

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if (self.path is None) == (self.train is None):
            raise ValueError("give either `path` (one log) or `train` (and `validation`, `test`)")
        if self.path is not None and (self.validation or self.test):
            raise ValueError("`path` is one log to be split; `validation` and `test` go with `train`")
        return self


def read_schema(path: Path) -> tuple[FeatureSchema, Files]:
    """The feature schema and the files of a TOML file. Raises SchemaError saying what to mend."""
    try:
        content = tomllib.loads(path.read_text())
        files = Files.model_validate(content.pop("files", {}))
        schema = FeatureSchema.model_validate(content)
    except OSError as error:
        raise SchemaError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SchemaError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or error.title
        raise SchemaError(f"{path}: {where}: {first['msg']}") from error
    folder = path.parent
    relative = files.model_dump(include={"path", "train", "validation", "test"}, exclude_none=True)
    return schema, files.model_copy(update={key: folder / value for key, value in relative.items()})


def open_file(path: Path, schema: FeatureSchema, files: Files) -> LogFile:
    """One file of the format `files` names. Raises LogError."""
    if files.format == "parquet":
        return _open_parquet(path, schema, files.list_separator)
    separator = "," if files.format == "csv" else "\t"

    def read_part(first: int, rows: int | None) -> Log:
        frame = read_text(path, separator=separator, columns=None, quote='"', rows=part(first, rows))
        return parse(frame, schema, file=path, header_lines=first + 1, list_separator=files.list_separator)

    return LogFile(
        path=path,
        frame=scan_text(path, separator=separator, columns=None, quote='"'),
        read_part=read_part,
        require_whole_lines=partial(refuse_ragged_lines, path, separator, '"', None),
        list_separator=files.list_separator,
    )


def _open_parquet(path: Path, schema: FeatureSchema, list_separator: str) -> LogFile:
    frame = pl.scan_parquet(path)

    def read_part(first: int, rows: int | None) -> Log:
        try:
            read = (frame if rows is None else frame.slice(first, rows)).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise LogError(f"cannot be read as Parquet: {error}", file=str(path)) from error
        return parse(read, schema, file=path, header_lines=first, list_separator=list_separator)

    return LogFile(path=path, frame=frame, read_part=read_part, list_separator=list_separator)
