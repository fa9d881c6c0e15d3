"""Install every extra alone in an environment of its own, from the sdist, and do there what it is for.

    python -m checks.installs [--folder build/installs]

Each works on what those before it made: `train` writes a checkpoint, `export` a bundle of it, `serve` serves
that, `client` and `loadtest` ask the server. All run in an empty folder. Prints a table of sizes,
without compiled files; ends with 1 at the first that fails.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

ROOT = Path(__file__).parents[1]
STORED = ROOT / "tests/formats/1"
"""A small checkpoint and bundles, with raw candidates and their probabilities."""
MAX_SERVE_MB = 234
SMALL = ("--data", "synthetic:3000", "--dim", "4", "--epochs", "1", "--bottom", "8", "--top", "8")

EVERY_METHOD = """
import sys
from pathlib import Path
from tablefold.logs import read_splits
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.methods.registry import ROW_MAPS
from tablefold.trainer.training.run import train
schema, splits = read_splits("synthetic:2000")
for method in [*ROW_MAPS, "mlet", "lhf+mlet"]:
    config = TrainConfig(method=method, dim=4, inner_dim=8, epochs=1, bottom=(8,), top=(8,))
    train(schema, splits, config, Path("methods") / method)
"""
ASK_WITH_RAW_VALUES = """
import json, sys
import numpy as np
from tablefold.client import Client
server, file = sys.argv[1:]
stored = json.load(open(file, encoding="utf-8"))
features = {name: [row[name] for row in stored["candidates"]] for name in stored["candidates"][0]}
with Client(server) as client:
    answer = client.predict("dense", features, version=1)
