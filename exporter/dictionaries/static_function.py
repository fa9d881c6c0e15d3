"""A static function: the value of each known key in about 1.13 words a key, without the keys.

Every key has three slots; the sum of their words, modulo 2^w, is its value (Bloomier filter, Chazelle et al.
2004; slots as in binary fuse filters, Graf and Lemire 2022, with addition for exclusive or). What another
key's slots sum up to is as good as random. The caller tells such a sum from a value by its size.

    first  = reduce(h, segments) * segment_slots
    slot_i = first + i * segment_slots + (h * SPREAD_i) scaled to 0 .. segment_slots            i = 0, 1, 2

The scaling is done in float32. Its rounding may reach the slot behind the segment, which does no harm.
"""

from dataclasses import dataclass
from math import ceil, log

import numpy as np

from tablefold.trainer.embedding.hashing import reduce_to

SPREAD = np.array([-7070675565921424025, 3935559000370003845, -5808590958014384161])
"""Odd random numbers that make three hashes out of one. All 64 bits count: with 32 bits, hundreds of ten
million keys would share all three slots."""
MIN_SEGMENT_SLOTS = 64
"""With fewer, an unknown key would often have all three slots of a known one, and its value."""
Peeling = list[tuple[np.ndarray, np.ndarray]]
"""Round by round: keys, and the slots that they alone use."""


@dataclass(frozen=True)
class Layout:
    """The order of slots: `segments` + 2 segments of `segment_slots` slots, and one slot more."""

    segments: int
    segment_slots: int

    @property
    def num_slots(self) -> int:
        """The number of all slots."""
        return (self.segments + 2) * self.segment_slots + 1

    @classmethod
    def of(cls, keys: int) -> "Layout":
        """Return sizes at which peeling almost always succeeds (Graf and Lemire 2022, for three slots)."""
        n = max(keys, 2)
        least = MIN_SEGMENT_SLOTS if keys else 1  # without keys, no value is ever taken for one
        segment_slots = max(least, 1 << min(18, int(log(n) / log(3.33) + 2.25)))
        capacity = n * max(1.125, 0.875 + 0.25 * log(1e6) / log(n))
        return cls(max(1, ceil(capacity / segment_slots) - 2), segment_slots)

    def collision_rate(self, keys: int) -> float:
        """Return the share of unknown keys that have all three slots of one of so many known keys."""
        return keys / (self.segments * self.segment_slots**3)

    def scale_and_shift(self) -> tuple[np.float32, np.ndarray]:
        """Return float32 a and b [3]: slot i is h * SPREAD_i * a + b_i slots behind the first segment."""
        shift = (np.arange(3) + 0.5) * self.segment_slots
        return np.float32(self.segment_slots * 2.0**-64), shift.astype(np.float32)

    def slots(self, h: np.ndarray) -> np.ndarray:
        """Return the three slots int32 [3, ...] of mixed keys int64 [...]."""
        scale, shift = self.scale_and_shift()
        first = reduce_to(h, self.segments) * np.int32(self.segment_slots)
        slots = np.empty((3, *h.shape), np.int32)
        for i in range(3):
            with np.errstate(over="ignore"):
                spread = (h * SPREAD[i]).astype(np.float32)
            slots[i] = first + (spread * scale + shift[i]).astype(np.int32)
        return slots


def solve(h: np.ndarray, values: list[np.ndarray], layout: Layout) -> list[np.ndarray] | None:
    """Return words [slots] whose sums are the unsigned values [n] of mixed keys `h` int64 [n].

    Several arrays of values are solved at once. Words have the type of the values. None where these hashes
    cannot be solved; another salt will do.
    """
    slots = layout.slots(h)
    peeling = _peel(slots, layout.num_slots)
    if peeling is None:
        return None
    # Random where nothing is stored, so that the sums of unknown keys are random too.
    rng = np.random.default_rng(0)
    planes = [np.frombuffer(rng.bytes(layout.num_slots * v.itemsize), v.dtype).copy() for v in values]
    for keys, own in reversed(peeling):
        used = slots[:, keys]
        for words, value in zip(planes, values, strict=True):
            words[own] += value[keys] - words[used].sum(axis=0, dtype=words.dtype)
    return planes


def evaluate(words: np.ndarray, h: np.ndarray, layout: Layout) -> np.ndarray:
    """Return the values of mixed keys int64 [...], in the type of the words; random for an unknown key."""
    slots = layout.slots(h)
    total: np.ndarray = words[slots].sum(axis=0, dtype=words.dtype)
    return total


def _peel(slots: np.ndarray, num_slots: int) -> Peeling | None:
    """Take away keys that have a slot of their own, again and again. Return None if some never have."""
    keys = slots.shape[1]
    users = np.zeros(num_slots, np.int32)
    user = np.zeros(num_slots, np.int64)  # the sum of a slot's keys: the key itself once only one is left
    for row in slots:
        users += np.bincount(row, minlength=num_slots).astype(np.int32)
        user += np.bincount(row, np.arange(keys), num_slots).astype(np.int64)  # below 2^53, hence exact
    peeling: Peeling = []
    own = np.flatnonzero(users == 1).astype(np.int32)
    while len(own):
        peeled, first = np.unique(user[own], return_index=True)
        peeling.append((peeled, own[first]))
        touched = slots[:, peeled].ravel()
        np.subtract.at(users, touched, 1)
        np.subtract.at(user, touched, np.tile(peeled, 3))
        own = np.unique(touched[users[touched] == 1])
    return peeling if sum(len(peeled) for peeled, _ in peeling) == keys else None
