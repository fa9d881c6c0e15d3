"""A static function: the value of each known key in about 1.1 words a key, without the keys.

Every key has three slots; the sum of their words, modulo 2^w, is its value (Bloomier filter, Chazelle et al.
2004; slots as in binary fuse filters, Graf and Lemire 2022, with addition for exclusive or). What another
key's slots sum up to is as good as random. The caller tells such a sum from a value by its size.

    first  = reduce(h, segments) * segment_slots
    slot_i = first + i * segment_slots + (h * SPREAD_i) scaled to 0 .. segment_slots            i = 0, 1, 2

The scaling is done in float32. Its rounding may reach the slot behind the segment, which does no harm.
"""

from dataclasses import dataclass
from math import ceil, isqrt, log

import numpy as np

from tablefold.exporter.dictionaries import elimination
from tablefold.exporter.dictionaries.elimination import DEFER_UP_TO_KEYS
from tablefold.trainer.embedding.hashing import reduce_to

SPREAD = np.array([-7070675565921424025, 3935559000370003845, -5808590958014384161])
"""Odd random numbers that make three hashes out of one. All 64 bits count: with 32 bits, hundreds of ten
million keys would share all three slots."""
MIN_SEGMENT_SLOTS = 64
"""With fewer, an unknown key would often have all three slots of a known one, and its value."""
MOST_SPREAD = 6
"""No piece has so many standard deviations more keys than the others."""
ONE_SEGMENT_UP_TO_KEYS = 1 << 15
"""So many keys have slots anywhere: 1.1 a key are enough, but a twentieth of the keys are deferred."""


@dataclass(frozen=True)
class Layout:
    """The order of slots: `segments` + 2 segments of `segment_slots` slots, and one slot more.

    Of several pieces, each is such a function, and each key belongs to one of them.
    """

    segments: int
    segment_slots: int
    pieces: int = 1

    @property
    def num_slots(self) -> int:
        """The number of slots of a piece."""
        return (self.segments + 2) * self.segment_slots + 1

    @classmethod
    def of(cls, keys: int, pieces: int = 1) -> "Layout":
        """Return sizes at which so many keys are likely to be solved.

        Many keys peel (sizes of Graf and Lemire 2022, for three slots); of fewer, some are deferred.
        """
        if pieces > 1:  # they come out unequal by about sqrt(keys)
            mean, spread = keys // pieces, isqrt(keys // pieces)
            most = (keys + isqrt(keys) + 1) // 2 if pieces == 2 else mean + MOST_SPREAD * spread + 1
            own = cls.of(most if keys else 0)
            return cls(own.segments, own.segment_slots, pieces)
        if keys == 0:  # no value is ever taken for one
            return cls(1, 1)
        if keys <= ONE_SEGMENT_UP_TO_KEYS:
            return cls(1, max(MIN_SEGMENT_SLOTS, ceil((1.1 * keys + 12) / 3)))
        if keys <= DEFER_UP_TO_KEYS:
            segments = round(1.13 * keys / 1024) - 2
            return cls(segments, ceil(1.13 * keys / (segments + 2)))
        segment_slots = 1 << min(18, int(log(keys) / log(3.33) + 2.25))
        capacity = keys * max(1.125, 0.875 + 0.25 * log(1e6) / log(keys))
        return cls(max(1, ceil(capacity / segment_slots) - 2), segment_slots)

    def collision_rate(self, keys: int) -> float:
        """Return the share of unknown keys that have all three slots of one of so many known keys."""
        return keys / (self.pieces * self.segments * self.segment_slots**3)

    def scale_and_shift(self) -> tuple[np.float32, np.ndarray]:
        """Return float32 a and b [3]: slot i is h * SPREAD_i * a + b_i slots behind the first segment."""
        shift = (np.arange(3) + 0.5) * self.segment_slots
        return np.float32(self.segment_slots * 2.0**-64), shift.astype(np.float32)

    def piece(self, h: np.ndarray) -> np.ndarray:
        """Return the piece of mixed keys int64 [...], int32 [...] from 0 on."""
        piece: np.ndarray = reduce_to(h, self.pieces * self.segments) // np.int32(self.segments)
        return piece

    def slots(self, h: np.ndarray) -> np.ndarray:
        """Return the three slots int32 [3, ...] of mixed keys int64 [...] in their piece."""
        scale, shift = self.scale_and_shift()
        segment = reduce_to(h, self.pieces * self.segments) % np.int32(self.segments)
        slots = np.empty((3, *h.shape), np.int32)
        for i in range(3):
            with np.errstate(over="ignore"):
                spread = (h * SPREAD[i]).astype(np.float32)
            slots[i] = segment * np.int32(self.segment_slots) + (spread * scale + shift[i]).astype(np.int32)
        return slots


def solve(slots: np.ndarray, num_slots: int, values: list[np.ndarray]) -> list[np.ndarray] | None:
    """Return words [num_slots] whose sums are the unsigned values [n] of keys with slots int32 [3, n].

    Several arrays of values are solved at once. Words have the type of the values, at most 16 bits. None
    where these slots allow no solution; another salt will do.
    """
    found = elimination.order(slots, num_slots)
    if found is None:
        return None
    # Random where nothing is stored, so that the sums of unknown keys are random too.
    rng = np.random.default_rng(0)
    planes = [np.frombuffer(rng.bytes(num_slots * v.itemsize), v.dtype).copy() for v in values]
    if len(found.deferred) and not elimination.solve_deferred(found, slots, values, planes):
        return None
    for keys, own in reversed(found.rounds):
        used = slots[:, keys]
        for words, value in zip(planes, values, strict=True):
            words[own] += value[keys] - words[used].sum(axis=0, dtype=words.dtype)
    return planes


def evaluate(words: np.ndarray, slots: np.ndarray) -> np.ndarray:
    """Return the values of keys with slots int32 [3, ...], in the type of the words; random for unknown."""
    total: np.ndarray = words[slots].sum(axis=0, dtype=words.dtype)
    return total
