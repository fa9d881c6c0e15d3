"""Install every extra alone in an environment of its own, from the sdist, and do there what it is for.

    python -m checks.installs [--folder build/installs]

Each works on what those before it made: `train` writes a checkpoint, `export` a bundle of it, `serve` serves
that, `client` and `loadtest` ask the server. All run in an empty folder. Prints a table of sizes,
without compiled files; ends with 1 at the first that fails.
"""

import argparse
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from checks.environments import ROOT, Environment, add, build_wheel, install, serving

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
    """A stored checkpoint and the one just trained, in row types, network types and lookups of every kind."""
    trained = sibling(export, "train").scratch / "model"
    repository = ("--repository", "repository", "--max-logloss-increase", "1", "--name")
    export.run("tablefold", "export", STORED / "checkpoints/dense", *repository, "stored")
    for row_type, network_type, lookup in [("int8", "int8", "exact"), ("int4", "fp16", "compact")]:
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
    table = Table("installed", "MB", "s until checked")
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
