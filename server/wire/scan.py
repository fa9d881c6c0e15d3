"""Looks at a large message without parsing it, so that no message costs more than what it asks for.

protobuf parses a message whole: 16 MB of empty texts become gigabytes, and a second in which nothing else
runs. These checks walk over the lengths only, and stop at the first that is too much.
Format: protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tablefold.errors import InvalidRequest, Overloaded
from tablefold.server.models.repository import Repository

SMALL_MESSAGE_BYTES = 64 << 10
"""A message up to this size is parsed as it is: the worst of them takes a millisecond or two."""
MAX_FIELDS = 1_000
"""Of one message; no request needs so many."""
MAX_NAME_BYTES = 1 << 10
MAX_SHAPE_BYTES = 64
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """Bytes `start` to `stop` of a message."""

    number: int
    wire_type: int
    start: int
    stop: int


def fields(message: bytes, start: int, stop: int, *, most: int | None = MAX_FIELDS) -> Iterator[Field]:
    """Yield the fields between two places. Raises InvalidRequest for more than `most`, or a wrong length."""
    position, count = start, 0
    while position < stop:
        count += 1
        if most is not None and count > most:
            raise InvalidRequest(f"the message holds more than {most} fields in one place")
        tag, position = _varint(message, position, stop)
        wire_type = tag & 7
        if wire_type == BYTES:
            size, position = _varint(message, position, stop)
        elif wire_type == VARINT:
            size = _varint(message, position, stop)[1] - position
        elif wire_type in (FIXED64, FIXED32):
            size = 8 if wire_type == FIXED64 else 4
        else:
            raise InvalidRequest(f"the message cannot be parsed: wire type {wire_type}")
        end = position + size
        if end > stop:
            raise InvalidRequest("the message cannot be parsed: it is cut off")
        yield Field(tag >> 3, wire_type, position, end)
        position = end


def _varint(message: bytes, position: int, stop: int) -> tuple[int, int]:
    value = shift = 0
    while position < stop and shift < 70:
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise InvalidRequest("the message cannot be parsed: it is cut off")


def text(message: bytes, field: Field, name: str) -> str:
    """Return a short text. Raises InvalidRequest."""
    if field.wire_type != BYTES or field.stop - field.start > MAX_NAME_BYTES:
        raise InvalidRequest(f"{name} is longer than {MAX_NAME_BYTES} bytes")
    try:
        return message[field.start : field.stop].decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"the message cannot be parsed: {name} is not UTF-8") from None


def check_infer(message: bytes, repository: Repository) -> None:
    """Check the lengths in a ModelInferRequest before it is parsed.

    Raises ModelNotFound, InvalidRequest, and Overloaded for more rows than the queue holds.
    """
    name = version = ""
    inputs: list[Field] = []
    for field in fields(message, 0, len(message)):
        if field.number == 1:
            name = text(message, field, "the model's name")
        elif field.number == 2:
            version = text(message, field, "the version")
        elif field.number == 3:
            text(message, field, "the request's id")
        elif field.number == 5:
            inputs.append(field)
        elif field.number in (4, 6) and field.stop - field.start > SMALL_MESSAGE_BYTES:
            raise InvalidRequest("parameters and outputs take more than 64 KB")
    model = repository.find(name, version)
    max_rows, width = model.batcher.max_queue_rows, model.manifest.feature_schema.id_columns
    most = max_rows * max(width, len(model.manifest.feature_schema.dense))
    for place in inputs:
        _check_tensor(message, place, most)


def _check_tensor(message: bytes, place: Field, most: int) -> None:
    """`most`: values of a tensor."""
    for field in fields(message, place.start, place.stop, most=64):
        size = field.stop - field.start
        if field.number in (1, 2):
            text(message, field, "an input's name or datatype")
        elif field.number == 3 and size > MAX_SHAPE_BYTES:
            raise InvalidRequest("an input's shape has too many dimensions; it must be [batch, columns]")
        elif field.number == 4 and size > SMALL_MESSAGE_BYTES:
            raise InvalidRequest("an input's parameters take more than 64 KB")
        elif field.number == 5:
            _check_contents(message, field, most)


def _check_contents(message: bytes, place: Field, most: int) -> None:
    for field in fields(message, place.start, place.stop, most=64):
        if field.number == 3 and field.wire_type == BYTES:  # int64_contents
            # Each value ends with the one byte whose highest bit is clear.
            values = int(np.count_nonzero(np.frombuffer(message, np.uint8)[field.start : field.stop] < 0x80))
        elif field.number == 6 and field.wire_type == BYTES:  # fp32_contents
            values = (field.stop - field.start) // 4
        elif field.stop - field.start > SMALL_MESSAGE_BYTES:
            raise InvalidRequest("contents must be int64_contents or fp32_contents")
        else:
            continue
        if values > most:
            raise Overloaded(f"an input holds {values} values, but the queue holds {most}: send fewer rows")
