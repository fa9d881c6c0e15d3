"""Every page that shows commands runs as printed: all its blocks, in order, in an empty folder.

`bash` blocks are commands; one that only serves runs beside those that follow, as in another terminal. A
`python` block runs where it stands, or is a file that commands use if the text before it ends with the file's
name, as in `mine.py`: Blocks without a language are not run: they hold placeholders.
"""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import onnxruntime

from tablefold import read_manifest, read_rows

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```(bash|python)\n(.*?)```", re.DOTALL)
NAMED = re.compile(r"`(\w+\.py)`\S*:?\s*$")
LESS = {
    "make_clicks.py": "make_clicks.py --examples 4000",
    "synthetic:20000": "synthetic:2000",
    "--duration 5": "--duration 1",
}
"""Less of everything; otherwise to the letter."""
WAIT_FOR_SERVER = "for _ in $(seq 600); do grep ready server.log && break || sleep 0.1; done"


def script(page: Path) -> str:
    """All blocks of a page as one program for bash."""
    text = page.read_text()
    steps = []
    for block in BLOCK.finditer(text):
        language, code = block.groups()
        named = NAMED.search(text[: block.start()])
        if language == "bash" and code.startswith("tablefold serve") and code.count("\n") == 1:
            steps.append(f"{code.strip()} > server.log &\n{WAIT_FOR_SERVER}\n")
        elif language == "bash":
            steps.append(code)
        elif named:
            steps.append(f"cat > {named[1]} <<'END'\n{code}END\n")
        else:
            steps.append(f"python - <<'END'\n{code}END\n")
    return "".join(steps)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def run(program: str, folder: Path) -> str:
    """What the program prints on stdout."""
    for more, less in LESS.items():
        program = program.replace(more, less)
    for port in ("8001", "8002", "8003", "8004", "4318"):
        program = program.replace(port, str(free_port()))
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "studies").symlink_to(ROOT / "studies")
    leave = "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n"  # a page may leave its server running
    done = subprocess.run(
        ["bash", "-c", f"set -eu; {leave}{program}"],
        cwd=folder, capture_output=True, text=True, timeout=600, check=False,
        env={**os.environ, "COLUMNS": "120", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readme(tmp_path: Path) -> None:
    program = script(ROOT / "README.md").replace(" models >", " models --port 8001 --http-port 8002 >")
    printed = run(program, tmp_path)
    assert re.search(r"AUC 0\.\d", printed), printed
    assert re.search(r"^\[0\.\d+ +0\.\d+ +0\.\d+\]$", printed, re.MULTILINE), printed


TUTORIAL = ROOT / "docs/start/tutorial.md"


def test_the_tutorial_and_what_builds_on_it(tmp_path: Path) -> None:
    pages = (TUTORIAL, ROOT / "docs/how-to/rank-items.md", ROOT / "docs/how-to/operate.md")
    printed = run("".join(map(script, pages)), tmp_path)
    for expected in (r"full fp32 table / total: ", r"ready on", r"AUC 0\.", r"calls/s", r"the whole server"):
        assert re.search(expected, printed), printed
    assert printed.count("AUC 0.") == 4  # of the tutorial, the canary, the stable version and what is traced
    assert "tablefold.batch_rows" in printed
    assert "stable = 1\ncanary = 2" in (tmp_path / "models/clicks/serving.toml").read_text()
    assert (tmp_path / "load.html").stat().st_size > 10_000
    for page in (TUTORIAL, ROOT / "README.md"):
        (schema,) = re.findall(r"```toml\n(.*?)```", page.read_text(), flags=re.DOTALL)
        assert schema == (tmp_path / "clicks.toml").read_text()


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs/how-to" / page).read_text()
    return [code for kind, code in BLOCK.findall(text) if kind == language]


def test_a_schema_and_a_frame_from_python(tmp_path: Path) -> None:
    assert run(script(ROOT / "docs/how-to/prepare-a-log.md"), tmp_path) == "shop-repository/shop/1\n"


def test_a_network_of_the_users_own(tmp_path: Path) -> None:
    page = ROOT / "docs/how-to/own-network.md"
    assert sum(code.count("\n") for _, code in BLOCK.findall(page.read_text())) < 30
    printed = run(script(page), tmp_path)
    assert re.search(r"^200 rows, mean probability 0\.\d{3}, clicks 0\.\d{3}$", printed, re.MULTILINE)


def test_a_row_map_of_the_users_own(tmp_path: Path) -> None:
    page = ROOT / "docs/how-to/own-row-map.md"
    assert sum(code.count("\n") for _, code in BLOCK.findall(page.read_text())) < 30
    again = "rm ranges.py  # nothing needs the code after training\n"
    again += "tablefold export own/checkpoint --repository own/repository --name own\n"
    run(script(page) + again, tmp_path)
    version = tmp_path / "own/repository/own/2"
    manifest = read_manifest(version)
    assert manifest.method.name == "ranges:Ranges+mlet"
    assert manifest.method.rows < manifest.method.distinct_ids / 3
    _, log = read_rows("synthetic:100")
    session = onnxruntime.InferenceSession(version / "model.onnx")
    (probability,) = session.run(["probability"], {"dense": log.dense, "ids": log.ids})
    assert ((probability > 0) & (probability < 1)).all()


def test_a_model_that_exists_already(tmp_path: Path) -> None:
    """The page takes its network from the page about networks."""
    (tmp_path / "mine.py").write_text(blocks("own-network.md", "python")[0])
    run(script(ROOT / "docs/how-to/existing-model.md"), tmp_path)
    for name in ("small", "shop"):
        assert (tmp_path / f"existing/repository/{name}/1/model.onnx").is_file()


def test_the_smallest_model(tmp_path: Path) -> None:
    page = script(ROOT / "docs/how-to/shrink.md").replace("--minutes 1", "--minutes 0.1")
    run(page, tmp_path)
    assert (tmp_path / "models/small/1/model.onnx").is_file()
    assert (tmp_path / "small.html").stat().st_size > 10_000


def test_several_ranks_train_one_model(tmp_path: Path) -> None:
    run(script(ROOT / "docs/how-to/several-machines.md"), tmp_path)
    for name in ("model", "large"):
        lines = (tmp_path / f"{name}.metrics.jsonl").read_text().splitlines()
        assert {json.loads(line)["world_size"] for line in lines} == {2}


def test_every_page_with_commands_is_run_here() -> None:
    shown = {page.stem for page in (ROOT / "docs").rglob("*.md") if script(page)}
    assert shown == {
        "shrink", "tutorial", "rank-items", "own-network", "own-row-map", "prepare-a-log", "existing-model",
        "operate", "several-machines",
    }  # fmt: skip
