"""One training run for each checkpoint: a lock beside it, which dies with its process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tablefold.errors import UsageError

__all__ = ["lock_checkpoint"]


@contextmanager
def lock_checkpoint(out: Path) -> Iterator[None]:
    """Keep other runs from writing the checkpoint `out`. The lock is the file `.<out>.lock`, gone afterwards.

    Raises UsageError where another run writes it, and where the folder cannot be written.
    """
    path = out.with_name(f".{out.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _lock(path)
    except BlockingIOError as error:
        raise UsageError(
            f"another training run writes {out}; wait for its end, or give another --out"
        ) from error
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same_file(descriptor, path):  # its last holder may have removed it meanwhile
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
