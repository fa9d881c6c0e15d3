"""The features of a `tablefold.v1` request as arrays."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tablefold.encoding import encode
from tablefold.errors import InvalidRequest
from tablefold.protos import tablefold_pb2 as pb
from tablefold.schema import MISSING, CategoricalFeature, DenseFeature, FeatureSchema

MISSING_VALUES = f"NaN, the id {MISSING} or an empty text"


def read_rows(
    request: pb.PredictRequest, schema: FeatureSchema
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return dense float32 [B, N] and ids int64 [B, C].

    Only optional features may be left out: they are missing in every row. Raises InvalidRequest naming the
    feature and the fault.
    """
    columns: dict[str, int] = {feature.name: index for index, feature in enumerate(schema.dense)}
    categorical: dict[str, CategoricalFeature] = {}
    column = 0
    for feature in schema.categorical:
        columns[feature.name], categorical[feature.name] = column, feature
        column += feature.slots
    _check_names([sent.name for sent in (*request.context, *request.candidates)], schema, columns)

    rows = _row_count(request.candidates, categorical)
    dense = np.full((rows, len(schema.dense)), np.nan, dtype=np.float32)
    ids = np.full((rows, schema.id_columns), MISSING, dtype=np.int64)
    context = [(sent, 1) for sent in request.context]
    for sent, count in context + [(sent, rows) for sent in request.candidates]:
        column = columns[sent.name]
        if sent.name in categorical:
            slots = categorical[sent.name].slots
            ids[:, column : column + slots] = _read_ids(sent, categorical[sent.name], count)
        else:
            dense[:, column : column + 1] = _read_numbers(sent, count)
    return dense, ids


def _check_names(sent: list[str], schema: FeatureSchema, known: Iterable[str]) -> None:
    names = set(sent)
    if unknown := sorted(names.difference(known)):
        raise InvalidRequest(f"the model has no feature {unknown[0]!r}; it reads {', '.join(known)}")
    if len(names) != len(sent):
        twice = next(name for name in sent if sent.count(name) > 1)
        raise InvalidRequest(f"feature {twice!r} is given twice, in context or candidates")
    features: list[DenseFeature | CategoricalFeature] = [*schema.dense, *schema.categorical]
    absent = [feature.name for feature in features if feature.name not in names and not feature.optional]
    if absent:
        raise InvalidRequest(
            f"the request leaves out {', '.join(map(repr, absent))}: give every feature in context or "
            f"candidates; a missing value is {MISSING_VALUES}. A feature may be left out only where the "
            "schema says optional = true"
        )


def _row_count(candidates: Iterable[pb.Feature], categorical: dict[str, CategoricalFeature]) -> int:
    """Return B of the first candidate feature; the others are checked as they are read."""
    for sent in candidates:
        slots = categorical[sent.name].slots if sent.name in categorical else 1
        return -(-_length(sent) // slots)
    raise InvalidRequest("the request holds no candidates: give at least one feature with a value a row")


def _length(sent: pb.Feature) -> int:
    kind = sent.WhichOneof("values")
    if kind is None:
        raise InvalidRequest(f"feature {sent.name!r} has no values: give numbers, ids or texts")
    return len(getattr(sent, kind).values)


def _read_numbers(sent: pb.Feature, rows: int) -> NDArray[np.float32]:
    """Return float32 [rows, 1]."""
    _check_length(sent, rows, slots=1)
    if sent.WhichOneof("values") != "numbers":
        raise InvalidRequest(f"feature {sent.name!r} is dense: give numbers")
    return np.fromiter(sent.numbers.values, np.float32, rows).reshape(rows, 1)


def _read_ids(sent: pb.Feature, feature: CategoricalFeature, rows: int) -> NDArray[np.int64]:
    """Return int64 [rows, slots]."""
    _check_length(sent, rows, feature.slots)
    match sent.WhichOneof("values"):
        case "ids":
            ids = np.fromiter(sent.ids.values, np.int64, rows * feature.slots)
        case "texts":
            try:
                ids = encode(sent.texts.values, feature.encoding)
            except ValueError as error:
                raise InvalidRequest(f"feature {sent.name!r} ({feature.encoding}): {error}") from None
        case _:
            raise InvalidRequest(f"feature {sent.name!r} is categorical: give ids or texts")
    return ids.reshape(rows, feature.slots)


def _check_length(sent: pb.Feature, rows: int, slots: int) -> None:
    found = _length(sent)
    if found == rows * slots:
        return
    place = f"feature {sent.name!r} has {found} values"
    if slots == 1:
        raise InvalidRequest(f"{place}; {rows} rows take {rows}")
    raise InvalidRequest(
        f"{place}; it has {slots} slots a row, so {rows} rows take {rows * slots}: fill the slots that a "
        f"row does not use with the id {MISSING} or an empty text"
    )
