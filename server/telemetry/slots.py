"""Counts in memory that another process can map: they are there when the process that counted was killed."""

import json
import mmap
import os
import struct
import tempfile
from collections.abc import Iterator
from threading import Lock
from typing import TypeAlias

Numbers: TypeAlias = "memoryview[float]"
"""Of one slot: doubles."""

SLOTS = 8192
NUMBERS = 24
"""Of a slot."""
LENGTH, KEY_BYTES = struct.Struct("=Q"), 312
_NUMBERS_AT = LENGTH.size + KEY_BYTES
_SLOT_BYTES = _NUMBERS_AT + NUMBERS * 8
SIZE = SLOTS * _SLOT_BYTES
"""Of the memory, in bytes; only pages in use are there."""


def new_memory() -> int:
    """Return a file descriptor of memory for the slots of another process, to be closed by the caller."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("tablefold-counts")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, SIZE)
    return descriptor


def own_numbers() -> Numbers:
    """Return numbers that no other process can see, all 0."""
    return memoryview(bytearray(NUMBERS * 8)).cast("d")


def map_memory(descriptor: int) -> memoryview:
    """Map memory that `new_memory` made; the descriptor may be closed then."""
    return memoryview(mmap.mmap(descriptor, SIZE))


class Slots:
    """Some numbers for each key: the name of a metric and its labels.

    A slot in the memory is the length of its key (0 where it is free), the key as JSON, and NUMBERS doubles.
    What finds no room there, by number or length of key, is counted all the same, for this process alone.
    """

    def __init__(self, memory: memoryview | None = None) -> None:
        """Find what is in mapped memory; by default in some of its own, which nobody else can see."""
        self._memory = map_memory(-1) if memory is None else memory
        self._lock = Lock()
        self._taken: dict[int, tuple[tuple[str, ...], Numbers]] = {}
        """By place; the places of what found no room are below 0."""
        self._free: list[int] = []
        for place in range(SLOTS) if memory is not None else ():
            key = self._key_at(place)
            if key:
                self._taken[place] = (key, self._numbers_at(place))
        self._free = [place for place in range(SLOTS - 1, -1, -1) if place not in self._taken]
        self._without_room = 0

    def take(self, *key: str) -> Numbers:
        """Return a new slot, all 0; several may have the same key."""
        text = json.dumps(key).encode()
        with self._lock:
            if len(text) > KEY_BYTES or not self._free:
                self._without_room -= 1
                place, numbers = self._without_room, own_numbers()
            else:
                place = self._free.pop()
                numbers, at = self._numbers_at(place), place * _SLOT_BYTES
                for i in range(NUMBERS):
                    numbers[i] = 0.0
                self._memory[at + LENGTH.size :][: len(text)] = text
                LENGTH.pack_into(self._memory, at, len(text))  # last: now it is there for others
            self._taken[place] = (key, numbers)
        return numbers

    def release(self, numbers: Numbers) -> None:
        """Give a slot back."""
        with self._lock:
            place = next(place for place, (_, taken) in self._taken.items() if taken is numbers)
            del self._taken[place]
            if place >= 0:
                LENGTH.pack_into(self._memory, place * _SLOT_BYTES, 0)
                self._free.append(place)

    def of(self, name: str) -> Iterator[tuple[tuple[str, ...], Numbers]]:
        """Yield labels and numbers of a metric's slots."""
        with self._lock:
            taken = list(self._taken.values())
        for (first, *labels), numbers in taken:
            if first == name:
                yield tuple(labels), numbers

    def _numbers_at(self, place: int) -> Numbers:
        at = place * _SLOT_BYTES + _NUMBERS_AT
        return self._memory[at : at + NUMBERS * 8].cast("d")

    def _key_at(self, place: int) -> tuple[str, ...]:
        """Return the key; an empty one where the slot is free, or what wrote it went wild before its end."""
        at = place * _SLOT_BYTES
        (length,) = LENGTH.unpack_from(self._memory, at)
        if not 0 < length <= KEY_BYTES:
            return ()
        try:
            return tuple(map(str, json.loads(bytes(self._memory[at + LENGTH.size :][:length]))))
        except (ValueError, TypeError):
            return ()
