"""Environments with one extra each: the wheel that goes in, installing, running commands, a server."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


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
    run_tool("pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, archive)
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


UV_NAMES = {"find-links": "UV_FIND_LINKS", "index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX"}


def places_of_pip() -> dict[str, str]:
    """Where pip takes packages from, by the names of UV_NAMES."""
    settings = run_tool("pip", "config", "list").splitlines()
    named = [line.partition("=") for line in reversed(settings)]  # what the environment sets is listed first
    places = {name.rpartition(".")[2]: ast.literal_eval(value) for name, _, value in named}
    return {option: place for option, place in places.items() if option in UV_NAMES}


def variables_of_uv() -> dict[str, str]:
    """What tells uv to take packages from where pip does: it does not read pip's configuration."""
    told = {UV_NAMES[option]: place for option, place in places_of_pip().items()}
    return told | {"UV_INDEX_STRATEGY": "unsafe-best-match"}  # as pip: the best of all indexes


def run_tool(tool: str, *arguments: object, more: Mapping[str, str] | None = None) -> str:
    """What pip or uv of this interpreter prints. Raises SystemExit with that if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", tool, *map(str, arguments)], env=variables() | dict(more or {}),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{tool} {' '.join(map(str, arguments))}:\n{done.stdout}")
    return done.stdout


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

    By uv, which links what it has unpacked once: pip unpacks torch for every environment.
    """
    wanted = f"{wheel}[{extras}]" if extras else wheel
    interpreter = ("--python", environment.bin / "python")
    options = ("-c", ROOT / "constraints.txt")
    run_tool("uv", "pip", "install", *interpreter, *options, wanted, more=variables_of_uv())


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
