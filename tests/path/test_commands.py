"""The commands and names that other people's scripts rely on, one after the other on a Criteo-format log."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tablefold.cli import main
from tablefold.logs import Log, read_rows
from tablefold.logs.formats import synthetic
from tablefold.schema import MISSING
from tests.path.conftest import serving


def write_criteo(path: Path, log: Log) -> None:
    with path.open("w") as file:
        for label, dense, ids in zip(log.labels, log.dense, log.ids, strict=True):
            numbers = ["" if np.isnan(v) else str(int(v)) for v in dense]
            codes = ["" if i == MISSING else f"{i:08x}" for i in ids]
            file.write("\t".join([str(int(label)), *numbers, *codes]) + "\n")


def tablefold(*arguments: object) -> str:
    """What a command prints. In this process: the pages' tests start every command as users do."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as printed:
        patch.setattr(sys, "argv", ["tablefold", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code
    return printed.getvalue()


def refused_by_serve(repository: Path | str) -> str:
    command = [sys.executable, "-m", "tablefold", "serve", "--repository", str(repository)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log in Criteo's format, a checkpoint of it and a bundle of that, made by the commands."""
    folder = tmp_path_factory.mktemp("path")
    log = synthetic.generate(6000)
    for name, rows in (("train", slice(0, 4800)), ("dev", slice(4800, 5400)), ("test", slice(5400, None))):
        write_criteo(folder / f"{name}.txt", log.take(rows))
    tablefold(
        "train", "--data", f"criteo:{folder}", "--method", "lhf+mlet", "--dim", 8, "--inner-dim", 16,
        "--row-ratio", 5, "--epochs", 1, "--seed", 3, "--out", folder / "checkpoint",
    )  # fmt: skip
    tablefold(
        "export", folder / "checkpoint", "--repository", folder / "repository", "--name", "ads",
        "--version", 3, "--row-type", "int8",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with serving(folder / "repository") as address:
        yield address


def test_footprint_counts_every_part(folder: Path) -> None:
    printed = json.loads(tablefold("footprint", folder / "repository/ads/3", "--json"))
    assert set(printed) == {"parts", "total", "baseline_fp32", "int8_only"}
    assert set(printed["parts"]) == {"tables", "scales", "row_maps", "vocabulary", "network"}
    assert printed["total"] == sum(printed["parts"].values())
    ids = read_rows(f"criteo:{folder / 'train.txt'}")[1].ids
    distinct = sum(len(np.unique(ids[:, column])) for column in range(26))
    assert printed["baseline_fp32"] == distinct * 8 * 4
    assert printed["int8_only"] == distinct * (8 + 4)
    assert printed["parts"]["scales"] > 0
    for_people = tablefold("footprint", folder / "repository/ads/3")
    assert f"{printed['total']:,}" in for_people


def test_predict_scores_a_file_through_the_server(folder: Path, address: str) -> None:
    arguments = ("predict", "--server", address, "--model", "ads")
    scores = json.loads(tablefold(*arguments, "--data", f"criteo:{folder}/test.txt", "--json"))
    assert set(scores) == {"rows", "auc", "logloss", "part", "split", "probability"}
    assert scores["rows"] == len(scores["probability"]) == 600
    metrics = json.loads((folder / "checkpoint/checkpoint.json").read_text())["metrics"]
    assert abs(scores["auc"] - metrics["test_auc"]) < 0.01  # int8 rows
    unlabelled = folder / "unlabelled.txt"
    lines = (folder / "test.txt").read_text().splitlines()
    unlabelled.write_text("".join(line.partition("\t")[2] + "\n" for line in lines))
    again = json.loads(tablefold(*arguments, "--data", f"criteo:{unlabelled}", "--json"))
    assert again["auc"] is None
    assert again["logloss"] is None
    np.testing.assert_allclose(again["probability"], scores["probability"], atol=1e-6)


@pytest.mark.parametrize("protocol", ["oip", "tablefold"])
@pytest.mark.parametrize("mode", [("--rate", "50"), ("--concurrency", "4")])
def test_loadtest_writes_its_figures(
    folder: Path, address: str, protocol: str, mode: tuple[str, str], tmp_path: Path
) -> None:
    tablefold(
        "loadtest", "--server", address, "--model", "ads", "--protocol", protocol, "--rows", 20, *mode,
        "--duration", 1, "--warmup", 0.2, "--data", f"criteo:{folder}/test.txt",
        "--json", tmp_path / "load.json", "--html", tmp_path / "load.html",
    )  # fmt: skip
    figures: dict[str, Any] = json.loads((tmp_path / "load.json").read_text())
    assert {"offered_rps", "achieved_rps", "rows_per_second", "latency_ms", "errors"} <= set(figures)
    assert {"p50", "p90", "p99", "p999", "max"} <= set(figures["latency_ms"])
    assert figures["errors"] == {}
    assert figures["achieved_rps"] > 20
    assert figures["server_memory_bytes"]["resident_peak"] > 10e6
    assert "<html" in (tmp_path / "load.html").read_text()


def test_bad_input_is_one_clear_line_and_exit_code_2(
    folder: Path, address: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    broken = tmp_path / "broken.txt"
    lines = (folder / "test.txt").read_text().splitlines()
    broken.write_text("\n".join([*lines[:7], lines[7][:50]]) + "\n")
    checkpoint, repository = folder / "checkpoint", folder / "repository"
    predict = ("predict", "--server", address, "--model")
    for arguments, says in [
        ((*predict, "ads", "--data", f"criteo:{broken}"), f"{broken}, line 8: has"),
        ((*predict, "nope", "--data", f"criteo:{folder}/test.txt"), "nope"),
        (("train", "--data", f"criteo:{broken}", "--out", tmp_path / "c"), "line 8"),
        (("export", tmp_path, "--repository", tmp_path, "--name", "x"), "is not a checkpoint"),
        (("export", checkpoint, "--repository", repository, "--name", "../x"), "--name '../x'"),
        (("export", checkpoint, "--repository", repository, "--name", "ads", "--version", 3), "exists"),
        (("export", checkpoint, "--repository", repository, "--name", "x", "--row-type", "int2"), "int2"),
        (("footprint", tmp_path), "is not a bundle"),
    ]:
        error = refused(*arguments)
        assert says in error.replace("\n", " "), error
    assert "no model" in refused_by_serve(tmp_path)
    assert json.loads(tablefold(*predict, "ads", "--data", f"criteo:{folder}/test.txt", "--json"))


def test_a_damaged_bundle_is_never_served(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "repository", tmp_path, dirs_exist_ok=True)
    weights = tmp_path / "ads/3/model.onnx.data"
    content = bytearray(weights.read_bytes())
    content[1000] ^= 1
    weights.write_bytes(content)
    assert "model.onnx.data is damaged" in refused_by_serve(tmp_path)
