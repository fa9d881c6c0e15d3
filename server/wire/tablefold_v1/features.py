"""The features of a `tablefold.v1` request as arrays."""

from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tablefold.encoding import encode
from tablefold.errors import InvalidRequest, Overloaded
from tablefold.protos import tablefold_pb2 as pb
from tablefold.schema import MISSING, CategoricalFeature, FeatureSchema
from tablefold.server.queue.admission import too_many_rows
from tablefold.server.wire.scan import Field, fields
from tablefold.server.wire.tablefold_v1.predict_request import PredictRequest, SentFeature

VALUE_BYTES = {2: 4, 3: 8}
"""Of the numbers and ids of a Feature, by their field."""
TEXTS = 4
"""The field of a Feature with texts; each text is a field of its own in it."""
MISSING_VALUES = f"NaN, the id {MISSING} or an empty text"


def read_rows(
    request: PredictRequest, schema: FeatureSchema, max_rows: int, admit: Callable[[int], None]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return dense float32 [B, N] and ids int64 [B, C].

    Only optional features may be left out: they are missing in every row. Raises InvalidRequest naming the
    feature and the fault; Overloaded for more than `max_rows`, or what `admit` raises of their number, before
    a second feature is read.
    """
    message, placed = request.message, schema.placed
    all_sent = [*request.context, *request.candidates]
    _check_names([sent.name for sent in all_sent], schema)
    for sent in all_sent:
        if sent.place is not None:
            _check_size(message, sent, max_rows * _slots(placed[sent.name][1]), max_rows)

    if not request.candidates:
        raise InvalidRequest("the request holds no candidates: give at least one feature with a value a row")
    first = request.candidates[0]
    loaded = first.load(message)
    rows = -(-_length(loaded) // _slots(placed[first.name][1]))
    if rows > max_rows:
        raise Overloaded(too_many_rows(rows, max_rows))
    admit(rows)
    dense = np.full((rows, len(schema.dense)), np.nan, dtype=np.float32)
    ids = np.full((rows, schema.id_columns), MISSING, dtype=np.int64)
    for place, sent in enumerate(all_sent):
        count = 1 if place < len(request.context) else rows
        feature, columns = placed[sent.name]
        values = loaded if sent is first else sent.load(message)
        if isinstance(feature, CategoricalFeature):
            ids[:, columns] = _read_ids(values, feature, count)
        else:
            dense[:, columns] = _read_numbers(values, count)
    return dense, ids


def _slots(columns: slice) -> int:
    return int(columns.stop - columns.start)


def _check_size(message: bytes, sent: SentFeature, most: int, max_rows: int) -> None:
    """Raise Overloaded where a feature of a large message has more than `most` values; it is not parsed."""
    assert sent.place is not None
    for values in fields(message, sent.place.start, sent.place.stop):
        if values.number == TEXTS:
            too_many = _more_texts(message, values, most)
        elif values.number in VALUE_BYTES:
            packed = fields(message, values.start, values.stop)
            too_many = sum(field.stop - field.start for field in packed) > most * VALUE_BYTES[values.number]
        else:
            continue
        if too_many:
            raise Overloaded(
                f"feature {sent.name!r} has more values than {max_rows} rows take, which the queue holds: "
                "send fewer rows a request or serve with a larger --max-queue-rows"
            )


def _more_texts(message: bytes, values: Field, most: int) -> bool:
    if (values.stop - values.start) // 2 <= most:
        return False  # a text takes two bytes at least
    return any(index >= most for index, _ in enumerate(fields(message, values.start, values.stop, most=None)))


def _check_names(sent: list[str], schema: FeatureSchema) -> None:
    names = set(sent)
    if unknown := sorted(names.difference(schema.placed)):
        known = ", ".join(schema.feature_names)
        raise InvalidRequest(f"the model has no feature {unknown[0]!r}; it reads {known}")
    if len(names) != len(sent):
        twice = next(name for name, count in Counter(sent).items() if count > 1)
        raise InvalidRequest(f"feature {twice!r} is given twice, in context or candidates")
    if not schema.required <= names:
        absent = [name for name in schema.feature_names if name in schema.required - names]
        raise InvalidRequest(
            f"the request leaves out {', '.join(map(repr, absent))}: give every feature in context or "
            f"candidates; a missing value is {MISSING_VALUES}. A feature may be left out only where the "
            "schema says optional = true"
        )


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
