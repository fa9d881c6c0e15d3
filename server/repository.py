"""The repository: models and versions on disk and in memory.

    <root>/<model>/<version>/   the newest version that passes every check is served

Knows folders, bundles and what makes one fit to serve. Does not know the wire or how rows are batched.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tablefold.bundle import MANIFEST, Manifest, check_files, read_manifest
from tablefold.errors import BundleError, ModelNotFound
from tablefold.server.batcher import Batcher
from tablefold.server.engine import Engine
from tablefold.server.external_data import check_external_data

log = logging.getLogger(__name__)

OpenEngine = Callable[[Path, Manifest], Engine]
MakeBatcher = Callable[[Engine, Manifest], Batcher]


@dataclass(frozen=True)
class Model:
    """One version of a model, verified and ready to score."""

    manifest: Manifest
    manifest_json: str
    """As the exporter wrote it."""
    batcher: Batcher

    @property
    def name(self) -> str:
        """The name it is asked for by."""
        return self.manifest.name

    @property
    def version(self) -> int:
        """From 1."""
        return self.manifest.version


@dataclass
class Repository:
    """The models that are served, and why others are not."""

    models: dict[str, Model] = field(default_factory=dict)
    refused: dict[tuple[str, int], str] = field(default_factory=dict)
    """(model, version) -> what is wrong with it."""

    @classmethod
    def load(
        cls, root: Path, open_engine: OpenEngine, make_batcher: MakeBatcher, warm_rows: int
    ) -> "Repository":
        """Load the newest sound version of every model under `root`; `warm_rows`: the largest batch to come.

        Raises BundleError where there is nothing to serve, saying why.
        """
        repository = cls()
        for name, versions in _scan(root).items():
            for version, folder in sorted(versions.items(), reverse=True):
                try:
                    repository.models[name] = _open(folder, open_engine, make_batcher, warm_rows)
                    break
                except BundleError as error:
                    repository.refused[name, version] = str(error)
                    log.error("model %s version %d is not served: %s", name, version, error)
        if not repository.models:
            reasons = "\n".join(repository.refused.values())
            raise BundleError(
                reasons
                or f"{root} holds no model; export one with: tablefold export CHECKPOINT --repository {root}"
            )
        return repository

    def find(self, name: str, version: int | str = 0) -> Model:
        """The model of that name; version 0 or "": the one served. Raises ModelNotFound."""
        model = self.models.get(name)
        if model is not None and str(version) in {"", "0", str(model.version)}:
            return model
        refused = "".join(
            f"; version {number} is refused: {reason}"
            for (of, number), reason in self.refused.items()
            if of == name
        )
        if model is not None:
            raise ModelNotFound(
                f"model {name!r} has no version {version} here; the one served is {model.version}{refused}"
            )
        listing = ", ".join(f"{model.name}:{model.version}" for model in self.models.values())
        raise ModelNotFound(f"there is no model {name!r}; this server has {listing}{refused}")

    def close(self) -> None:
        """Refuse what comes from now on; what waits is still answered."""
        for model in self.models.values():
            model.batcher.close()


def _scan(root: Path) -> dict[str, dict[int, Path]]:
    """model -> version -> folder; names that start with a dot are half-written and not seen."""
    if not root.is_dir():
        raise BundleError(f"{root} is not a folder: give --repository a folder of models")
    found: dict[str, dict[int, Path]] = {}
    for model in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        versions = {
            int(path.name): path for path in model.iterdir() if path.is_dir() and path.name.isdecimal()
        }
        if versions:
            found[model.name] = versions
    return found


def _open(folder: Path, open_engine: OpenEngine, make_batcher: MakeBatcher, warm_rows: int) -> Model:
    """Check, load, verify and warm one version. Raises BundleError saying what is wrong with it."""
    manifest = read_manifest(folder)
    if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
        raise BundleError(
            f"{folder / MANIFEST} says it is {manifest.name} version {manifest.version}: "
            "its folders must have the same names"
        )
    check_files(folder, manifest)
    check_external_data(folder, manifest)
    engine = open_engine(folder, manifest)
    _replay(folder, manifest, engine, warm_rows)
    return Model(manifest, (folder / MANIFEST).read_text(encoding="utf-8"), make_batcher(engine, manifest))


def _replay(folder: Path, manifest: Manifest, engine: Engine, warm_rows: int) -> None:
    """The golden rows give the probabilities they gave the exporter; then the largest batch, to warm up."""
    dense, ids, expected = manifest.golden.arrays(manifest.feature_schema)
    rows = len(expected)
    if not rows:
        raise BundleError(f"{folder / MANIFEST} has no golden rows to verify the graph with; export again")
    try:
        probability = engine.run(dense, ids)
        engine.run(np.resize(dense, (warm_rows, dense.shape[1])), np.resize(ids, (warm_rows, ids.shape[1])))
    except Exception as error:  # ONNX Runtime's classes have no common base
        raise BundleError(f"{folder}: the graph fails on its golden rows: {error}") from error
    if probability.shape != expected.shape:
        raise BundleError(f"{folder}: the graph gives {list(probability.shape)} for {rows} golden rows")
    difference = np.abs(probability - expected).max()
    if not difference <= manifest.tolerance:  # a NaN is not
        raise BundleError(
            f"{folder}: the graph's probabilities of the golden rows differ from the exporter's by "
            f"{difference:.3g} (at most {manifest.tolerance:g}); export the model again"
        )
