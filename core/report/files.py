"""Writing a report so that it is there whole or not at all."""

import os
import tempfile
from pathlib import Path

from tablefold.errors import UsageError


def check_writable(path: Path) -> None:
    """A file could be written here, found out before hours of work. Raises UsageError."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give a file")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path} cannot be written: there is no folder {path.absolute().parent}")
    try:
        with tempfile.NamedTemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 under a temporary name beside it, then rename. Raises UsageError."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
