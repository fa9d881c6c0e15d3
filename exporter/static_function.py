"""A static function: the value of each known key in about 1.13 words a key, without the keys.

Every key has three slots; the sum of their words, modulo 2^w, is its value (Bloomier filter, Chazelle et al.
2004; slots as in binary fuse filters, Graf and Lemire 2022, with addition for exclusive or). What another
key's slots sum up to is as good as random: the caller tells such a sum from a value by its size.

    first = reduce(h, segments) * segment_slots
    slot_i = first + i * segment_slots + reduce(h * SPREAD_i, segment_slots)        i = 0, 1, 2
"""

from dataclasses import dataclass
from math import ceil, log

import numpy as np

from tablefold.trainer.hashing import reduce_to, scale_to

SPREAD = np.array([-7070675565921424025, 3935559000370003845, -5808590958014384161])
"""Odd, of no visible order: three hashes out of one."""
Peeling = list[tuple[np.ndarray, np.ndarray]]
"""Keys and the slots they alone use, round by round."""


@dataclass(frozen=True)
class Layout:
    """Where slots lie: `segments` + 2 segments of `segment_slots` slots each."""

    segments: int
    segment_slots: int

    @property
    def num_slots(self) -> int:
        """All slots."""
        return (self.segments + 2) * self.segment_slots

    @classmethod
    def of(cls, keys: int) -> "Layout":
        """The sizes at which peeling almost always succeeds (Graf and Lemire 2022, for three slots)."""
        n = max(keys, 2)
        segment_slots = 1 << min(18, int(log(n) / log(3.33) + 2.25))
        capacity = n * max(1.125, 0.875 + 0.25 * log(1e6) / log(n))
        return cls(max(1, ceil(capacity / segment_slots) - 2), segment_slots)

    def slots(self, h: np.ndarray) -> np.ndarray:
        """int64 [3, ...]: the three slots of mixed keys int64 [...]."""
        first = reduce_to(h, scale_to(self.segments)) * self.segment_slots
        shape = (3,) + (1,) * h.ndim
        with np.errstate(over="ignore"):
            spread = h[None] * SPREAD.reshape(shape)
        starts = np.arange(3).reshape(shape) * self.segment_slots
        slots: np.ndarray = first[None] + starts + reduce_to(spread, scale_to(self.segment_slots))
        return slots


def solve(h: np.ndarray, values: np.ndarray, bits: int, layout: Layout) -> np.ndarray | None:
    """int64 [slots]: words below 2^bits whose sums are `values` int64 [n] for mixed keys `h` int64 [n].

    None where these hashes do not work out; another salt will.
    """
    slots = layout.slots(h)
    peeling = _peel(slots, layout.num_slots)
    if peeling is None:
        return None
    # Random where nothing is stored, so that the sums of unknown keys are random too.
    words = np.random.default_rng(0).integers(0, 1 << bits, layout.num_slots)
    for keys, own in reversed(peeling):
        others = words[slots[:, keys]].sum(axis=0) - words[own]
        words[own] = (values[keys] - others) % (1 << bits)
    return words


def evaluate(words: np.ndarray, h: np.ndarray, bits: int, layout: Layout) -> np.ndarray:
    """int64 [...]: the values of mixed keys int64 [...]; for an unknown one anything below 2^bits."""
    total: np.ndarray = words[layout.slots(h)].sum(axis=0) % (1 << bits)
    return total


def _peel(slots: np.ndarray, num_slots: int) -> Peeling | None:
    """Take away keys that have a slot to themselves, again and again; None if some never have."""
    keys = slots.shape[1]
    users = np.bincount(slots.ravel(), minlength=num_slots)
    # The sum of a slot's keys is the key itself once only one is left. Sums of keys stay below 2^53.
    user = np.zeros(num_slots, np.int64)
    for row in slots:
        user += np.bincount(row, weights=np.arange(keys), minlength=num_slots).astype(np.int64)
    peeling: Peeling = []
    own = np.flatnonzero(users == 1)
    while len(own):
        peeled, first = np.unique(user[own], return_index=True)
        peeling.append((peeled, own[first]))
        touched = slots[:, peeled].ravel()
        np.subtract.at(users, touched, 1)
        np.subtract.at(user, touched, np.tile(peeled, 3))
        own = np.unique(touched[users[touched] == 1])
    return peeling if sum(len(peeled) for peeled, _ in peeling) == keys else None
