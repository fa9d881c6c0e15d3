"""A version in a store: uploaded file by file, the manifest last, so that it is seen whole or not at all.

The graph goes first, and only where there is none: whoever writes it has the number.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from tablefold.bundle import GRAPH, MANIFEST, Manifest, read_manifest
from tablefold.errors import TablefoldError, UsageError
from tablefold.exporter.repository.version_folder import exists, next_version
from tablefold.files.remote import RemotePath

CONFIG = "config.pbtxt"


def upload(folder: Path, model: RemotePath, version: int | None) -> RemotePath:
    """Upload the bundle of a version's folder as a version of `model`, and return that folder.

    None takes the next free number; one that an upload left unfinished is not free. Raises UsageError where
    the given one exists, TablefoldError where the store cannot be written; nothing of it is seen then.
    """
    manifest = read_manifest(folder)
    with _said_plainly(model):
        target = _claim(folder, model, version)
        with _removed_on_error(target, [MANIFEST, *manifest.files]):
            (model / CONFIG).upload(folder.parent / CONFIG)
            for name in manifest.files:
                if name != GRAPH:
                    (target / name).upload(folder / name)
            numbered = manifest.model_copy(update={"version": int(target.name)})
            _upload_manifest(numbered, target / MANIFEST)
    return target


def require_free(model: RemotePath, version: int | None) -> None:
    """Check before any work that a version can be written.

    Raises UsageError for one that exists, and where the store cannot be asked.
    """
    if model.scheme.startswith("http"):
        raise UsageError(f"{model}: web servers take no files; give s3://, gs:// or az://")
    try:
        taken = _names(model)
    except OSError as error:
        raise UsageError(f"--repository {error.filename}: {error.strerror}") from None
    if version is not None and str(version) in taken:
        raise exists(model / str(version))


def _claim(folder: Path, model: RemotePath, version: int | None) -> RemotePath:
    while True:
        target = model / str(version or next_version(_names(model), model))
        try:
            (target / GRAPH).upload(folder / GRAPH, new=True)
        except FileExistsError:  # taken at this moment
            if version is not None:
                raise exists(target) from None
        else:
            return target


def _names(model: RemotePath) -> set[str]:
    try:
        return {path.name for path in model.iterdir()}
    except FileNotFoundError:
        return set()


def _upload_manifest(manifest: Manifest, target: RemotePath) -> None:
    with TemporaryDirectory() as here:
        file = Path(here, MANIFEST)
        file.write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
        target.upload(file)


@contextmanager
def _removed_on_error(target: RemotePath, names: Iterable[str]) -> Iterator[None]:
    try:
        yield
    except BaseException:
        for name in names:
            with suppress(OSError):
                (target / name).remove()
        raise


@contextmanager
def _said_plainly(model: RemotePath) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TablefoldError(
            f"no version could be written into {model}, nothing of it can be seen: {error.strerror}"
        ) from None
