"""The pages about one's own network, one's own row map and existing models run as printed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import onnxruntime

from tablefold.logs import read_rows

DOCS = Path(__file__).parents[2] / "docs"


def run(commands: str, folder: Path) -> str:
    """The commands with fewer rows."""
    done = subprocess.run(
        ["bash", "-euc", commands.replace("synthetic:20000", "synthetic:2000")],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def blocks(page: str, language: str) -> list[str]:
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL)
    return found


def test_a_network_of_the_users_own_from_training_to_onnx_runtime(tmp_path: Path) -> None:
    network, score = blocks("how-to/own-network.md", "python")
    (commands,) = blocks("how-to/own-network.md", "bash")
    assert len(f"{network}{commands}{score}".splitlines()) < 30
    for text in (commands, score):
        assert "synthetic:20000" in text
    (tmp_path / "mine.py").write_text(network)
    (tmp_path / "score.py").write_text(score.replace("synthetic:20000", "synthetic:2000"))
    printed = run(commands, tmp_path)
    assert re.search(r"^200 rows, mean probability 0\.\d{3}, clicks 0\.\d{3}$", printed, re.MULTILINE)


def test_a_row_map_of_the_users_own_from_training_to_onnx_runtime(tmp_path: Path) -> None:
    (builder,), (commands,) = (
        blocks("how-to/own-row-map.md", "python"),
        blocks("how-to/own-row-map.md", "bash"),
    )
    assert len(f"{builder}{commands}".splitlines()) < 30
    (tmp_path / "ranges.py").write_text(builder)
    run(commands, tmp_path)
    (tmp_path / "ranges.py").unlink()  # nothing needs the code after training
    run("tablefold export own/checkpoint --repository own/repository --name own", tmp_path)
    manifest = json.loads((tmp_path / "own/repository/own/2/manifest.json").read_text())
    assert manifest["method"]["name"] == "ranges:Ranges+mlet"
    assert manifest["method"]["rows"] < manifest["method"]["distinct_ids"] / 3
    session = onnxruntime.InferenceSession(tmp_path / "own/repository/own/2/model.onnx")
    _, log = read_rows("synthetic:100")
    (probability,) = session.run(["probability"], {"dense": log.dense, "ids": log.ids})
    assert ((probability > 0) & (probability < 1)).all()


def test_an_existing_model_is_adopted_compressed_and_exported(tmp_path: Path) -> None:
    (adopting,) = blocks("how-to/existing-model.md", "python")
    (commands,) = blocks("how-to/existing-model.md", "bash")
    (tmp_path / "mine.py").write_text(blocks("how-to/own-network.md", "python")[0])
    (tmp_path / "adopt.py").write_text(adopting.replace("synthetic:20000", "synthetic:2000"))
    run(commands, tmp_path)
    assert (tmp_path / "existing/repository/small/1/model.onnx").is_file()
