"""The static function of a pool: every row map's ids have hashes of their own, and share the slots.

Words of four bits lie two in a byte. The ids are in two halves by their hash. The first half has the low four
bits of every byte, the second the high ones. The sum of three bytes ends in the word of an id of the first
half. Four bits further up it has that of an id of the second, plus what the low bits carry over. So the first
half is solved first, and what it carries over is taken off the values of the second.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tablefold.errors import TablefoldError
from tablefold.exporter.dictionaries import static_function
from tablefold.exporter.dictionaries.pieces import solve_pieces
from tablefold.exporter.dictionaries.words import BITS, FOUR, PLANES, Pool
from tablefold.trainer.embedding.hashing import mix

ATTEMPTS = 64
Planes = list[np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class PooledFunction:
    """Words of the ids of several row maps."""

    pool: Pool
    salts: dict[int, int]
    """By row map."""
    keys: int
    """How many they are."""
    planes: dict[str, np.ndarray]
    """uint8 or uint16, by name."""

    @classmethod
    def of(cls, pool: Pool, keys: Sequence[np.ndarray], values: Sequence[np.ndarray]) -> Self:
        """Return a function of all members' keys int64 [n] with values int64 [n] below 2^bits.

        Raises TablefoldError where no salts work out.
        """
        rng, value = np.random.default_rng(0), _joined(values)
        for _ in range(ATTEMPTS):
            salts = rng.integers(-(2**63), 2**63 - 1, len(keys))
            h = _joined([mix(*pair) for pair in zip(keys, salts, strict=True)])
            planes = _solve(h, value, pool)
            if planes is not None:
                of_member = dict(zip(pool.members, salts.tolist(), strict=True))
                named = dict(zip(PLANES[pool.bits], planes, strict=True))
                return cls(pool=pool, salts=of_member, keys=len(value), planes=named)
        raise TablefoldError(f"no static function of {len(value)} ids was found in {ATTEMPTS} attempts")

    @property
    def collision_rate(self) -> float:
        """The share of other ids that have all three slots of a known one."""
        return self.pool.layout.collision_rate(self.keys)

    def words(self, member: int, ids: np.ndarray) -> np.ndarray:
        """Return the words int64 of ids int64, any shape, by the hashes of one row map."""
        h, layout = mix(ids, np.int64(self.salts[member])), self.pool.layout
        slots, piece = layout.slots(h), layout.piece(h)
        words, below = np.zeros(ids.shape, np.int64), 0
        for name, plane in self.planes.items():
            if name == FOUR:
                part = static_function.evaluate(plane, slots) >> 4 * piece & 15
            else:
                part = static_function.evaluate(plane, slots + piece * np.int32(layout.num_slots))
            words += part.astype(np.int64) << below
            below += BITS[name]
        return words


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return them as one; one that is alone is large, and not copied."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _solve(h: np.ndarray, value: np.ndarray, pool: Pool) -> Planes | None:
    values, below = [], 0
    for name in PLANES[pool.bits]:
        values.append((value >> below).astype(np.uint8 if BITS[name] <= 8 else np.uint16))
        below += BITS[name]
    if FOUR not in PLANES[pool.bits]:
        return solve_pieces(h, values, pool.layout)
    slots = pool.layout.slots(h)
    second = pool.layout.piece(h).astype(bool)
    first = static_function.solve(slots[:, ~second], pool.layout.num_slots, [own[~second] for own in values])
    if first is None:
        return None
    four = first[-1] & 15
    values = [own[second] for own in values]
    carried = static_function.evaluate(four, slots[:, second]) >> 4
    values[-1] = np.subtract(values[-1], carried)
    rest = static_function.solve(slots[:, second], pool.layout.num_slots, values)
    if rest is None:
        return None
    whole = [np.concatenate(pair) for pair in zip(first[:-1], rest[:-1], strict=True)]
    return [*whole, four | rest[-1] << 4]
