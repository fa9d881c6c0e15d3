"""The page about a network of one's own runs as printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_a_network_of_the_users_own_from_training_to_onnx_runtime(tmp_path: Path) -> None:
    page = (DOCS / "own-model.md").read_text()
    network, score = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (commands,) = re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL)
    assert len(f"{network}{commands}{score}".splitlines()) < 30
    for text in (commands, score):
        assert "synthetic:20000" in text
    (tmp_path / "mine.py").write_text(network)
    (tmp_path / "score.py").write_text(score.replace("synthetic:20000", "synthetic:2000"))  # fewer rows
    done = subprocess.run(
        ["bash", "-euc", commands.replace("synthetic:20000", "synthetic:2000")],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"^200 rows, mean probability 0\.\d{3}, clicks 0\.\d{3}$", done.stdout, re.MULTILINE)
