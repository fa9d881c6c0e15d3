"""The ladder: the batch sizes that graphs are captured for."""

from bisect import bisect_left

SMALL = (1, 2, 4, 8)


class Ladder:
    """Sizes from 1 to `max_rows`: 16, 24, 32, 48, ..., so that a batch grows by half at most.

    Up to 16 rows, which take the same time, to twice its size.
    """

    def __init__(self, max_rows: int) -> None:
        sizes = {size for size in SMALL if size < max_rows} | {max_rows}
        size = 16
        while size < max_rows:
            sizes |= {step for step in (size, size + size // 2) if step < max_rows}
            size *= 2
        self.sizes = sorted(sizes)
        """Ascending; the last is `max_rows`."""

    def size_for(self, rows: int) -> int:
        """Return the smallest size of at least `rows` rows; `rows` is at most `max_rows`."""
        return self.sizes[bisect_left(self.sizes, rows)]
