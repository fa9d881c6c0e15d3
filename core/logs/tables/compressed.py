"""Opens a file for its bytes, plain or gzip, and says by name what is neither."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from tablefold.errors import LogError
from tablefold.files.place import Place

GZIP = b"\x1f\x8b"
NOT_TEXT = {
    b"PK\x03\x04": "a zip archive: unpack it",
    b"PK\x05\x06": "a zip archive: unpack it",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it, or compress it with gzip",
    b"BZh": "compressed with bzip2: unpack it, or compress it with gzip",
    b"\xfd7zXZ": "compressed with xz: unpack it, or compress it with gzip",
    b"PAR1": 'a Parquet file: give `format = "parquet"`',
    b"\xff\xfe\0\0": "UTF-32: convert it to UTF-8",
    b"\xff\xfe": "UTF-16: convert it to UTF-8",
    b"\xfe\xff": "UTF-16: convert it to UTF-8",
}
"""First bytes of what is often taken for a text file, and what to do about it."""


def require_file(path: Place) -> Place:
    """Return the path. Raises LogError unless it is a regular file."""
    try:
        if path.is_file():
            return path
        problem = "is not a regular file" if path.exists() else "there is no such file"
        if path.is_symlink() and not path.exists():
            problem = "is a link that leads to no file"
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        problem = f"cannot be read: {error.strerror}"
    raise LogError(problem, file=str(path))


@contextmanager
def open_bytes(path: Place) -> Iterator[BinaryIO]:
    """Open a text file, plain or gzip. Raises LogError, also while it is read, for a damaged one."""
    require_file(path)
    try:
        with path.open("rb") as plain:
            start = plain.read(8)
            plain.seek(0)
            for first_bytes, problem in NOT_TEXT.items():
                if start.startswith(first_bytes):
                    raise LogError(f"is {problem}", file=str(path))
            if start.startswith(GZIP):
                with gzip.open(plain) as unpacked:
                    yield unpacked  # type: ignore[misc]  # a BinaryIO in all but name
            elif path.suffix == ".gz":
                if not start:
                    raise EOFError
                raise LogError("is named .gz and is not a gzip file", file=str(path))
            else:
                yield plain
    except EOFError:
        raise LogError("the gzip file is cut off: copy or compress it again", file=str(path)) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise LogError(f"the gzip file is damaged ({error})", file=str(path)) from None
    except OSError as error:
        raise LogError(f"cannot be read: {error.strerror or error}", file=str(path)) from error
