"""Every option of every command refuses wrong values in one line: no traceback, whatever is typed.

Runs in this process. Each command gets arguments that are right, or end soon, and one wrong value at a time.
TABLEFOLD_WALK=every tries every value with the slow commands too.
"""

import logging
import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from tablefold import cli

FORMATS = Path(__file__).parents[1] / "formats" / "1"
WRONG = [
    "", "-1", "0", "1.5", "inf", "nan", "1e308", "-9223372036854775809", "1" + "0" * 30, "001", "o[/b]",
    "\udcff", "ü [red]", "x" * 5000, "=", "a=", "C1=nan", "--", "../..", "folder", "file", "missing/folder",
    "a,b,,", "x:1:2", "[::1",
]  # fmt: skip
"""`folder` and `file` are there in the working folder."""
NOBODY = "127.0.0.1:9"
TINY = ["--dim", "2", "--epochs", "1", "--bottom", "4", "--top", "4"]
COMMANDS: dict[str, list[str]] = {
    "train": ["--data", "synthetic:100", "--out", "m", *TINY],
    "adopt": [
        *("--torchrec", "missing", "--data", "synthetic:100", "--network", "torch.nn:Bilinear", "--out", "m"),
    ],
    "compress": ["checkpoint", "--out", "m", "--rank", "2"],
    "neighbours": ["checkpoint", "--feature", "shop", "--value", "x"],
    "study": ["study.toml", "--out", "s"],
    "shrink": ["missing", "--repository", "repository", "--name", "m"],
    "encode": ["--data", "log.toml", "--cache", "m"],
    "export": ["checkpoint", "--repository", "repository", "--name", "m"],
    "serve": ["--repository", "missing", "--port", "0", "--http-port", "0"],
    "predict": ["--server", NOBODY, "--model", "m", "--data", "synthetic:100"],
    "loadtest": ["--server", NOBODY, "--model", "m", "--duration", "0.1", "--warmup", "0"],
    "footprint": ["--schema", "criteo"],
}
SLOW = ("train", "encode", "export")
"""What they take for right takes a training or an export: a fifth of the values, another fifth an option."""
EVERY_VALUE = os.environ.get("TABLEFOLD_WALK") == "every"
LOG = """
name = "shop"
label = "click"
[files]
format = "csv"
path = "log.csv"
[[categorical]]
name = "user"
encoding = "int"
"""
STUDY = """
data = "synthetic:100"
seeds = 0
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with things that are no models. Nor is one in `../..`: a server would serve it."""
    working = tmp_path / "home" / "user"
    working.mkdir(parents=True)
    shutil.copytree(FORMATS / "checkpoints" / "sparse", working / "checkpoint")
    (working / "folder").mkdir()
    (working / "file").write_text("text\n")
    (working / "folder" / "file").write_text("text\n")
    (working / "study.toml").write_text(STUDY)
    (working / "log.toml").write_text(LOG)
    (working / "log.csv").write_text("click,user\n" + "0,1\n1,2\n" * 5)
    monkeypatch.chdir(working)
    level = logging.getLogger("tablefold").level
    yield working
    logging.getLogger("tablefold").setLevel(level)


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and what was printed. What the command line would show as a traceback is raised."""
    sys.argv = ["tablefold", *arguments]
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capsys.readouterr()
    code = ended.value.code
    return code if isinstance(code, int) else 0, captured.out + captured.err


def parameters(command: str) -> list[tuple[str, str | None]]:
    """Every argument and option that takes a value, with the value that COMMANDS has of it."""
    group = typer.main.get_command(cli.app)
    given, found = COMMANDS[command], []
    for parameter in group.commands[command].params:
        if getattr(parameter, "is_flag", False):
            continue
        option = parameter.opts[-1]
        if option.startswith("--"):
            found.append((option, given[given.index(option) + 1] if option in given else None))
        else:
            found.append((option, given[0] if given and not given[0].startswith("-") else None))
    return found


def test_every_command_is_walked() -> None:
    assert set(COMMANDS) == set(typer.main.get_command(cli.app).commands)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_wrong_value_gives_a_traceback(
    command: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    # There is no bundle to try, and each server would start a process for it.
    monkeypatch.setattr("tablefold.server.processes.run.prepare_trials", lambda: None)
    tried, faults = 0, list[str]()
    step = 5 if command in SLOW and not EVERY_VALUE else 1
    for number, (option, _) in enumerate(parameters(command)):
        for value in WRONG[number % step :: step]:
            arguments = list(COMMANDS[command])
            if not option.startswith("--"):
                arguments = [value, *arguments[1:]] if arguments[0][:1] != "-" else [value, *arguments]
            elif option in arguments:
                arguments[arguments.index(option) + 1] = value
            else:
                arguments += [f"{option}={value}"]
            for made in ("m", "s", "m.metrics.jsonl", "m.state", "repository"):
                shutil.rmtree(place / made, ignore_errors=True)
                (place / made).unlink(missing_ok=True) if (place / made).is_file() else None
            try:
                code, shown = run([command, *arguments], capsys)
                fault = "Traceback" in shown or code not in (0, 1, 2) or not shown.strip()
            except Exception as error:
                fault, shown = True, "".join(traceback.format_exception(error)[-3:])
            if fault:
                faults.append(f"tablefold {command} {arguments}: {shown[-600:]}")
            tried += 1
    with capsys.disabled():
        print(f"{command}: {tried} wrong values tried, {len(faults)} tracebacks", *faults, sep="\n")
    assert not faults, "\n".join(faults)
