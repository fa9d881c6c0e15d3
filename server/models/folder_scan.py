"""What is on disk: the models of a repository, and the versions and the policy of each."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from tablefold.bundle import GRAPH, MANIFEST, MAX_VERSION, VERSION_NUMBER
from tablefold.errors import BundleError
from tablefold.files.regular_file import KINDS
from tablefold.printable import printable
from tablefold.server.models.policy import POLICY, Policy, read_policy

FolderStamp = tuple[tuple[str, int, int, int], ...]
"""Name, inode, size and time of change (ns) of every file of a folder; it changes with the folder."""


@dataclass(frozen=True)
class ModelFolder:
    """The content of one model's folder."""

    stamps: dict[int, FolderStamp] = field(default_factory=dict)
    """By version."""
    misnamed: dict[str, str] = field(default_factory=dict)
    """Entries that are meant as versions and are none, with the reason."""
    policy: Policy = field(default_factory=Policy)
    has_policy: bool = False
    error: str = ""
    """What is wrong with the folder or its policy; then nothing changes."""

    @property
    def is_model(self) -> bool:
        """Whether it is a model, or should be one; a folder of notes is neither."""
        return bool(self.stamps or self.misnamed or self.error or self.has_policy)


def scan_root(root: Path) -> dict[str, Path]:
    """Return by name what may be a model's folder: all but files, and names that start with a dot.

    Those are half-written.

    Raises BundleError where the root is no folder.
    """
    try:
        with os.scandir(root) as entries:  # which does not touch the folders themselves: one may hang
            names = sorted(entry.name for entry in entries if not entry.is_file(follow_symlinks=False))
    except OSError as error:
        raise BundleError(
            f"{root} is not a folder that can be read ({error.strerror}): "
            "give --repository a folder of models"
        ) from error
    return {printable(name): root / name for name in names if name[0] != "."}


def scan_model(folder: Path) -> ModelFolder:
    """Return the content of a model's folder. A folder that is gone is empty."""
    stamps: dict[int, FolderStamp] = {}
    misnamed: dict[str, str] = {}
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208
    except FileNotFoundError:
        dangling = folder.is_symlink()
        return ModelFolder(error=f"{folder} is a link that leads nowhere" if dangling else "")
    except NotADirectoryError:
        return ModelFolder() if folder.is_file() else ModelFolder(error=f"{folder} is not a folder")
    except OSError as error:
        return ModelFolder(error=f"{folder} cannot be read: {error.strerror}")
    for name in names:
        if not _meant_as_version(folder / name):
            continue
        if reason := _fault_of_version(folder / name):
            misnamed[name] = reason
        else:
            stamps[int(name)] = _stamp(folder / name)
    try:
        return ModelFolder(stamps, misnamed, read_policy(folder), POLICY in names)
    except BundleError as error:
        return ModelFolder(stamps, misnamed, error=str(error))


def changed_in_place(before: FolderStamp, now: FolderStamp) -> bool:
    """Whether a file is still the same one, with another size or time."""
    times = {inode: rest for _, inode, *rest in now}
    return any(times.get(inode, rest) != rest for _, inode, *rest in before)


def _meant_as_version(path: Path) -> bool:
    """Whether an entry is a version, or would pass for one to those who look at the folder.

    That is a decimal number of any script, a folder with another name of digits without letters (`+1`, `1.0`,
    ` 1`), and a folder that holds a bundle, whatever its name. Hidden ones are drafts and are passed over.
    """
    name = path.name
    if name.isdecimal():
        return True
    if name[0] == "." or not os.path.isdir(path):  # noqa: PTH112  # which never raises
        return False
    digits = any(letter.isnumeric() for letter in name) and not any(letter.isalpha() for letter in name)
    return digits or any(os.path.lexists(path / file) for file in (MANIFEST, GRAPH))


def _fault_of_version(path: Path) -> str:
    """Return why an entry that is meant as a version is none; empty where it is one."""
    if not VERSION_NUMBER.fullmatch(path.name):
        number = int(path.name) if path.name.isdecimal() else None
        remedy = (
            "; versions start at 1" if number == 0 else f"; name the folder {number or 'as one, such as 7'}"
        )
        return f"{path} is not a version: its name is not a plain decimal number{remedy}"
    if int(path.name) > MAX_VERSION:
        return f"{path} is not a version: its number does not fit into 63 bits"
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"{path} is not a version: it cannot be read: {error.strerror}"
    if not stat.S_ISDIR(mode):
        kind = KINDS.get(stat.S_IFMT(mode), "a file")
        return f"{path} is not a version: it is {kind}, not a folder"
    return ""


def _stamp(folder: Path) -> FolderStamp:
    try:
        with os.scandir(folder) as entries:
            files = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
    except OSError:  # a file vanished meanwhile, or may not be read: opening it says which
        return ()
    return tuple(sorted((name, of.st_ino, of.st_size, of.st_mtime_ns) for name, of in files))
