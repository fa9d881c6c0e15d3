"""A repository in a store, mirrored into a folder: the server sees the folder alone.

<folder>/mirror.json                  the repository's URL, and the stamp of each version that was pulled
        /<model>/serving.toml         as in the store
        /<model>/<version>/           a bundle, pulled whole: its manifest is in the store, every SHA-256 fits

A version without a manifest is still being uploaded. One that cannot be pulled is tried again later and costs
nothing that is here already. Those that are served, and the one before the latest, stay; older ones go.
"""

import fcntl
import logging
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from tablefold.bundle import (
    MANIFEST,
    MAX_MANIFEST_BYTES,
    MAX_VERSION,
    MODEL_NAME,
    VERSION_NUMBER,
    check_files,
    read_manifest,
)
from tablefold.errors import BundleError, UsageError
from tablefold.files.atomic import draft_folder, place_folder, replace_file, write_text
from tablefold.files.remote import RemotePath, Stamp
from tablefold.printable import printable
from tablefold.server.models.policy import MAX_POLICY_BYTES, POLICY, read_policy

log = logging.getLogger(__name__)

STATE = "mirror.json"
RETRY_SECONDS = 2.0
MAX_RETRY_SECONDS = 300.0
"""Between two tries of a version that cannot be pulled; each pause is twice the one before."""

Listing = Mapping[str, Stamp]
"""Every file of a model by its path in the model's folder."""


class State(BaseModel):
    """What the folder mirrors."""

    url: str
    pulled: dict[str, tuple[int, int]] = {}
    """By `<model>/<version>` and `<model>/serving.toml`: the stamp of the manifest or of the file."""


@dataclass(frozen=True)
class _Failure:
    stamp: Stamp
    again: float
    pause: float


