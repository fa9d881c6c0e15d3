"""Words of a compact dictionary: how many bits each row map's have, and which functions they are stored in.

A word of w bits holds a row, counted from the first one of its map. A word that is no row means an unknown
id. An unknown id has a random word, which is a row in `rows` of 2^w cases: a false hit. So the bits above
those of the rows are check bits.

Few ids need many slots a key. So row maps with words of one length share a function, each with hashes of its
own. A map of many ids has one for itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil, inf

from tablefold.exporter.dictionaries.static_function import ONE_SEGMENT_UP_TO_KEYS, Layout

FOUR, EIGHT, SIXTEEN, TOP = "4", "8", "16", "16_top"
"""Planes: arrays of words of 4, 8 and 16 bits. Of 4 bits, a byte holds one of each half of the slots."""
PLANES = {
    4: (FOUR,),
    8: (EIGHT,),
    12: (EIGHT, FOUR),
    16: (SIXTEEN,),
    24: (SIXTEEN, EIGHT),
    32: (SIXTEEN, TOP),
}
"""The planes of a word of each length, low bits first."""
BITS = {FOUR: 4, EIGHT: 8, SIXTEEN: 16, TOP: 16}
MAX_FALSE_HITS = 2.0**-6
"""The share of a feature's unknown ids that may pass wherever nothing else is known, and however many they
are."""
MOST_PLANES = 2
WORTH_A_PLANE = 0.05
"""Every lookup reads all planes. A second one must save this share of the dictionary."""

WHOLE_UP_TO_KEYS = 1 << 23
"""More keys are solved in pieces: the memory that takes is that of a few pieces, and cores work side by side.
Not those with words of four bits, of which a byte holds two."""
PIECE_KEYS = 1 << 22
"""About so many keys a piece."""


@dataclass(frozen=True)
class Pool:
    """Row maps that share a static function."""

    bits: int
    members: tuple[int, ...]
    """The numbers of the row maps."""
    layout: Layout

    @property
    def bytes_of_planes(self) -> dict[str, int]:
        """The size of each plane's array."""
        slots = self.layout.pieces * self.layout.num_slots
        return {plane: slots * BITS[plane] // 8 for plane in PLANES[self.bits]}


def word_pools(known: Sequence[int], rows: Sequence[int], false_hits: Sequence[float]) -> list[Pool]:
    """Return the pools of row maps, in the lengths that take the fewest bytes.

    `known` and `rows` are numbers of ids and rows; `false_hits` are the shares of each map's unknown ids that
    may pass: as far as 32 bits allow.
    """
    least = [shortest(*pair) for pair in zip(rows, false_hits, strict=True)]
    used = sorted(set(least))
    choices = [
        _pools(known, [next(bits for bits in (*some, used[-1]) if bits >= needed) for needed in least])
        for count in range(len(used))
        for some in combinations(used[:-1], count)
    ]
    return min(choices, key=_cost)  # one length alone has two planes at most


def shortest(rows: int, false_hits: float) -> int:
    """Return the bits of the shortest word for that many rows, at that rate of false hits or less."""
    return next(bits for bits in PLANES if bits == max(PLANES) or rows <= min(1, false_hits) * 2**bits)


def _cost(pools: list[Pool]) -> float:
    planes = {plane for pool in pools for plane in PLANES[pool.bits]}
    if len(planes) > MOST_PLANES:
        return inf
    size = sum(sum(pool.bytes_of_planes.values()) for pool in pools)
    return size * (1 + WORTH_A_PLANE * len(planes))


def _pools(known: Sequence[int], lengths: Sequence[int]) -> list[Pool]:
    pools = []
    for bits in sorted(set(lengths)):
        together: list[int] = []
        total = 0
        for member in sorted((i for i, own in enumerate(lengths) if own == bits), key=lambda i: known[i]):
            if together and total + known[member] > ONE_SEGMENT_UP_TO_KEYS:
                pools.append(Pool(bits, tuple(together), _layout(total, bits)))
                together, total = [], 0
            together.append(member)
            total += known[member]
        pools.append(Pool(bits, tuple(together), _layout(total, bits)))
    return pools


def _layout(keys: int, bits: int) -> Layout:
    if FOUR in PLANES[bits]:
        return Layout.of(keys, pieces=2)
    return Layout.of(keys, pieces=ceil(keys / PIECE_KEYS) if keys > WHOLE_UP_TO_KEYS else 1)
