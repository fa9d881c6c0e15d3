"""The command line: helpful without its extras, quick to help, exact in its exit codes."""

import importlib.metadata
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tablefold
from tablefold import cli
from tablefold.console import PlainFormatter, print_error

WITHOUT = "import sys; sys.modules |= dict.fromkeys({without!r}); sys.argv[1:] = {arguments!r}\n"
WITHOUT += "from tablefold.cli import main; main()"


def run(*arguments: str, without: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    script = WITHOUT.format(without=without, arguments=list(arguments))
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("command", "module", "extra"),
    [
        (["train", "--data", "synthetic:500", "--out", "x"], "torch", "train"),
        (["export", "x", "--repository", "x", "--name", "x"], "onnx_ir", "export"),
        (["serve", "--repository", "x", "--port", "0", "--http-port", "0"], "onnxruntime", "serve"),
        (["predict", "--server", "x:1", "--model", "x", "--data", "synthetic:500"], "grpc", "client,logs"),
        (["loadtest", "--server", "x:1", "--model", "x"], "grpc", "loadtest"),
        (["study", "x.toml", "--out", "x"], "matplotlib", "study"),
        (["footprint", "--server", "x:1"], "grpc", "client,export,logs"),
    ],
)
def test_a_missing_extra_is_named(command: list[str], module: str, extra: str) -> None:
    done = run(*command, without=(module,))
    assert done.returncode == 2
    assert f" needs {module}" in done.stderr
    assert f"which is not installed: pip install 'tablefold[{extra}]'" in done.stderr


@pytest.mark.parametrize("command", ["train", "export", "serve", "predict", "loadtest", "footprint"])
def test_help_needs_no_extra_at_all(command: str) -> None:
    done = run(command, "--help", without=("torch", "onnxruntime", "grpc", "polars"))
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_a_run_that_cannot_go_on_is_one_line_and_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", "synthetic:1000", "--embedding-lr", "1e38", "--out", str(tmp_path / "x")]
    monkeypatch.setattr(sys, "argv", ["tablefold", "train", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: the loss became")


def test_an_error_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    print_error("first\nnext \x1b[2J and [red] " + "x" * 9000 + " end")
    first, following = capsys.readouterr().err.splitlines()
    assert first == "error: first"
    assert following.startswith(r"next \x1b[2J and [red] xxx")
    assert following.endswith("xxx end")
    assert len(following) < 2100


def test_a_line_of_the_log_is_shown_and_not_obeyed() -> None:
    record = logging.LogRecord("a", logging.WARNING, "", 0, "%s: is odd", ("\x9b2J.csv\r",), None)
    assert PlainFormatter("%(levelname)s %(message)s").format(record) == r"WARNING \x9b2J.csv\r: is odd"


def test_wrong_usage_is_exit_code_2() -> None:
    for arguments in (["bogus"], ["train"], ["train", "--dim", "0"]):
        assert run(*arguments).returncode == 2


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            MemoryError("Unable to allocate 9 PiB"),
            "error: there is not enough memory (Unable to allocate 9 PiB)",
        ),
        (
            RuntimeError("can't allocate memory: 9"),
            "error: there is not enough memory (can't allocate memory: 9)",
        ),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 9 GiB"),
            "error: there is not enough memory (CUDA out of memory. Tried to allocate 9 GiB)",
        ),
        (OSError(28, "No space left on device"), "error: [Errno 28] No space left on device"),
    ],
)
def test_what_a_machine_lacks_is_one_line(
    error: Exception, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app() -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code, capsys.readouterr().err.strip()) == (1, says)


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version").stdout == f"tablefold {tablefold.__version__}\n"
    assert importlib.metadata.version("tablefold") == tablefold.__version__


@pytest.mark.parametrize(
    ("words", "completed"), [(["exp"], "export"), (["train", "--embed"], "--embedding-lr")]
)
def test_the_shell_completes_commands_and_options(words: list[str], completed: str) -> None:
    line = " ".join(["tablefold", *words])
    asked = {"_TABLEFOLD_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words))}
    script = "import sys; sys.argv = ['tablefold']; from tablefold.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | asked, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == [completed]
