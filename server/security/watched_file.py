"""Tells whether a file has changed since it was read."""

from pathlib import Path

FileStamp = tuple[int, int, int, int]
"""Device, inode, size and time of change (ns); zeros where there is no file.

The time of change, and not that of modification: copies may keep the latter.
"""


def stamp_of(path: Path) -> FileStamp:
    """Return the stamp of a file, or of the one that a link leads to."""
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0, 0)
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns
