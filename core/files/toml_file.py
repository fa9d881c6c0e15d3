"""Reads a TOML file that somebody wrote by hand."""

import tomllib
from typing import Any

from tablefold.errors import UsageError
from tablefold.files.place import Place


def read_toml(path: Place, error: type[UsageError] = UsageError) -> dict[str, Any]:
    """Return what the file holds; a byte order mark is passed over. Raises `error` for any other file."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise error(f"{path}: not a regular file")
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as problem:
        raise error(f"{path}: {problem.strerror}") from problem
    except ValueError as problem:
        raise error(f"{path}: not TOML: {problem}") from problem
    except RecursionError:
        raise error(f"{path}: not TOML that can be read: it is nested too deep") from None
