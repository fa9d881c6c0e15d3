"""Static functions of many keys in pieces: each is solved by itself, several side by side.

A piece is a function of the keys whose hash leads to it, so its words are the same whoever solves it, and
when. What solving takes beside the keys, about 80 bytes a key, is that of the pieces at work.
"""

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tablefold.exporter.dictionaries import static_function
from tablefold.exporter.dictionaries.static_function import Layout
from tablefold.machine.cores import available_cores

logger = logging.getLogger(__name__)


def solve_pieces(
    h: np.ndarray, values: list[np.ndarray], layout: Layout, workers: int | None = None
) -> list[np.ndarray] | None:
    """Return words [pieces x slots] of mixed keys int64 [n] with unsigned values [n], piece after piece.

    See `static_function.solve`, which each piece goes through, in so many threads; None takes those that this
    process has cores for.
    """
    if layout.pieces == 1:
        return static_function.solve(layout.slots(h), layout.num_slots, values)
    workers = min(layout.pieces, workers or available_cores())
    words = [np.empty(layout.pieces * layout.num_slots, value.dtype) for value in values]
    piece_of = layout.piece(h).astype(np.uint16)

    def solve(piece: int) -> bool:
        own = np.flatnonzero(piece_of == piece)
        found = static_function.solve(
            layout.slots(h[own]), layout.num_slots, [value[own] for value in values]
        )
        if found is None:
            return False
        start = piece * layout.num_slots
        for whole, part in zip(words, found, strict=True):
            whole[start : start + layout.num_slots] = part
        return True

    logger.info("%d ids in %d static functions, %d at a time", len(h), layout.pieces, workers)
    with ThreadPoolExecutor(workers) as pool:
        return words if all(pool.map(solve, range(layout.pieces))) else None
