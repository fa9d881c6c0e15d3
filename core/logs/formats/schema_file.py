"""Any CSV, TSV or Parquet log, described by a feature schema in TOML.

name = "shop"
label = "click"
time = "timestamp"         # optional: a split by order goes by this column

[files]                    # paths are relative to this file, or URLs: s3://, gs://, az://, https://
format = "csv"             # csv, tsv or parquet; text files may be gzip
train = "train.csv"        # or `path = "log.csv"`, one log to be split
validation = "dev.csv"
test = "test.csv"          # each may be a list of files, or a folder of parts
list_separator = "|"       # between the values of a multi-valued feature
quoting = true             # csv only: false if `"` is a character like any other

[[dense]]
name = "price"
transform = "log1p"        # or "none"
optional = true            # of any feature: a request may leave it out

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

import logging
from collections.abc import Hashable, Iterable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    model_validator,
)

from tablefold.errors import SchemaError
from tablefold.files.place import Place, identity, place_of
from tablefold.files.toml_file import read_toml
from tablefold.logs.formats.schema_errors import Keys, explain
from tablefold.logs.source import Source, Table
from tablefold.logs.splits import Part
from tablefold.logs.tables.parquet import ParquetTable
from tablefold.logs.tables.several import open_paths
from tablefold.logs.tables.text import TextTable
from tablefold.schema import CategoricalFeature, DenseFeature, FeatureSchema, Name

logger = logging.getLogger(__name__)

FileFormat = Literal["csv", "tsv", "parquet"]
SEPARATORS: Mapping[FileFormat, str] = {"csv": ",", "tsv": "\t"}


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


PathText = Annotated[str, Field(pattern=r"^[^\x00]+$")]
Paths = Annotated[tuple[PathText, ...], BeforeValidator(_as_list), Field(min_length=1)]


class Files(BaseModel):
    """Where the rows are and how they are written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: FileFormat
    path: Paths | None = None
    train: Paths | None = None
    validation: Paths | None = None
    test: Paths | None = None
    list_separator: Annotated[str, Field(min_length=1)] = "|"
    quoting: StrictBool | None = None

    @model_validator(mode="after")
    def _path_or_train(self) -> Self:
        if (self.path is None) == (self.train is None):
            raise ValueError("give either `path` (one log) or `train` (and `validation`, `test`)")
        if self.path is not None and (self.validation or self.test):
            raise ValueError("`path` is one log to be split; `validation` and `test` go with `train`")
        if self.quoting is not None and self.format != "csv":
            raise ValueError(f"`quoting` is for csv; in {self.format} a quote is a character like any other")
        return self

    def open(self, path: Place) -> Table:
        """Return the table of one file."""
        if self.format == "parquet":
            return ParquetTable(path=path)
        quoting = self.format == "csv" and self.quoting is not False
        return TextTable(path=path, separator=SEPARATORS[self.format], quoting=quoting)


class SchemaFile(BaseModel):
    """What a SCHEMA.toml holds."""

    model_config = ConfigDict(frozen=True)

    feature_schema: FeatureSchema
    files: Files
    time: Name | None = None

    @model_validator(mode="after")
    def _time_is_no_label(self) -> Self:
        if self.time == self.feature_schema.label:
            raise ValueError("`time` names the label: that would split the log by its labels")
        return self


OUTSIDE_SCHEMA = tuple(key for key in SchemaFile.model_fields if key != "feature_schema")
KEYS: Keys = {
    "": (*FeatureSchema.model_fields, *OUTSIDE_SCHEMA),
    "files": tuple(Files.model_fields),
    "dense": tuple(DenseFeature.model_fields),
    "categorical": tuple(CategoricalFeature.model_fields),
}


def read_schema(path: Place) -> SchemaFile:
    """Read a SCHEMA.toml. Raises SchemaError that says what to mend."""
    content = read_toml(path, SchemaError)
    others = {key: content.pop(key) for key in OUTSIDE_SCHEMA if key in content}
    try:
        return SchemaFile.model_validate({"feature_schema": content} | others)
    except ValidationError as error:
        raise SchemaError(f"{path}: {explain(error, content | others, KEYS)}") from None


def open_source(path: Place) -> Source:
    """Return what a SCHEMA.toml describes. Raises SchemaError, LogError for a folder without parts."""
    described = read_schema(path)
    files = described.files

    def table(paths: Paths) -> Table:
        return open_paths([place_of(file, path.parent) for file in paths], files.open)

    given: dict[Part, Paths | None] = {
        "train": files.train, "validation": files.validation, "test": files.test
    }  # fmt: skip
    separator, quoting = files.list_separator, files.quoting
    settings = [] if separator == "|" else [f"list_separator = {separator!r}"]
    settings += ["quoting = false"] if quoting is False else []
    parts = {part: table(paths) for part, paths in given.items() if paths is not None}
    whole = None if files.path is None else table(files.path)
    _require_distinct(path, parts.items() if whole is None else [("path", whole)])
    return Source(
        schema=described.feature_schema,
        whole=whole,
        parts=parts,
        time=described.time,
        list_separator=separator,
        settings=", ".join(settings),
    )


def _require_distinct(schema: Place, tables: Iterable[tuple[str, Table]]) -> None:
    """Raise SchemaError for a file whose rows would count twice, or be trained on and judged by.

    Validation and test examples may be the same; a warning says what the test is worth then.
    """
    key_of: dict[Hashable, str] = {}
    for key, table in tables:
        for path in table.files:
            file = identity(path)
            before = key_of.setdefault(file, "")
            if before == key:
                raise SchemaError(
                    f"{schema}: [files]: `{key}` names {path} twice: that counts its rows twice"
                )
            if before == "train":
                raise SchemaError(
                    f"{schema}: [files]: `train` and `{key}` name the same file, {path}: the model would be "
                    "judged by the rows it was trained on"
                )
            if before:
                logger.warning(
                    "validation and test are the same rows, of %s: the test says nothing that the choice of "
                    "the best epoch did not see", path,
                )  # fmt: skip
            key_of[file] = before or key
