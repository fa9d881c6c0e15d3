"""Reads Thrift's compact protocol, as Parquet's footers and page headers are written.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from collections.abc import Callable
from typing import Any

Fields = dict[int, Any]
"""The values of a struct by the numbers of its fields."""


def read_struct(content: bytes) -> tuple[Fields, int]:
    """Return the struct that content begins with, and its length in bytes.

    Raises IndexError where it is cut off, ValueError for what is none, RecursionError where it is too deep.
    """
    reader = _Reader(content)
    return reader.struct(), reader.place


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content, self.place = content, 0

    def struct(self) -> Fields:
        fields, number = Fields(), 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = head & 15 == 1 if head & 15 in (1, 2) else self._value(head & 15)
        return fields

    def _value(self, kind: int) -> Any:
        if kind not in READ:
            raise ValueError(f"no type {kind}")
        return READ[kind](self)

    def _list(self) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        return [self._value(head & 15) for _ in range(count)]

    def _map(self) -> list[tuple[Any, Any]]:
        count = self._varint()
        kinds = self._byte() if count else 0
        return [(self._value(kinds >> 4), self._value(kinds & 15)) for _ in range(count)]

    def _double(self) -> bytes:
        return self._bytes(8)

    def _text(self) -> bytes:
        return self._bytes(self._varint())

    def _byte(self) -> int:
        self.place += 1
        return self._content[self.place - 1]

    def _bytes(self, count: int) -> bytes:
        self.place += count
        if self.place > len(self._content):
            raise IndexError
        return self._content[self.place - count : self.place]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("no number")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


READ: dict[int, Callable[[_Reader], Any]] = {
    **dict.fromkeys((1, 2, 3), _Reader._byte),
    **dict.fromkeys((4, 5, 6), _Reader._integer),
    7: _Reader._double,
    8: _Reader._text,
    **dict.fromkeys((9, 10), _Reader._list),
    11: _Reader._map,
    12: _Reader.struct,
}
"""By the numbers of the types. Doubles stay bytes: nobody asks for one."""
