"""Each extra declares what its folders import, no more, and its folders need no other extra."""

import ast
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.installs.requirements import BASE, EXTRAS, PROJECT, ROOT, declared, with_requirements

FOLDERS = PROJECT["tool"]["setuptools"]["package-dir"]
DECLARED_BY: dict[str, tuple[str, ...]] = {
    "core": ("client", "export", "logs", "serve", "train"),
    "core/logs": ("logs",),
    "core/report": ("loadtest", "study"),
    "trainer": ("train",),
    "exporter": ("export",),
    "study": ("study",),
    "server": ("serve", "serve-gpu"),
    "client": ("client",),
    "protos": ("client", "serve", "serve-gpu"),
    "loadtest": ("loadtest",),
}
"""The extras that each must declare everything a folder imports."""
USED_BY: dict[str, tuple[str, ...]] = DECLARED_BY | {
    "core/logs": ("loadtest", "logs", "study", "train"),
    "trainer": ("export", "study", "train"),
    "exporter": ("export", "study"),
    "protos": ("client", "loadtest", "serve", "serve-gpu"),
    "server": ("serve", "serve-gpu", "serve-native", "tracing"),
    "client": ("client", "loadtest"),
    "core": tuple(sorted(set(EXTRAS) - {"dev"})),
}
"""The extras that are for something in a folder."""
OF_EXTRAS = {
    "cuda": ("serve-gpu",),
    "fsspec": ("cloud",),
    "opentelemetry": ("tracing",),
    "pynvml": ("loadtest", "serve-gpu"),
    "pygrpc_native": ("serve-native",),
}
"""Modules that not every extra of a folder brings; where they are absent, all goes on without, or says so."""
NEEDS_MORE = {
    "server/engines/cuda/cuda_runtime.py",
    "server/fronts/native.py",
    "server/telemetry/nvml.py",
    "server/tracing.py",
}
"""Modules that import one of them."""
NOT_IMPORTED = {
    "onnx": "torch.onnx and ONNX Runtime's quantisation import it",
    "onnxscript": "torch.onnx imports it",
    "s3fs": "fsspec imports it",
    "ray": "core/logs/encoded/clusters.py imports it by its name",
    "pyspark": "core/logs/encoded/clusters.py imports it by its name",
}
DISTRIBUTIONS = {
    module: {canonicalize_name(name) for name in names} for module, names in packages_distributions().items()
} | {"cuda": {"cuda-bindings"}, "onnxruntime": {"onnxruntime", "onnxruntime-gpu"}}


def folder_of(file: Path) -> str:
    """The longest key of DECLARED_BY that a source file stands under."""
    path = file.relative_to(ROOT)
    return max((folder for folder in DECLARED_BY if path.is_relative_to(folder)), key=len)


def imported(file: Path) -> set[str]:
    """Top-level names of other people's packages that a file imports, at any depth."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"tablefold"}


SOURCES = sorted(file for folder in FOLDERS.values() for file in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", DECLARED_BY)
def test_every_import_is_declared(folder: str) -> None:
    undeclared = {
        f"{file.relative_to(ROOT)} imports {module}, which tablefold[{extra}] does not declare"
        for file in SOURCES
        if folder_of(file) == folder
        for module in imported(file)
        for extra in OF_EXTRAS.get(module, DECLARED_BY[folder])
        if not DISTRIBUTIONS.get(module, set()) & declared(extra)
    }
    assert not undeclared


@pytest.mark.parametrize("extra", sorted(set(EXTRAS) - {"dev"}))
def test_everything_declared_is_imported(extra: str) -> None:
    files = [file for file in SOURCES if extra in USED_BY[folder_of(file)]]
    used = set().union(*(DISTRIBUTIONS.get(module, set()) for file in files for module in imported(file)))
    base = {canonicalize_name(Requirement(line).name) for line in BASE}
    assert declared(extra) - base - used - set(NOT_IMPORTED) == set()


def test_every_folder_is_packaged() -> None:
    folders = {
        ".".join([package, *file.parent.relative_to(ROOT / folder).parts])
        for package, folder in FOLDERS.items()
        for file in (ROOT / folder).rglob("__init__.py")
    }
    assert PROJECT["tool"]["setuptools"]["packages"] == sorted(folders)


IMPORT_ALL = """
import importlib, sys
blocked, modules = set({blocked!r}), {modules!r}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
for module in modules:
    importlib.import_module(module)
"""
READS_LOGS = {"client/scoring/log_part.py", "client/scoring/score_log.py", "exporter/id_counts.py"}
"""Modules of `predict` and of `footprint --data`, which need the extra `logs` too."""
ALONE = {
    "client": "client",
    "client,logs": "client",
    "export": "exporter",
    "export,logs": "exporter",
    "loadtest": "loadtest",
    "logs": "core/logs",
    "serve": "server",
    "study": "study",
    "train": "trainer",
}


@pytest.mark.parametrize(("extras", "folder"), ALONE.items())
def test_a_folder_imports_with_its_extra_alone(extras: str, folder: str) -> None:
    """Every module of the folder, with all packages blocked that the extra does not bring."""
    brought = with_requirements(set().union(*map(declared, extras.split(","))))
    blocked = [module for module, names in DISTRIBUTIONS.items() if not names & brought]
    packages = {folder: package for package, folder in FOLDERS.items()}
    modules = [
        ".".join([packages[path.parts[0]], *path.with_suffix("").parts[1:]])
        for path in (file.relative_to(ROOT) for file in sorted((ROOT / folder).rglob("*.py")))
        if path.stem not in {"__init__", "__main__"}
        and path.as_posix() not in NEEDS_MORE
        and (path.as_posix() in READS_LOGS) == extras.endswith(",logs")
    ]
    script = IMPORT_ALL.format(blocked=sorted(set(blocked) - {"tablefold"}), modules=modules)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
