"""Every option with values of every wrong kind, at a server that answers: one line, exit code 2, at once."""

import json
import os
from pathlib import Path

import pytest

from tablefold.report import check_writable

WRONG = [
    "", " ", "-1", "0", "inf", "-inf", "nan", "1e400", "1e-400", "x", "[b]", "[/b]", "folder", "\udcff",
    "9" * 400, "\u0663", "%s", "{}", "\x1b[31m", "a" * 5000,
]  # fmt: skip
FILES = ["binary", "empty", "/dev/null/x", "/proc/x", "no/such/file", "folder"]
LOGS = ["golden:", "golden:folder", "golden:\udcff", "criteo:", "criteo:folder", "synthetic:0", "synthetic:x"]
VALUES = {
    "--rate": WRONG,
    "--concurrency": WRONG,
    "--repeats": WRONG,
    "--price-per-hour": WRONG,
    "--duration": WRONG,
    "--warmup": [value for value in WRONG if value not in ("0", "1e-400")],
    "--timeout": WRONG,
    "--seed": [value for value in WRONG if value != "0"],
    "--processes": WRONG,
    "--rows": WRONG,
    "--slo": WRONG,
    "--versus": [*WRONG, "/ctr", "127.0.0.1:1/", "127.0.0.1:1/ctr@http", "a:b/ctr"],
    "--protocol": WRONG,
    "--arrivals": WRONG,
    "--context": ["C1", "no such", "[b]", "\udcff"],
    "--data": [*WRONG[2:], *LOGS],
    "--tls-ca": FILES,
    "--tls-cert": FILES,
    "--tls-key": FILES,
    "--token-file": [*FILES, "spaced"],
    "--json": ["folder", "no/such/file", "/dev/null/x", "/proc/x", "a" * 300, ""],
    "--csv": ["folder", "no/such/file", "/dev/null/x", "/proc/x", "a" * 300, ""],
    "--html": ["folder", "no/such/file", "/dev/null/x", "/proc/x", "a" * 300, ""],
}


@pytest.mark.parametrize("option", VALUES)
def test_a_wrong_value_is_one_line(quick, refused, tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty").touch()
    (tmp_path / "spaced").write_text("two words")
    for value in VALUES[option]:
        words = ["--server", quick.address, "--model", "ctr", option, value]
        words += ["--versus", f"{quick.address}/ctr@tablefold"] if option == "--repeats" else []
        problem = refused("loadtest", *words)
        assert "Traceback" not in problem, value
        assert problem.strip()


@pytest.mark.parametrize("value", WRONG)
def test_a_wrong_server_or_model_is_one_line(quick, refused, value):
    for words in (("--server", value, "--model", "ctr"), ("--server", quick.address, "--model", value)):
        assert "Traceback" not in refused("loadtest", *words)


def test_every_option_that_takes_a_value_is_walked():
    from typer.main import get_command

    from tests.loadtest.test_commands import app

    options = {option for parameter in get_command(app).params for option in parameter.opts}
    flags = {"--help", "--sweep", "--install-completion", "--show-completion"}
    assert options - flags - {"--server", "--model"} == set(VALUES)


def test_a_report_names_files_that_are_not_utf8(quick, tmp_path, monkeypatch, criteo_file):
    from tests.loadtest.test_commands import call

    monkeypatch.chdir(tmp_path)
    log, report = os.fsdecode(b"\xff.tsv"), os.fsdecode(b"\xff.json")
    criteo_file[0].rename(log)
    words = ["--server", quick.address, "--model", "ctr", "--rows", "2", "--duration", "0.2", "--warmup", "0"]
    call(*words, "--data", f"criteo:{log}", "--json", report, "--html", "page.html", "--csv", "r.csv")
    assert "criteo:?.tsv" in json.loads(Path(report).read_text())["command"]


def test_one_file_cannot_hold_two_reports(quick, refused, tmp_path):
    words = ["--json", tmp_path / "report", "--html", tmp_path / "report"]
    problem = refused("loadtest", "--server", quick.address, "--model", "ctr", *words)
    assert "name one file" in problem


def test_a_name_that_is_too_long_is_no_traceback(tmp_path):
    from tablefold.errors import UsageError

    with pytest.raises(UsageError, match="too long"):
        check_writable(tmp_path / ("a" * 300))
