"""The stateless hash of raw ids, made of operations that a graph has on every device.

64-bit multiplication and addition wrap around. Shifts and exclusive or are not to be had on CUDA (ONNX
Runtime), and integer division is slow, so the high half of a number is taken through a float64: casting
rounds to nearest even everywhere, multiplying by a power of two is exact, casting back truncates. Multiplying
a number by its own high half is what makes the hash more than linear: sums alone leave evenly spaced ids
evenly spaced. The exporter builds the same steps into the graph, and numpy here gives the very same rows.
"""

import numpy as np

MULTIPLIER = np.int64(-7046029254386353131)  # 2^64 / golden ratio, odd (Knuth's multiplicative hashing)
OFFSET = np.int64(-4417276706812531889)  # odd, of no visible order
HIGH_HALF = 2.0**-32
SLACK = 2.0**-20
"""Ranges are narrowed by this much, so that no rounding ever reaches their end; below 2^31 a float64 still
tells numbers that are a quarter of it apart."""


def mix(ids: np.ndarray, salt: np.ndarray | np.int64) -> np.ndarray:
    """int64: ids scattered over all 64 bits; another `salt` (int64, broadcast) scatters differently."""
    with np.errstate(over="ignore"):
        h: np.ndarray = ids * MULTIPLIER + salt
        high_half = (h.astype(np.float64) * HIGH_HALF).astype(np.int64)
        mixed: np.ndarray = h * (high_half + OFFSET)
        return mixed


def scale_and_shift(
    size: np.ndarray | int, first: np.ndarray | int = 0, *, bits: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """float64 a, b: h * a + b lies in first .. first + size, its end left out, for every signed h of `bits`
    bits. `size` and `first` are integers, first + size below 2^31."""
    scale = (np.asarray(size, np.float64) - SLACK) * 2.0**-bits
    return scale, np.asarray(first, np.float64) + np.asarray(size, np.float64) / 2


def reduce_to(mixed: np.ndarray, size: np.ndarray | int, first: np.ndarray | int = 0) -> np.ndarray:
    """int32 in first .. first + size - 1 from mixed values of any signed type, by their high bits (Lemire's
    fast range, in float64)."""
    scale, shift = scale_and_shift(size, first, bits=8 * mixed.dtype.itemsize)
    reduced: np.ndarray = (mixed.astype(np.float64) * scale + shift).astype(np.int32)
    return reduced
