"""Writing a report: whole or not at all."""

import tempfile
from pathlib import Path

from tablefold.errors import UsageError
from tablefold.files import atomic


def check_writable(path: Path) -> None:
    """Check before hours of work that a file can be written here. Raises UsageError."""
    try:
        if path.is_dir():
            raise UsageError(f"{path} is a folder; give a file")
        if path.exists() and not path.is_file():  # a device or a pipe, such as /dev/stdout
            return
        if not path.absolute().parent.is_dir():
            raise UsageError(f"{path} cannot be written: there is no folder {path.absolute().parent}")
        with tempfile.NamedTemporaryFile(dir=path.absolute().parent):
            pass
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a file. Raises UsageError."""
    try:
        atomic.write_text(path, text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
