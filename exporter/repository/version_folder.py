"""The place of a bundle: `<repository>/<model>/<version>`, and how a draft takes it.

Every export writes into a draft of its own, and versions are never replaced. So two exports into one model at
once get two numbers, whichever is ready first.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tablefold.bundle import MANIFEST, MAX_VERSION, MODEL_NAME, VERSION_NUMBER, Manifest
from tablefold.errors import TablefoldError, UsageError
from tablefold.files.atomic import draft_folder, place_folder
from tablefold.files.place import Place


def parse_version(text: str) -> int:
    """Return the version that a canonical decimal names. Raises UsageError for any other text."""
    if not VERSION_NUMBER.fullmatch(text) or len(text) > 19 or int(text) > MAX_VERSION:
        raise UsageError(
            f"--version {text!r}: give a number from 1 to {MAX_VERSION} without sign or leading zeros"
        )
    return int(text)


def require_name(name: str) -> None:
    """Raise UsageError for a model's name that no server takes."""
    if not MODEL_NAME.fullmatch(name):
        raise UsageError(
            f"--name {name!r}: use up to 128 letters, digits, '_', '.' and '-', the first no '.' or '-'"
        )


def require_destination(repository: Path, name: str, version: int | None) -> None:
    """Check before any work that a version can be written.

    Raises UsageError for a name or version that no server takes, for a version that exists, and where the
    repository or the model's folder is not a folder.
    """
    require_name(name)
    if version is not None:
        parse_version(str(version))
    try:
        str(repository).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"--repository {str(repository)!r} is not UTF-8; no engine opens it") from error
    for folder in (repository, repository / name):
        if folder.is_symlink() and not folder.exists():
            raise UsageError(
                f"{folder} is a link to nothing; mend it, or give another --repository or --name"
            )
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file; give a folder as --repository, or another --name")
    if version is not None and (repository / name / str(version)).exists():
        raise exists(repository / name / str(version))


@contextmanager
def new_draft(model_folder: Path) -> Iterator[Path]:
    """Give an empty folder for a bundle's files. Raises TablefoldError where the system cannot write."""
    try:
        with draft_folder(model_folder) as draft:
            yield draft
    except OSError as error:
        why = error.strerror or f"is the disk full? {error}"  # numpy gives only numbers of values
        raise TablefoldError(
            f"no version could be written into {model_folder}, nothing of it is left: {why}"
        ) from error


def publish(draft: Path, model_folder: Path, manifest: Manifest, version: int | None) -> Path:
    """Write the manifest, move the draft to its version's folder, and return that folder.

    None takes the next free version. Raises UsageError where the given one exists by now.
    """
    while True:
        number = version or next_version([path.name for path in model_folder.iterdir()], model_folder)
        folder = model_folder / str(number)
        numbered = manifest.model_copy(update={"version": number})
        (draft / MANIFEST).write_text(numbered.model_dump_json(indent=1) + "\n", encoding="utf-8")
        try:
            if folder.exists():  # it may be empty, and is somebody else's then too
                raise FileExistsError(folder)
            place_folder(draft, folder)
        except FileExistsError:
            if version is not None:
                raise exists(folder) from None
        else:
            return folder


def next_version(names: Iterable[str], model_folder: Place) -> int:
    """Return one more than the largest version among the names of files and folders."""
    numbers = [int(name) for name in names if re.fullmatch("[0-9]+", name)]
    largest = max((number for number in numbers if number <= MAX_VERSION), default=0)
    if largest == MAX_VERSION:
        raise UsageError(f"{model_folder / str(largest)} is the last number there is; give a free --version")
    return largest + 1


def exists(folder: Place) -> UsageError:
    """Return the error for a version that is there already."""
    return UsageError(f"{folder} exists; give another --version, or none for the next free one")