class Mirror:
    """Pulls what the policy of each model asks for. Used by one thread.

    Raises UsageError for a folder that is not this repository's mirror, or another server's.
    """

    def __init__(self, remote: RemotePath, folder: Path) -> None:
        self._remote, self._folder = remote, folder
        self._failures: dict[str, _Failure] = {}
        self._passed_over: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._state = self._read_state()
            self._lock = (folder / ".mirror.lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise UsageError(
                f"another server mirrors into {folder}; give another --repository-cache"
            ) from None
        except OSError as error:
            raise UsageError(f"--repository-cache {folder} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Let another server mirror into the folder."""
        self._lock.close()

    @property
    def empty(self) -> bool:
        """Whether nothing was ever pulled."""
        return not any("/" in key and not key.endswith(POLICY) for key in self._state.pulled)

    def update(self) -> None:
        """Bring the folder in line with the store.

        Raises OSError where the store cannot be listed; a version that cannot be pulled is logged.
        """
        found = self._remote.find()
        passed_over = _misnamed(found)
        for folder in sorted(passed_over - self._passed_over):
            log.error(
                "%s is not pulled: name it MODEL/VERSION, a plain number",
                printable(str(self._remote / folder)),
            )
        self._passed_over = passed_over
        models = _by_model(found)
        for name in {key.partition("/")[0] for key in self._state.pulled} - models.keys():
            self._forget(name, self._local_versions(name))
            shutil.rmtree(self._folder / name, ignore_errors=True)
        for name, listing in models.items():
            try:
                self._update_model(name, listing)
            except (OSError, BundleError) as error:
                log.error("model %s stays as it is: %s", name, error)

    def _update_model(self, name: str, listing: Listing) -> None:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        self._update_policy(name, listing)
        policy = read_policy(folder)
        stamps = {
            int(path.partition("/")[0]): stamp
            for path, stamp in listing.items()
            if path.endswith(f"/{MANIFEST}") and path.count("/") == 1
        }
        wanted = set[int]()
        for version in policy.requested(stamps):
            if version in stamps and self._pull(name, version, stamps[version], listing):
                wanted.add(version)
                if policy.versions == "latest":
                    break
        labelled = {version for version in policy.labels.values() if version in stamps}
        wanted |= {version for version in labelled if self._pull(name, version, stamps[version], listing)}
        if wanted:
            local = set(self._local_versions(name))
            before = {version for version in local & stamps.keys() if version < max(wanted)}
            self._forget(name, local - wanted - labelled - {max(before, default=0)})

    def _update_policy(self, name: str, listing: Listing) -> None:
        key, path = f"{name}/{POLICY}", self._folder / name / POLICY
        stamp = listing.get(POLICY)
        if stamp is None:
            path.unlink(missing_ok=True)
            self._note(key, None)
        elif self._state.pulled.get(key) != stamp:
            content = (self._remote / name / POLICY).read_bytes(MAX_POLICY_BYTES)
            with replace_file(path) as file:
                file.write(content)
            self._note(key, stamp)

    def _pull(self, name: str, version: int, stamp: Stamp, listing: Listing) -> bool:
        """Return whether the version is here, pulled now if it was not."""
        key, target = f"{name}/{version}", self._folder / name / str(version)
        if self._state.pulled.get(key) == stamp and target.is_dir():
            return True
        failure = self._failures.get(key)
        if failure is not None and failure.stamp == stamp and time.monotonic() < failure.again:
            return False
        source = self._remote / name / str(version)
        try:
            with draft_folder(target.parent) as draft, _named(draft, source):
                self._fill(draft, source, name, version, listing)
                place_folder(draft, target, replace=True)
        except (OSError, BundleError) as error:
            pause = RETRY_SECONDS if failure is None else min(MAX_RETRY_SECONDS, 2 * failure.pause)
            self._failures[key] = _Failure(stamp, time.monotonic() + pause, pause)
            log.error(
                "%s is not pulled, what is served stays; it is tried again in %g seconds: %s",
                source, pause, error.strerror or error if isinstance(error, OSError) else error,
            )  # fmt: skip
            return False
        self._failures.pop(key, None)
        self._note(key, stamp)
        log.info("%s is pulled", source)
        return True

    def _fill(self, draft: Path, source: RemotePath, name: str, version: int, listing: Listing) -> None:
        (draft / MANIFEST).write_bytes((source / MANIFEST).read_bytes(MAX_MANIFEST_BYTES))
        manifest = read_manifest(draft)
        if (manifest.name, manifest.version) != (name, version):
            raise BundleError(f"its manifest says it is {manifest.name} version {manifest.version}")
        for file, expected in manifest.files.items():
            found = listing.get(f"{version}/{file}")
            if found is None or found.bytes != expected.bytes:
                raise BundleError(
                    f"{file} has {'no' if found is None else f'{found.bytes:,}'} bytes there, "
                    f"not {expected.bytes:,}: upload it again"
                )
            (source / file).download(draft / file)
        check_files(draft, manifest)

    def _local_versions(self, name: str) -> list[int]:
        folder = self._folder / name
        return [int(path.name) for path in folder.glob("*") if VERSION_NUMBER.fullmatch(path.name)]

    def _forget(self, name: str, versions: Iterable[int]) -> None:
        """Remove versions: out of sight first, so that none is seen half."""
        removed = self._folder / name / ".removed"
        for version in versions:
            shutil.rmtree(removed, ignore_errors=True)
            (self._folder / name / str(version)).rename(removed)
            shutil.rmtree(removed, ignore_errors=True)
            self._note(f"{name}/{version}", None)
            log.info("%s version %d is removed from %s", name, version, self._folder)

    def _note(self, key: str, stamp: Stamp | None) -> None:
        if self._state.pulled.get(key) == stamp:
            return
        if stamp is None:
            del self._state.pulled[key]
        else:
            self._state.pulled[key] = (stamp.bytes, stamp.mark)
        write_text(self._folder / STATE, self._state.model_dump_json(indent=1) + "\n")

    def _read_state(self) -> State:
        url, path = str(self._remote).rstrip("/"), self._folder / STATE
        if not path.exists():
            if any(entry.name[0] != "." for entry in self._folder.iterdir()):
                raise UsageError(
                    f"{self._folder} is not empty and mirrors nothing; give another --repository-cache"
                )
            write_text(path, State(url=url).model_dump_json(indent=1) + "\n")
        try:
            state = State.model_validate_json(path.read_bytes())
        except ValidationError:
            raise UsageError(f"{path} is damaged; remove {self._folder}: it is only a copy") from None
        if state.url != url:
            raise UsageError(f"{self._folder} mirrors {state.url}; give {url} another --repository-cache")
        return state


def _by_model(files: Listing) -> dict[str, dict[str, Stamp]]:
    """Return the files of each model by their path in its folder; what can be no model's is left out."""
    models: dict[str, dict[str, Stamp]] = defaultdict(dict)
    for path, stamp in files.items():
        name, _, rest = path.partition("/")
        if MODEL_NAME.fullmatch(name) and (_is_version(rest.partition("/")[0]) or rest == POLICY):
            models[name][rest] = stamp
    return dict(models)


def _misnamed(files: Listing) -> set[str]:
    """Return the folders with a manifest that are named otherwise than a version; not hidden ones."""
    bundles = [path.split("/") for path in files if path.endswith(f"/{MANIFEST}") and path.count("/") == 2]
    return {
        f"{name}/{version}"
        for name, version, _ in bundles
        if name[0] != "." and version[0] != "." and not (MODEL_NAME.fullmatch(name) and _is_version(version))
    }


def _is_version(name: str) -> bool:
    return VERSION_NUMBER.fullmatch(name) is not None and int(name[:20]) <= MAX_VERSION


@contextmanager
def _named(draft: Path, source: RemotePath) -> Iterator[None]:
    """Name the place in the store where an error names the draft."""
    try:
        yield
    except BundleError as error:
        raise BundleError(str(error).replace(str(draft), str(source))) from None
