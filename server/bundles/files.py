"""The files of a bundle: whole, unchanged, its own, and held by a lease while they are served."""

from dataclasses import dataclass
from pathlib import Path

from tablefold.bundle import (
    GRAPH,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    WEIGHTS,
    Manifest,
    check_files,
    read_manifest,
)
from tablefold.errors import BundleError
from tablefold.files.regular_file import read_regular_file
from tablefold.server.bundles.external_data import external_files
from tablefold.server.bundles.lease import Lease

MAX_GRAPH_BYTES = 256 << 20
"""Weights are outside the graph, so it is small."""


@dataclass(frozen=True)
class BundleFiles:
    """A bundle on disk that may be loaded."""

    folder: Path
    manifest: Manifest
    manifest_json: str
    """As the exporter wrote it."""
    lease: Lease | None
    """On the weights, which are mapped; from before they were checked."""


def check_bundle(folder: Path) -> BundleFiles:
    """Read and check all files of a bundle. Takes seconds.

    Raises BundleError or OSError saying what is wrong.
    """
    manifest = read_manifest(folder)
    if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
        raise BundleError(
            f"{folder / MANIFEST} says it is {manifest.name} version {manifest.version}: "
            "its folders must have the same names"
        )
    weights = folder / WEIGHTS
    lease = Lease.take(weights) if weights.is_file() else None
    try:
        check_files(folder, manifest)
        _check_external_data(folder, manifest)
        manifest_json = read_regular_file(folder / MANIFEST, MAX_MANIFEST_BYTES).decode()
    except BaseException:
        if lease is not None:
            lease.release()
        raise
    return BundleFiles(folder, manifest, manifest_json, lease)


def _check_external_data(folder: Path, manifest: Manifest) -> None:
    """Raise BundleError unless every external file of the graph is named, and so checked, by the manifest."""
    path = folder / GRAPH
    for location in sorted(external_files(path, read_regular_file(path, MAX_GRAPH_BYTES))):
        if location not in manifest.files:
            raise BundleError(
                f"{path} reads its weights from {location!r}, which its manifest does not name; "
                "a bundle may only read its own files: do not serve it, export the model again"
            )
