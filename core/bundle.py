"""The bundle: what the exporter writes and everybody else reads.

    <repository>/<model>/config.pbtxt
    <repository>/<model>/<version>/model.onnx        dense float32 [batch, N] (if N > 0), ids int64 [batch, C]
                                  /model.onnx.data    -> probability float32 [batch]
                                  /manifest.json

This module reads and checks the manifest and the digests of the files; it does not read the graph.
"""

import hashlib
import math
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tablefold.errors import BundleError
from tablefold.files.place import Place, place_of
from tablefold.files.regular_file import read_regular_file
from tablefold.files.remote import RemotePath
from tablefold.model_size import Footprint
from tablefold.reference import Reference
from tablefold.schema import FeatureSchema
from tablefold.validation import first_fault

MANIFEST = "manifest.json"
GRAPH = "model.onnx"
WEIGHTS = "model.onnx.data"
MAX_MANIFEST_BYTES = 64 << 20
MAX_TOLERANCE = 0.01
"""A larger one would let a wrong graph pass."""
TOLERANCE = 1e-5
"""The largest difference of a probability between torch, the graph and the server (fp32 network)."""
FORMAT: Final = 1
"""The newest format of a manifest that this Tablefold reads, and the one that it writes."""

PLAIN_NAME = "[A-Za-z0-9_][A-Za-z0-9_.-]"
MODEL_NAME = re.compile(PLAIN_NAME + "{0,127}")
VERSION_NUMBER = re.compile(r"[1-9][0-9]*", re.ASCII)
MAX_VERSION = (1 << 63) - 1
"""The largest version that every protocol carries: Triton's repository has signed 64 bits."""

RowType = Literal["fp32", "fp16", "int8", "int4"]
FileName = Annotated[str, Field(pattern=f"^{PLAIN_NAME}*$", max_length=255)]
"""A plain name: no folder, nothing that climbs out of the bundle."""


