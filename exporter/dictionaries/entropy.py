"""The fewest bytes that the rows of known ids can take, whatever stores them."""

from collections.abc import Sequence

import numpy as np

from tablefold.trainer.embedding.row_map import RowMap


def entropy_bytes(row_maps: Sequence[RowMap]) -> int:
    """Return the known ids of each row map times the entropy of their rows (Shannon), in bytes, rounded up.

    It counts nothing for telling known ids from unknown ones, nor for the keys.
    """
    bits = 0.0
    for row_map in row_maps:
        _, counts = np.unique(row_map.rows, return_counts=True)
        bits -= float((counts * np.log2(counts / max(1, len(row_map.rows)))).sum())
    return int(np.ceil(bits / 8))
