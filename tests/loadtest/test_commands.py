"""`tablefold loadtest` on the command line: the JSON line, the page and the card."""

import csv
import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tablefold.errors import UsageError
from tablefold.loadtest.cli import loadtest
from tablefold.loadtest.report.json_schema import schema

app = typer.Typer()
app.command()(loadtest)


def call(*words: str):
    """Stdout of the command; its UsageError raised."""
    result = CliRunner().invoke(app, words)
    if result.exception is not None:
        raise result.exception
    return result.stdout


@pytest.fixture(scope="module")
def written(start_fake, tmp_path_factory):
    """A short run over real-looking rows with a server that sheds: its JSON, its page and its card."""
    folder = tmp_path_factory.mktemp("report")
    shedding = start_fake(delay=[0.002, 0.004], shed_every=20)
    words = ["--server", shedding.address, "--model", "ctr", "--protocol", "tablefold", "--rate", "100"]
    words += ["--duration", "2", "--warmup", "0.3", "--seed", "5", "--data", "synthetic:2000"]
    words += ["--processes", "2", "--rows", "20-30", "--slo", "p50=1s", "--price-per-hour", "2"]
    files = {name: str(folder / f"r.{name}") for name in ("json", "csv", "html")}
    card = call(*words, *(word for name, file in files.items() for word in (f"--{name}", file)))
    return (folder / "r.json").read_text(), (folder / "r.html").read_text(), card, folder


def test_json_is_one_line_with_the_figures_promised(written):
    text = written[0]
    assert text.count("\n") == 1
    figures = json.loads(text)
    assert {"offered_rps", "achieved_rps", "rows_per_second", "latency_ms", "errors"} <= set(figures)
    assert {"p50", "p90", "p99", "p999", "max"} <= set(figures["latency_ms"])
    assert all(figures["latency_ms"][name] > 0 for name in ("p50", "p90", "p99", "p999", "max"))
    assert figures["server_memory_bytes"]["resident_peak"] > 10e6
    assert figures["offered_rps"] == 100
    assert figures["errors"] == {"RESOURCE_EXHAUSTED": pytest.approx(10, abs=1)}
    assert figures["seed"] == 5
    assert figures["interrupted"] is False
    assert isinstance(figures["valid"], bool)
    assert figures["client"]["processes"] == 2
    assert 20 <= figures["rows_per_call"] <= 30
    assert figures["objectives"] == [{"objective": "p50=1s", "within": figures["calls"]["ok"], "met": True}]
    assert figures["cost_per_million"] == pytest.approx(2 / 3600 / figures["rows_per_second"] * 1e6)
    assert figures["batches"]["mean_rows"] == pytest.approx(20, rel=0.1)
    assert figures["batches"]["queue_ms_mean"] == pytest.approx(2)
    assert figures["bundle"]["total"] == 160
    assert [check["part"] for check in figures["server_memory_bytes"]["checks"]] == ["resident"]
    assert abs(figures["server_memory_bytes"]["checks"][0]["difference_percent"]) < 5


def test_csv_has_a_line_a_run_named_as_in_the_json(written):
    figures = json.loads(written[0])
    (row,) = csv.DictReader((written[3] / "r.csv").read_text().splitlines())
    assert float(row["latency_ms.p99"]) == figures["latency_ms"]["p99"]
    assert int(row["errors.RESOURCE_EXHAUSTED"]) == figures["errors"]["RESOURCE_EXHAUSTED"]
    assert row["model"] == "ctr"


def test_the_json_is_as_its_schema_in_the_docs_says(written):
    documented = json.loads((Path(__file__).parents[2] / "docs/reference/loadtest.schema.json").read_text())
    assert documented == schema(), (
        "run python -m tablefold.loadtest.report.json_schema > docs/reference/loadtest.schema.json"
    )
    run = documented["$defs"]["Result"]
    assert set(json.loads(written[0])) == set(run["properties"])


def test_the_page_stands_alone(written):
    page = written[1]
    references = re.findall(r"https?://[^\s\"'<>]*", page)
    assert set(references) <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "<script" not in page
    assert not re.search(r"<(link|img|iframe)\b", page)
    assert not re.search(r"url\((?!#)", page)


def test_the_page_has_every_section_with_the_verdict_first(written):
    page = written[1]
    headings = [
        "What ran", "Latency", "Over time", "Where the server spent the time", "Errors",
        "Memory of the server", "AUC per byte", "This client", "How to repeat",
    ]  # fmt: skip
    assert re.findall(r"<h2>(.*?)</h2>", page) == headings
    assert page.index('class="verdict"') < page.index("<h2>")
    assert page.count('role="img"') == 4
    assert "RESOURCE_EXHAUSTED" in page
    assert "tablefold loadtest --server" in page
    assert "--seed 5" in page


def test_the_card_tells_the_same(written):
    figures, card = json.loads(written[0]), written[2]
    assert f"{figures['latency_ms']['p99']:,.2f}" in card
    assert "RESOURCE_EXHAUSTED" in card
    assert "resident at peak" in card


def test_defaults_are_a_closed_loop_over_the_open_protocol(quick, tmp_path):
    file = tmp_path / "r.json"
    call(
        "--server", quick.address, "--model", "ctr", "--duration", "0.5", "--warmup", "0", "--json", str(file)
    )
    figures = json.loads(file.read_text())
    assert (figures["mode"], figures["protocol"], figures["rows_per_call"]) == ("closed", "oip", 270)
    assert figures["offered_rps"] == figures["achieved_rps"] > 0
    assert figures["load"] == "closed loop, 8 callers"


def test_a_sweep_finds_its_own_rates(nobody):
    with pytest.raises(UsageError, match="--sweep finds the load itself"):
        call("--server", nobody, "--model", "ctr", "--rate", "5", "--sweep")


@pytest.mark.parametrize(
    ("words", "problem"),
    [(("--repeats", "3"), "give --versus too"), (("--arrivals", "constant"), "give --rate or --sweep too")],
)
def test_an_option_that_would_do_nothing_is_refused(nobody, words, problem):
    with pytest.raises(UsageError, match=problem):
        call("--server", nobody, "--model", "ctr", *words)


@pytest.mark.parametrize("option", ["--json", "--csv", "--html"])
def test_a_report_that_cannot_be_written_is_refused_before_the_run(nobody, tmp_path, option):
    # Nobody listens there: the path is looked at first.
    with pytest.raises(UsageError, match="there is no folder"):
        call("--server", nobody, "--model", "ctr", option, str(tmp_path / "no" / "such" / "file"))
    with pytest.raises(UsageError, match="is a folder"):
        call("--server", nobody, "--model", "ctr", option, str(tmp_path))


def test_a_full_disk_costs_the_report_not_the_figures(quick, tmp_path):
    """A limit on the size of files stands in for the disk: the kernel refuses the write all the same."""
    words = ["--server", quick.address, "--model", "ctr", "--duration", "0.3", "--warmup", "0"]
    words += ["--rows", "1", "--json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html")]
    done = subprocess.run(
        [sys.executable, "-m", "tablefold", "loadtest", *words],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert done.returncode == 2
    assert f"{tmp_path / 'r.html'} cannot be written: File too large" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert "rows/s" in done.stdout
    assert json.loads((tmp_path / "r.json").read_text())["calls"]["ok"] > 0
    assert [file.name for file in tmp_path.iterdir()] == ["r.json"]
