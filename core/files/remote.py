"""Files in object stores and on web servers, through fsspec: s3://, gs://, az://, https://.

A `RemotePath` has those methods of `pathlib.Path` that reading a log needs. Credentials are found as each
store's own tools find them. No message holds one: `str` of a path leaves out what may (user and password, the
query of a presigned URL), and every error is an OSError with one plain line.
"""

import errno
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

import xxhash

from tablefold.files.remote_errors import PACKAGES, plain_errors
from tablefold.printable import redacted

URL = re.compile(rf"({'|'.join(PACKAGES)})://[^/?]")
READ_BYTES = 1 << 24
"""Bytes that are asked for at a time."""
TEXT_BYTES = 1 << 20
MARKS = ("ETag", "etag", "LastModified", "Last-Modified", "last_modified", "updated", "mtime")
"""What stores call that which changes with a file, the best one first."""


class Stamp(NamedTuple):
    """What changes with a file."""

    bytes: int
    mark: int
    """A number of the store's own mark of this content; 0 where it gives none."""


@dataclass(frozen=True, repr=False)
class RemotePath:
    """A file or a folder of a store. What is known of it is asked for once."""

    url: str
    """With whatever is secret in it."""

    def __str__(self) -> str:
        return redacted(self.url)

    __repr__ = __str__

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self._path).name

    @property
    def suffix(self) -> str:
        """The end of the name from its last dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> "RemotePath":
        """The folder."""
        return RemotePath(self._path.rstrip("/").rpartition("/")[0])

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(f"{self._path.rstrip('/')}/{name}")

    def exists(self) -> bool:
        """Whether there is a file or a folder. Raises OSError where the store does not say."""
        try:
            return bool(self.information)
        except FileNotFoundError:
            return False

    def is_file(self) -> bool:
        """Whether it is a file. Raises OSError where the store does not say."""
        return self.exists() and self.information["type"] == "file"

    def is_dir(self) -> bool:
        """Whether it is a folder. Raises OSError where the store does not say."""
        return self.exists() and self.information["type"] == "directory"

    def is_symlink(self) -> bool:
        """Return False: stores have no links."""
        return False

    def stamp(self) -> Stamp:
        """Return what changes with the file. Raises OSError."""
        return stamp_of(self.information)

    def iterdir(self) -> Iterator["RemotePath"]:
        """Yield the files and folders of a folder. Raises OSError."""
        with plain_errors(self, self.scheme):
            entries = self.store.ls(self.url, detail=True)
        for entry in entries:
            name = entry["name"].rstrip("/").rpartition("/")[2]
            if name and entry["name"].strip("/") != self.store._strip_protocol(self.url).strip("/"):
                path = self / name
                path.__dict__["information"] = entry  # one listing, and not a request for each file
                yield path

    def glob(self, pattern: str) -> Iterator["RemotePath"]:
        """Yield what is in a folder and has such a name. Raises OSError."""
        return (path for path in self.iterdir() if fnmatchcase(path.name, pattern))

    def find(self) -> dict[str, Stamp]:
        """Return every file below a folder by its path from there. Raises OSError."""
        top = self.store._strip_protocol(self.url).strip("/") + "/"
        with plain_errors(self, self.scheme):
            found = self.store.find(self.url, detail=True)
        return {name.removeprefix(top): stamp_of(entry) for name, entry in found.items()}

    def open(self, mode: str = "rb") -> BinaryIO:
        """Open the file for its bytes, which are asked for as they are read. Raises OSError, reads too."""
        assert mode == "rb"
        with plain_errors(self, self.scheme):
            file = self.store.open(self.url, "rb", block_size=READ_BYTES)
        return io.BufferedReader(_PlainErrors(self, file), 1 << 20)

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the text of a small file. Raises OSError, UnicodeDecodeError."""
        return self.read_bytes(TEXT_BYTES).decode(encoding)

    def read_bytes(self, max_bytes: int) -> bytes:
        """Return the bytes of a small file. Raises OSError, also for one of more than `max_bytes`."""
        with self.open() as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise OSError(errno.EFBIG, f"it is larger than {max_bytes:,} bytes", str(self))
        return content

    def download(self, target: Path) -> None:
        """Write the file's bytes to a local file. Raises OSError."""
        with plain_errors(self, self.scheme):
            self.store.get_file(self.url, str(target))

    def upload(self, source: Path, *, new: bool = False) -> None:
        """Write a local file's bytes, seen whole or not at all. Raises OSError.

        FileExistsError where `new` and there is one, whoever else writes it at this moment.
        """
        with plain_errors(self, self.scheme):
            self.store.put_file(str(source), self.url, **({"mode": "create"} if new else {}))

    def remove(self) -> None:
        """Remove the file. Raises OSError."""
        with plain_errors(self, self.scheme):
            self.store.rm_file(self.url)

    @cached_property
    def information(self) -> Mapping[str, Any]:
        """What the store says of the file. Raises OSError; UsageError for a store without its package."""
        with plain_errors(self, self.scheme):
            found: Mapping[str, Any] = self.store.info(self.url)
        return found

    @property
    def store(self) -> Any:
        """The file system of fsspec, which remembers no listing. Raises as `information` does."""
        with plain_errors(self, self.scheme):
            import fsspec

            return fsspec.filesystem(self.scheme, use_listings_cache=False)

    @property
    def scheme(self) -> str:
        """The word before `://`."""
        return self.url.partition("://")[0]

    @property
    def _path(self) -> str:
        """The URL without a query, which only web servers know."""
        return self.url.partition("?")[0] if self.scheme.startswith("http") else self.url


def stamp_of(entry: Mapping[str, Any]) -> Stamp:
    """Return what changes with the file that a store gives this entry for."""
    mark = next((str(entry[name]) for name in MARKS if entry.get(name)), "")
    return Stamp(int(entry.get("size") or 0), xxhash.xxh3_64_intdigest(mark.encode()) if mark else 0)


class _PlainErrors(io.RawIOBase):
    """A file of fsspec whose reads raise plain errors."""

    def __init__(self, path: RemotePath, file: Any) -> None:
        self._path, self._file = path, file

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Whether the store gives a part of a file."""
        return bool(self._file.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place in the file."""
        return int(self._file.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with the bytes that come next. Raises OSError."""
        with plain_errors(self._path, self._path.scheme):
            content = self._file.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            self._file.close()
        super().close()