np.testing.assert_allclose(answer, stored["probability"]["versions"]["1"], atol=1e-5)
"""
STUDY = """
data = "synthetic:3000"
seeds = 1
[train]
epochs = 1
dim = 4
bottom = [8]
top = [8]
[[arms]]
method = ["full", "hash"]
"""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A virtual environment with one extra, and an empty folder to work in."""

    extra: str
    folder: Path
    scratch: Path

    @property
    def bin(self) -> Path:
        """Where its programs are."""
        return self.folder / "bin"

    def site_packages(self) -> Path:
        """Where its packages are."""
        (packages,) = self.folder.glob("lib/python*/site-packages")
        return packages

    def run(self, *command: object, code: int = 0) -> str:
        """What a program of the environment prints; `code` is the exit code it must have."""
        program, *arguments = map(str, command)
        done = subprocess.run(
            [self.bin / program, *arguments], cwd=self.scratch, env=variables(),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        if done.returncode != code or "Traceback" in done.stdout:
            raise SystemExit(
                f"tablefold[{self.extra}]: {' '.join([program, *arguments])} ended with {done.returncode}, "
                f"not {code}:\n{done.stdout}"
            )
        return done.stdout

    def megabytes(self) -> float:
        """Bytes of all files, in MB."""
        return sum(file.lstat().st_size for file in self.folder.rglob("*") if file.is_file()) / 1e6

    def refuse(self, command: str, *arguments: object, names: str) -> None:
        """A command of another extra must end with 2 and the pip command that brings it."""
        printed = self.run("tablefold", command, *arguments, code=2)
        if f"pip install 'tablefold[{names}]'" not in printed:
            raise SystemExit(f"tablefold[{self.extra}]: `{command}` does not name [{names}]:\n{printed}")


def variables() -> dict[str, str]:
    """This process's, without what would let packages of elsewhere in."""
    return {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}


def build_wheel(folder: Path) -> Path:
    """A wheel of the sdist of this checkout."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    sdist = f"from setuptools import build_meta; print(build_meta.build_sdist({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", sdist], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tar.gz")
    pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, archive)
    (wheel,) = folder.glob("*.whl")
    require_data_files(wheel)
    return wheel


def require_data_files(wheel: Path) -> None:
    """Raise SystemExit unless the wheel has every typed marker, stub, template and .proto of the folders."""
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    expected = {
        (Path(*package.split(".")) / file.relative_to(ROOT / folder)).as_posix()
        for package, folder in setuptools["package-dir"].items()
        for pattern in setuptools["package-data"]["*"]
        for file in (ROOT / folder).rglob(pattern)
    }
    with zipfile.ZipFile(wheel) as archive:
        missing = expected - set(archive.namelist())
    if missing:
        raise SystemExit(f"the wheel lacks {', '.join(sorted(missing))}")


def pip(python: Path | str, command: str, *arguments: object) -> None:
    """Run pip for an interpreter. Raises SystemExit with what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--python", str(python), command, *map(str, arguments)],
        env=variables(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"pip {command} {' '.join(map(str, arguments))}:\n{done.stdout}")


def install(extra: str, wheel: Path, folder: Path) -> Environment:
    """A fresh environment that holds the wheel with an extra and nothing else."""
    made = Environment(extra=extra, folder=folder / "env", scratch=folder / "empty")
    shutil.rmtree(folder, ignore_errors=True)
    made.scratch.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", made.folder], check=True)
    add(made, wheel, extra)
    return made


def add(environment: Environment, wheel: Path, extras: str) -> None:
    """Install the wheel with extras by this checkout's constraints.

    Python compiles what it imports: compiling all of torch would take most of the time.
    """
    wanted = f"{wheel}[{extras}]" if extras else str(wheel)
    pip(environment.bin / "python", "install", "--no-compile", "-c", ROOT / "constraints.txt", wanted)


def check_base(base: Environment, wheel: Path) -> None:
    """Without any extra: help, version, a stored bundle's footprint; other commands name their extra."""
    base.run("tablefold", "--version")
    base.run("tablefold", "footprint", STORED / "repository/dense/1", "--json")
    base.refuse("train", "--data", "synthetic:100", "--out", "x", names="train")
    base.refuse("encode", "--data", "synthetic:100", "--cache", "x", names="logs")
    base.refuse("export", "x", "--repository", "x", "--name", "x", names="export")
    base.refuse("serve", "--repository", "x", names="serve")
    base.refuse("predict", "--server", "x:1", "--model", "x", "--data", "x", names="client,logs")
    base.refuse("loadtest", "--server", "x:1", "--model", "x", names="loadtest")
    base.refuse("study", "x.toml", "--out", "x", names="study")


def check_train(train: Environment, wheel: Path) -> None:
    """Every method is trained, watched, made smaller without training."""
    train.run(
        "tablefold", "train", *SMALL, "--method", "lhf+mlet", "--tensorboard", "board", "--out", "model"
    )
    train.run("tablefold", "compress", "model", "--rank", 2, "--out", "smaller")
    train.run("python", "-c", EVERY_METHOD)
    train.refuse("export", "model", "--repository", "x", "--name", "x", names="export")
    train.refuse("study", "x.toml", "--out", "x", names="study")


def check_export(export: Environment, wheel: Path) -> None:
    """A stored checkpoint and the one just trained, in every row type, network type and lookup."""
    trained = sibling(export, "train").scratch / "model"
    repository = ("--repository", "repository", "--max-logloss-increase", "1", "--name")
    export.run("tablefold", "export", STORED / "checkpoints/dense", *repository, "stored")
    for row_type, network_type, lookup in [
        ("fp32", "fp32", "exact"),
        ("fp16", "fp16", "compact"),
        ("int8", "int8", "exact"),
        ("int4", "fp32", "compact"),
    ]:
        options = ("--row-type", row_type, "--network-type", network_type, "--lookup", lookup)
        export.run("tablefold", "export", trained, *repository, "ads", *options)
    export.refuse("train", "--data", "synthetic:100", "--out", "x", names="train")


def check_serve(serve: Environment, wheel: Path) -> None:
    """Small, without torch; it serves in the checks of those that ask it."""
    absent = (
        "from importlib.util import find_spec; assert not any(map(find_spec, ('torch', 'onnx', 'polars')))"
    )
    serve.run("python", "-c", absent)
    serve.refuse("serve", "--repository", "s3://bucket/models", names="cloud")
    serve.run("python", "-m", "compileall", "-q", "-j", 0, serve.site_packages())  # as pip does for a user
    if serve.megabytes() > MAX_SERVE_MB:
        raise SystemExit(f"tablefold[serve] takes {serve.megabytes():.0f} MB, more than {MAX_SERVE_MB}")


@contextmanager
def serving(serve: Environment, repository: Path) -> Iterator[str]:
    """The address of `tablefold serve` in its environment; it must end with 0."""
    command: list[str | Path] = [
        serve.bin / "tablefold",
        "serve",
        "--repository",
        repository,
        "--port",
        "0",
        "--http-port",
        "0",
    ]
    with subprocess.Popen(
        command, cwd=serve.scratch, env=variables(), stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        try:
            ready = re.search(r"ready on (\S+) ", server.stdout.readline())
            if ready is None:
                raise SystemExit("tablefold[serve]: the server did not come up")
            yield ready[1]
        finally:
            server.terminate()
            if server.wait(timeout=60):
                raise SystemExit(f"tablefold[serve]: the server ended with {server.returncode}")


def check_client(client: Environment, wheel: Path) -> None:
    """Raw values in Python; then, with the extra `logs`, a log from the command line."""
    with serving_of(client, STORED / "repository") as server:
        client.run("python", "-c", ASK_WITH_RAW_VALUES, server, STORED / "dense.json")
        client.run("tablefold", "footprint", "--server", server)
        client.refuse(
            "predict", "--server", server, "--model", "dense", "--data", "synthetic:100", names="client,logs"
        )
    add(client, wheel, "client,logs")
    with serving_of(client, exported(client)) as server:
        client.run("tablefold", "predict", "--server", server, "--model", "ads", "--data", "synthetic:3000")


def check_loadtest(loadtest: Environment, wheel: Path) -> None:
    """A short load with both reports."""
    reports = ("--json", "load.json", "--html", "load.html")
    with serving_of(loadtest, exported(loadtest)) as server:
        target = ("--server", server, "--model", "ads", "--data", "synthetic:500")
        loadtest.run("tablefold", "loadtest", *target, "--rate", 20, "--duration", 2, *reports)


def check_study(study: Environment, wheel: Path) -> None:
    """Two arms of one seed, with the page."""
    (study.scratch / "study.toml").write_text(STUDY)
    study.run("tablefold", "study", "study.toml", "--out", "out")


CHECKS = {
    "": check_base,
    "train": check_train,
    "export": check_export,
    "serve": check_serve,
    "client": check_client,
    "loadtest": check_loadtest,
    "study": check_study,
}


def sibling(environment: Environment, extra: str) -> Environment:
    """The environment of another extra."""
    folder = environment.folder.parent.with_name(extra)
    return Environment(extra=extra, folder=folder / "env", scratch=folder / "empty")


def exported(environment: Environment) -> Path:
    """The repository that `export` wrote."""
    return sibling(environment, "export").scratch / "repository"


def serving_of(environment: Environment, repository: Path) -> AbstractContextManager[str]:
    """The address of a server by the extra `serve`."""
    return serving(sibling(environment, "serve"), repository)


def main() -> None:
    """Install side by side, check in order, print sizes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("build/installs"), help="is emptied")
    folder = parser.parse_args().folder.resolve()
    started = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    wheel = build_wheel(folder / "wheel")
    table = Table("pip install", "MB", "s until checked")
    with ThreadPoolExecutor(2) as pool:
        installs = {extra: pool.submit(install, extra, wheel, folder / (extra or "base")) for extra in CHECKS}
        for extra, check in CHECKS.items():
            environment = installs[extra].result()
            size = environment.megabytes()
            check(environment, wheel)
            name = f"tablefold[{extra}]" if extra else "tablefold"
            table.add_row(Text(name), f"{size:,.0f}", f"{time.monotonic() - started:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
