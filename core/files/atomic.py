"""Files and folders that are there whole or not at all, whenever the process is killed.

Each is written as a draft beside its place, forced to the disk, and renamed. A draft has a name of its own,
so several writers never touch each other's; it is locked as long as its writer lives, so the next writer in
the same folder knows which drafts are abandoned, and removes them.

A folder that replaces another changes places with it in one step where the system can (Linux, macOS). Where
it cannot (some network file systems) the older one first moves to `.<name>.older`, and `read_folder` finds it
there should the writer die before the new one is in its place.

Every function raises OSError where the disk is full or the place cannot be written. What stood there before
is then as it was.
"""

import ctypes
import errno
import fcntl
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

Result = TypeVar("Result")

DRAFT = ".tablefold-{}.draft"
RENAME_EXCHANGE = 2
"""renameat2(2) of Linux; macOS calls the same number RENAME_SWAP."""
AT_FDCWD = -100
OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """Give an open file to write into; it stands at `path` once the block ends without an error.

    A link is followed. A device or a pipe, such as /dev/stdout, is written to directly.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as device:
            yield device
        return
    path = path.resolve()
    _remove_abandoned_drafts(path.parent)
    with _locked_draft(path.parent, folder=False) as draft, draft.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
        draft.replace(path)
        _sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a file."""
    with replace_file(path) as file:
        file.write(text.encode())


@contextmanager
def create_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give an empty folder to write into; it stands at `path` once the block ends without an error.

    Its parents are made as needed. What stands at `path` already is replaced if `replace` says so; otherwise
    only an empty folder is, and FileExistsError says that there is something.
    """
    with draft_folder(path.parent) as draft:
        yield draft
        place_folder(draft, path, replace=replace)


@contextmanager
def draft_folder(parent: Path) -> Iterator[Path]:
    """Give an empty folder in `parent` for `place_folder`; what is not placed is removed at the end."""
    parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned_drafts(parent)
    with _locked_draft(parent, folder=True) as draft:
        yield draft


def place_folder(draft: Path, path: Path, *, replace: bool = False) -> None:
    """Force a draft to the disk and move it to `path` beside it; see `create_folder`.

    Raises FileExistsError, and the draft can be placed elsewhere, where something stands at `path`.
    """
    for parent, _, names in os.walk(draft):
        for name in names:
            _sync(Path(parent, name))
        _sync(Path(parent))
    try:
        _put_in_place(draft, path, replace=replace)
    except OSError as error:
        if error.errno in (*OCCUPIED, errno.ENOTDIR):
            raise FileExistsError(error.errno, error.strerror, str(path)) from error
        raise
    _sync(path.parent)


def read_folder(path: Path, read: Callable[[Path], Result]) -> Result:
    """Return what `read` makes of a folder that may be replaced meanwhile: of the old one or of the new one,
    never of some files of each. Whatever `read` raises is raised."""
    while True:
        folder = path if path.exists() or not _older(path).exists() else _older(path)
        with _held_open(folder):
            before = _identity(folder)
            try:
                result = read(folder)
            except Exception:
                if _identity(folder) == before:
                    raise
            else:
                if _identity(folder) == before:
                    return result


@contextmanager
def _held_open(folder: Path) -> Iterator[None]:
    """Keep a folder's inode number from the next one: one that is open has it even after it was removed."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # reading it says why
        yield
        return
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _locked_draft(parent: Path, *, folder: bool) -> Iterator[Path]:
    """A new file or folder that nobody else takes for abandoned, removed if it is still there at the end."""
    while True:
        draft = parent / DRAFT.format(secrets.token_hex(8))
        if folder:
            draft.mkdir()
        else:
            draft.touch(exist_ok=False)
        try:
            lock = os.open(draft, os.O_RDONLY if folder else os.O_RDWR)
        except FileNotFoundError:  # removed as abandoned before it could be locked
            continue
        try:
            if _try_lock(lock) is False or not draft.exists():
                continue
            yield draft
            return
        finally:
            _remove(draft)
            os.close(lock)


def _try_lock(descriptor: int) -> bool | None:
    """Lock until the descriptor is closed. False if another process has; None where nobody can lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network file system without locks: drafts stay there
        return None
    return True


def _remove_abandoned_drafts(parent: Path) -> None:
    for draft in parent.glob(DRAFT.format("?" * 16)):
        with suppress(OSError):
            lock = os.open(draft, os.O_RDONLY)
            try:
                if _try_lock(lock):
                    _remove(draft)
            finally:
                os.close(lock)


def _put_in_place(draft: Path, path: Path, *, replace: bool) -> None:
    try:
        draft.rename(path)
    except OSError as error:
        if not replace or error.errno not in OCCUPIED:
            raise
        if not _exchange(draft, path):
            _move_aside(draft, path)
    else:
        if _older(path).exists():  # its writer died before it could put the new one in its place
            _move_aside(None, path)


def _move_aside(draft: Path | None, path: Path) -> None:
    """Replace in two steps, one writer at a time. `_older(path)` is only removed while `path` is there."""
    lock = os.open(path.parent, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        while draft is not None:
            if path.exists():
                _remove(_older(path))
                path.rename(_older(path))
            try:
                draft.rename(path)
                break
            except OSError as error:
                if error.errno not in OCCUPIED:
                    raise
        _remove(_older(path))
    finally:
        os.close(lock)


def _exchange(one: Path, other: Path) -> bool:
    """Let two names change places in one step. False where the system or the file system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(one), os.fsencode(other)
    try:
        if sys.platform == "darwin":
            failed = libc.renamex_np(*names, RENAME_EXCHANGE)
        else:
            failed = libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE)
    except AttributeError:
        return False
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.ENOENT):
        return False
    raise OSError(code, os.strerror(code), str(other))


def _older(path: Path) -> Path:
    return path.with_name(f".{path.name}.older")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Force a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # some file systems cannot sync a folder, and then need not
            raise
    finally:
        os.close(descriptor)
