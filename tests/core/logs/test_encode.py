"""A log is encoded by any engine into the same bytes, though a worker is killed in the middle of a file."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Timer

import numpy as np
import polars as pl
import pytest

from tablefold.cli import main
from tablefold.errors import LogError, TablefoldError
from tablefold.logs import EncodedLog, read_splits
from tablefold.logs.encoded.processes import Processes
from tests.core.logs.reading import describe

PARTS, ROWS = 3, 2000
QUICK_JAVA = {"JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dspark.ui.enabled=false"}
"""Half of its processor time goes into making code fast that runs once."""


def java() -> int:
    try:
        said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    except FileNotFoundError:
        return 0
    return int(found[1]) if (found := re.search(r'version "(\d+)', said)) else 0


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A log of three files, of which each knows other users."""
    folder, random = tmp_path_factory.mktemp("log"), np.random.default_rng(0)
    (folder / "parts").mkdir()
    for part in range(PARTS):
        users = random.integers(50 * part, 50 * part + 100, ROWS)
        lines = [f"{i % 3 // 2},{i / 7},{user},a{user % 9}|b|c{i % 2}" for i, user in enumerate(users)]
        (folder / f"parts/{part}.csv").write_text("\n".join(["click,price,user,tags", *lines]) + "\n")
    return describe(folder, "parts", "price", "user int", "tags string 2")


@pytest.fixture(scope="module")
def expected(spec: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return encoded("here", spec, tmp_path_factory.mktemp("here"))


def encoded(engine: str, spec: str, folder: Path) -> dict[str, bytes]:
    """What an engine writes."""
    command = [sys.executable, "-m", "tests.core.logs.dying", engine, spec, str(folder / "out")]
    done = subprocess.run(command, env=os.environ | QUICK_JAVA, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if engine != "here":
        assert (folder / "out.mark").exists(), "a worker was killed"
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


@pytest.mark.parametrize("engine", ["processes", "ray", "spark"])
def test_every_engine_writes_the_same_bytes_and_a_dead_worker_costs_its_task(
    engine: str, spec: str, expected: dict[str, bytes], tmp_path: Path
) -> None:
    if engine == "spark" and java() < 17:
        pytest.skip("Spark needs Java 17 or newer")
    found = encoded(engine, spec, tmp_path)
    assert found.keys() == expected.keys()
    for name, content in expected.items():
        assert found[name] == content, name


def test_the_command_makes_the_cache_that_train_makes_and_counts(
    spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["tablefold", "encode", "--data", spec, "--cache", str(tmp_path / "cache")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code in (0, None)
    train = read_splits(spec, cache=tmp_path / "cache")[1].train
    read_splits(spec, cache=tmp_path / "by-train")
    for path in (tmp_path / "by-train").iterdir():
        assert path.read_bytes() == (tmp_path / "cache" / path.name).read_bytes(), path.name
    assert isinstance(train, EncodedLog)
    log = train.take(np.arange(len(train)))
    counts, clicks = Counter(log.ids[:, 0].tolist()), Counter(log.ids[log.label == 1, 0].tolist())
    table = pl.read_parquet(tmp_path / "cache/0.parquet")
    assert table.schema == {"feature": pl.String, "id": pl.Int64, "count": pl.Int64, "clicks": pl.Int64}
    assert table.rows() == [("user", id, counts[id], clicks[id]) for id in sorted(counts)]


def test_a_fault_is_the_first_one_of_the_log_whichever_worker_finds_it(spec: str, tmp_path: Path) -> None:
    folder = tmp_path / "log"
    (folder / "parts").mkdir(parents=True)
    (folder / "schema.toml").write_text(Path(spec).read_text())
    for part in range(PARTS):
        text = (Path(spec).parent / f"parts/{part}.csv").read_text()
        (folder / f"parts/{part}.csv").write_text(text + ("1,1,ten,a\n" if part else ""))
    with pytest.raises(LogError, match=rf"1.csv, line {ROWS + 2}, feature 'user': 'ten'"):
        read_splits(str(folder / "schema.toml"), cache=tmp_path / "cache", engine=Processes(2))
    assert not (tmp_path / "cache").exists()


def test_a_task_that_kills_every_worker_is_given_up() -> None:
    with pytest.raises(TablefoldError, match="a worker died 4 times at the same task"):
        list(Processes(1).run(os._exit, [(1,)]))


def test_ctrl_c_ends_workers_at_once_and_is_not_theirs() -> None:
    (blocked,) = Processes(1).run(signal.pthread_sigmask, [(signal.SIG_BLOCK, ())])
    assert signal.SIGINT in blocked
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup has it ignored
    Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        list(Processes(2).run(time.sleep, [(600,), (600,)]))
    signal.signal(signal.SIGINT, before)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--ray-address", "auto"), "--ray-address goes with --engine ray"),
        (("--engine", "spark", "--workers", "2"), "the cluster says how many"),
        (("--engine", "ray", "--spark-master", "local"), "--spark-master with --engine spark"),
    ],
)
def test_options_of_another_engine(options: tuple[str, ...], says: str, refused: Callable[..., str]) -> None:
    assert says in refused("encode", "--data", "synthetic:100", "--cache", "x", *options)


def test_a_cluster_that_is_not_there() -> None:
    command = [sys.executable, "-m", "tablefold", "encode", "--data", "synthetic:9", "--cache", "x"]
    without_java = os.environ | {"JAVA_HOME": "/none"}
    command += ["--engine", "spark"]
    done = subprocess.run(command, env=without_java, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Spark cannot be started or reached" in done.stderr
    assert "it needs Java 17 or newer" in done.stderr
    assert "Traceback" not in done.stderr
