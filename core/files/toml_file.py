"""Reads a TOML file that somebody wrote by hand."""

import tomllib
from typing import Any

from tablefold.errors import UsageError
from tablefold.files.place import Place

MAX_BITS = 128


def read_toml(path: Place, error: type[UsageError] = UsageError) -> dict[str, Any]:
    """Return what the file holds; a byte order mark is passed over. Raises `error` for any other file."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise error(f"{path}: not a regular file")
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        if _largest_bits(content) > MAX_BITS:
            raise error(f"{path}: holds a number of more than {MAX_BITS} bits")
        return content
    except OSError as problem:
        raise error(f"{path}: {problem.strerror}") from problem
    except ValueError as problem:
        raise error(f"{path}: not TOML: {problem}") from problem
    except RecursionError:
        raise error(f"{path}: not TOML that can be read: it is nested too deep") from None


def _largest_bits(value: Any) -> int:
    """Return the bits of the largest integer in a value. Python cannot write those of thousands of bits."""
    if isinstance(value, int):
        return value.bit_length()
    held = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return max(map(_largest_bits, held), default=0)
