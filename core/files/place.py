"""Where a file is: on this machine, or at a URL."""

import os
from collections.abc import Hashable
from pathlib import Path

from tablefold.errors import UsageError
from tablefold.files.remote import URL, RemotePath, Stamp

Place = Path | RemotePath


def place_of(text: str | os.PathLike[str] | RemotePath, folder: Place = Path()) -> Place:
    """Return the place that a URL or a local path names; a path that is not absolute is one in `folder`."""
    if isinstance(text, RemotePath):
        return text
    name = os.fspath(text)
    return RemotePath(name) if URL.match(name) else folder / name


def local_path(text: str) -> Path:
    """Return a path on this machine. Raises UsageError for a URL, which Path takes for a folder `s3:`."""
    place = place_of(text)
    if isinstance(place, RemotePath):
        raise UsageError(f"{place} is in a store; give a folder on this machine")
    return place


def identity(place: Place) -> Hashable:
    """Return what is the same for all names of a file, links of both kinds among them."""
    if isinstance(place, RemotePath):
        return place
    try:
        status = place.stat()
    except OSError:  # reading it says why
        return os.path.realpath(place)
    return status.st_dev, status.st_ino


def stamp(place: Place) -> Stamp:
    """Return what changes with a file; a local one's mark is when it was changed, ns. Raises OSError."""
    if isinstance(place, RemotePath):
        return place.stamp()
    status = place.stat()
    return Stamp(status.st_size, status.st_mtime_ns)
