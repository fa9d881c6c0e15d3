"""A static perfect hash of 64-bit keys, built in numpy, evaluated by a few operators in a graph.

Each key falls into a small bucket; each bucket has a seed; the seed sends all of the bucket's keys to slots
that no other key has (hash and displace: Fox et al. 1992; PTHash: Pibiri and Trani 2021). A lookup reads one
seed and one slot. Largest buckets are placed first, all buckets of one size at once.

    h      = mix(key, salt)
    bucket = reduce(h, buckets)
    slot   = reduce(low half of h * seed, slots)          in 32 bits
"""

from dataclasses import dataclass

import numpy as np

from tablefold.errors import TablefoldError
from tablefold.trainer.embedding.hashing import mix, reduce_to

KEYS_PER_BUCKET = 4
MAX_SEEDS = 1 << 16
ATTEMPTS = 8
TRIALS_AT_ONCE = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class PerfectHash:
    """A slot for each of n distinct keys."""

    salt: int
    seeds: np.ndarray
    """uint16 [buckets]"""
    num_slots: int
    slots: np.ndarray
    """int32 [n]: the slot of each key, all different."""


def sizes(keys: int) -> tuple[int, int]:
    """Return the numbers of buckets and slots of a perfect hash of that many keys."""
    return keys // KEYS_PER_BUCKET + 1, keys + keys // 32 + 1


def build(keys: np.ndarray) -> PerfectHash:
    """Return a perfect hash of distinct int64 keys [n], n >= 0, with about 3 % more slots than keys.

    Raises TablefoldError if no salt works, which distinct keys practically rule out.
    """
    buckets, num_slots = sizes(len(keys))
    for salt in np.random.default_rng(0).integers(-(2**63), 2**63 - 1, ATTEMPTS):
        h = mix(keys, salt)
        placed = _place_all(h.astype(np.int32), reduce_to(h, buckets), buckets, num_slots)
        if placed is not None:
            return PerfectHash(salt=int(salt), seeds=placed[0], num_slots=num_slots, slots=placed[1])
    raise TablefoldError(f"no perfect hash of {len(keys)} keys was found in {ATTEMPTS} attempts")


def slots_of(low: np.ndarray, seed: np.ndarray, num_slots: int) -> np.ndarray:
    """Return the slots int32 of mixed keys' low halves int32 under seeds int32, by the steps of the graph."""
    with np.errstate(over="ignore"):
        return reduce_to(low * seed, num_slots)


def _place_all(
    low: np.ndarray, bucket: np.ndarray, buckets: int, num_slots: int
) -> tuple[np.ndarray, np.ndarray] | None:
    order = np.argsort(bucket, kind="stable")
    sizes = np.bincount(bucket, minlength=buckets)
    starts = np.cumsum(sizes) - sizes
    board = _Board(num_slots)
    seeds, slots = np.zeros(buckets, np.uint16), np.empty(len(low), np.int32)
    for size in range(int(sizes.max()), 0, -1):
        equal = np.flatnonzero(sizes == size)
        members = order[starts[equal, None] + np.arange(size)]
        placed = board.place(low[members])
        if placed is None:
            return None
        seeds[equal], slots[members] = placed
    return seeds, slots


class _Board:
    """The slots that are taken, and the bucket that claimed each last."""

    def __init__(self, num_slots: int) -> None:
        self.num_slots = num_slots
        self.taken = np.zeros(num_slots, bool)
        self.owner = np.empty(num_slots, np.int32)

    def place(self, low: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Return seeds [A] and slots [A, size] for buckets of keys int32 [A, size]; None if seeds run out."""
        count, size = low.shape
        seeds, slots = np.zeros(count, np.uint16), np.empty(low.shape, np.int32)
        pending, seed, trials = np.arange(count), 1, 4  # 0 would send all keys to one slot
        while len(pending):
            # Many buckets try one seed at a time; the last few, which are hard to place, try many.
            trials = min(2 * trials, max(1, TRIALS_AT_ONCE // (len(pending) * size)), MAX_SEEDS - seed)
            if trials == 0:
                return None
            trial = np.arange(seed, seed + trials, dtype=np.int32)[:, None]
            tried = slots_of(low[pending, None, :], trial, self.num_slots)
            fits = ~self.taken[tried].any(axis=2)
            if size > 1:
                fits &= (np.diff(np.sort(tried, axis=2), axis=2) != 0).all(axis=2)
            candidates = np.flatnonzero(fits.any(axis=1))
            first = fits[candidates].argmax(axis=1)
            claimed = tried[candidates, first]
            # Two candidates may claim one slot: the last to write its name owns it.
            names = np.arange(len(candidates), dtype=np.int32)[:, None]
            self.owner[claimed] = names
            won = (self.owner[claimed] == names).all(axis=1)
            self.taken[claimed[won]] = True
            winners = pending[candidates[won]]
            seeds[winners], slots[winners] = seed + first[won], claimed[won]
            pending = np.delete(pending, candidates[won])
            seed += trials
        return seeds, slots
