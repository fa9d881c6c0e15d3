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
SHIFT = 2.0**63


def mix(ids: np.ndarray, salt: np.ndarray | np.int64) -> np.ndarray:
    """int64: ids scattered over all 64 bits; another `salt` (int64, broadcast) scatters differently."""
    with np.errstate(over="ignore"):
        h: np.ndarray = ids * MULTIPLIER + salt
        high_half = (h.astype(np.float64) * HIGH_HALF).astype(np.int64)
        mixed: np.ndarray = h * (high_half + OFFSET)
        return mixed


def scale_to(size: np.ndarray | int) -> np.ndarray:
    """float64: the factor that takes 0 .. 2^64 to 0 .. size, rounded so that `size` is never reached."""
    return np.nextafter(np.asarray(size, np.float64) * 2.0**-64, np.float64(0))


def reduce_to(mixed: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """int64 in 0 .. size - 1 from mixed values, by their high bits (Lemire's fast range, in float64)."""
    reduced: np.ndarray = ((mixed.astype(np.float64) + SHIFT) * scale).astype(np.int64)
    return reduced