class FileDigest(BaseModel):
    """Size in bytes and SHA-256 (hex) of one file of the bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class GoldenRows(BaseModel):
    """Rows with the probabilities the exported graph gave; replayed before a version takes traffic."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dense: list[list[float | None]]
    """[rows, N]; null is a missing value (NaN)."""
    ids: list[list[int]]
    """[rows, C] raw ids."""
    probability: list[float]
    """[rows]"""

    @classmethod
    def of(cls, dense: np.ndarray, ids: np.ndarray, probability: np.ndarray) -> Self:
        """Make them from arrays float32 [rows, N], int64 [rows, C] and float32 [rows]."""
        return cls(
            dense=[[None if math.isnan(v) else float(v) for v in row] for row in dense],
            ids=ids.tolist(),
            probability=[float(p) for p in probability],
        )

    def arrays(self, schema: FeatureSchema) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the rows as float32 [rows, N], int64 [rows, C] and float32 [rows].

        Raises BundleError if they do not fit the schema.
        """
        rows = len(self.probability)
        try:
            dense = np.array(self.dense, dtype=np.float32).reshape(rows, len(schema.dense))
            ids = np.array(self.ids, dtype=np.int64).reshape(rows, schema.id_columns)
        except (ValueError, OverflowError) as error:
            raise BundleError(f"the golden rows do not fit the feature schema: {error}") from error
        return dense, ids, np.array(self.probability, dtype=np.float32)


class Method(BaseModel):
    """How the model was made. Nothing depends on it but what people are shown."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """The value of `--method`, such as `lhf+mlet`."""
    dim: Annotated[int, Field(ge=1)]
    """Width of a served vector, d."""
    rows: Annotated[int, Field(ge=0)]
    """Rows of the folded table, all features together."""
    distinct_ids: Annotated[int, Field(ge=0)]
    """Distinct raw ids in the training examples, all features together."""
    known_ids: Annotated[int, Field(ge=0)]
    """Ids in the dictionary, all features together."""


class Manifest(BaseModel):
    """Everything about a bundle but its arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = FORMAT
    name: Annotated[str, Field(pattern=f"^{PLAIN_NAME}*$", max_length=128)]
    version: Annotated[int, Field(ge=1, le=MAX_VERSION)]
    feature_schema: FeatureSchema
    method: Method
    row_type: RowType
    row_type_of: dict[str, RowType] = {}
    """Row types of the features that have one of their own."""
    network_type: Literal["fp32", "fp16", "int8"] = "fp32"
    tolerance: Annotated[float, Field(gt=0, le=MAX_TOLERANCE)] = TOLERANCE
    """The largest difference of a golden row's probability on another machine or device."""
    lookup: Literal["exact", "compact"] = "exact"
    """exact: the dictionary has its keys. compact: it has none, and unknown ids may pass for known ones."""
    false_hit_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The largest share of a feature's unknown ids that pass for known ones. Known ids are always found."""
    false_hit_rate_of: dict[str, Annotated[float, Field(ge=0, le=1)]] = {}
    """That share by feature, where it is above 0."""
    entropy_bytes: Annotated[int, Field(ge=0)] | None = None
    """The fewest bytes that could say which row each known id has: ids times entropy of their rows."""
    footprint: Footprint
    metrics: dict[str, float] = {}
    """Of the trained model on examples it was not trained on: validation_auc, test_logloss, ..."""
    provenance: dict[str, str] = {}
    """Versions, seeds and options that the checkpoint was made with."""
    reference: Reference | None = None
    """What the model met in examples it was not trained on; None in older bundles."""
    golden: GoldenRows
    files: dict[FileName, FileDigest]
    """Every file of the version's folder except the manifest itself."""

    @classmethod
    def parse(cls, text: str | bytes) -> Self:
        """Read the JSON of a manifest. Fields that a newer Tablefold has added are ignored.

        Raises BundleError for a newer format, and for what is no manifest.
        """
        try:
            return cls.model_validate_json(text, extra="ignore")
        except ValidationError as error:
            raise BundleError(f"the manifest is damaged: {first_fault(error)}") from error

    @model_validator(mode="before")
    @classmethod
    def _known_format(cls, content: Any) -> Any:
        """The format is looked at first: nothing else of a newer one means anything here."""
        written = content.get("format", FORMAT) if isinstance(content, dict) else FORMAT
        if type(written) is int and written > FORMAT:
            raise BundleError(
                f"the bundle has format {written}, and this Tablefold reads {FORMAT}: use a newer Tablefold"
            )
        return content

    @model_validator(mode="before")
    @classmethod
    def _features_without_optional(cls, content: Any) -> Any:
        """Older bundles do not say which features are optional: all are, as they were then."""
        schema = content.get("feature_schema") if isinstance(content, dict) else None
        if isinstance(schema, dict):
            for kind in ("dense", "categorical"):
                features = schema.get(kind, [])
                for feature in features if isinstance(features, list) else []:
                    if isinstance(feature, dict):
                        feature.setdefault("optional", True)
        return content


def digest(path: Path) -> FileDigest:
    """Return size and SHA-256 of a file. It is read in blocks."""
    with path.open("rb") as file:
        return FileDigest(bytes=path.stat().st_size, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def read_manifest(folder: Place | str) -> Manifest:
    """Read the manifest of a version's folder. Raises BundleError if it is absent, damaged or newer."""
    path = place_of(folder) / MANIFEST
    try:
        content = (
            path.read_bytes(MAX_MANIFEST_BYTES)
            if isinstance(path, RemotePath)
            else read_regular_file(path, MAX_MANIFEST_BYTES)
        )
        return Manifest.parse(content)
    except FileNotFoundError:
        raise BundleError(
            f"{folder} is not a bundle: it has no {MANIFEST}; "
            "give the version's folder, such as REPOSITORY/MODEL/1"
        ) from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error


def check_files(folder: Path, manifest: Manifest) -> None:
    """Check that every file that the manifest names is there and unchanged.

    Raises BundleError that names the first one that is not.
    """
    for name, expected in manifest.files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise BundleError(f"{path} is missing, or is no regular file; export the model again")
        if path.stat().st_size != expected.bytes or digest(path) != expected:
            raise BundleError(
                f"{path} is damaged: its SHA-256 is not the one in {MANIFEST}; export the model again"
            )
    for name in (GRAPH, WEIGHTS):
        if name not in manifest.files:
            raise BundleError(f"{folder / MANIFEST} does not name {name}; export the model again")
