"""Raw values to 64-bit ids: one rule for training, export, serving and load tests.

int      the number itself, -2^63 + 1 .. 2^63 - 1
hex32    up to 8 hexadecimal digits, as an unsigned number
string   XXH64 (seed 0) of the UTF-8 bytes, read as a signed number
An empty string is a missing value and becomes `MISSING`.
"""

import re
from collections.abc import Callable, Iterable

import numpy as np
import xxhash

from tablefold.printable import shown
from tablefold.schema import MISSING, Encoding

MOST_DIGITS = 20
"""A number of so many is none of 64 bits; Python parses no number of thousands."""


def hash_string(value: str) -> int:
    """Return XXH64 of the UTF-8 bytes as a signed 64-bit number, never `MISSING`."""
    unsigned = xxhash.xxh64_intdigest(value.encode())
    signed = unsigned - (1 << 64) if unsigned >= 1 << 63 else unsigned
    return signed if signed != MISSING else MISSING + 1


def parse_int(value: str) -> int:
    """Parse a decimal number. Raises ValueError if it does not fit into 64 bits."""
    if not re.fullmatch(r"[+-]?[0-9]+", value, re.ASCII):
        raise ValueError(f"{shown(value)} is not a whole number")
    digits = value.lstrip("+-").lstrip("0") or "0"
    number = int(value[: value.startswith("-")] + digits[:MOST_DIGITS])
    if not MISSING < number < 1 << 63:
        raise ValueError(f"{shown(value)} does not fit into a signed 64-bit id")
    return number


def parse_hex32(value: str) -> int:
    """Parse 1 to 8 hexadecimal digits as an unsigned number. Raises ValueError for anything else."""
    if not 1 <= len(value) <= 8 or not set(value) <= set("0123456789abcdefABCDEF"):
        raise ValueError(f"{shown(value)} is not 1 to 8 hexadecimal digits")
    return int(value, 16)


ENCODERS: dict[Encoding, Callable[[str], int]] = {
    Encoding.INT: parse_int,
    Encoding.HEX32: parse_hex32,
    Encoding.STRING: hash_string,
}


def decode(id_: int, encoding: Encoding) -> str:
    """Return the raw value of an id. Of a string only its hash is left; it gives `id NUMBER`."""
    if id_ == MISSING:
        return ""
    if encoding is Encoding.HEX32:
        return f"{id_:08x}"
    return str(id_) if encoding is Encoding.INT else f"id {id_}"


def encode(values: Iterable[str], encoding: Encoding) -> np.ndarray:
    """Return int64 ids of raw text values; "" becomes `MISSING`. Raises ValueError for a wrong value."""
    encoder = ENCODERS[encoding]
    return np.array([encoder(value) if value else MISSING for value in values], dtype=np.int64)
