"""A report is one page that stands alone, whole or not there, the same every time, and safe to open."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from tablefold.errors import UsageError
from tablefold.report import Page, Picture, Section, Table, Text, check_writable, write_text
from tablefold.report.latency import (
    RatePoint,
    latency_cdf,
    latency_percentiles,
    rate_against_latency,
    time_split,
)
from tablefold.report.over_time import LatencySlice, MemorySlice, over_time
from tablefold.report.quality import QualityPoint, auc_curves, auc_per_byte, size
from tablefold.report.ratios import Interval, ratios

NASTY = '<script>alert("1")</script> & $x_1$'
POINTS = [
    QualityPoint("full", 4_200_000, 0.7812, 0.003),
    QualityPoint("hash", 430_000, 0.7721),
    QualityPoint(NASTY, 430_000, 0.7722, 0.001),
]


CURVE = [(0.0, 1.0), (50.0, 2.0), (99.0, 9.0), (99.9, 20.0)]
RATES = [RatePoint(200, 150, 90, 900), RatePoint(100, 100, 2, 9)]


LATENCY = [LatencySlice(0.5, 1, 2, 3), LatencySlice(1.5, 1, 2, 900)]
CHARTS = {
    "auc_per_byte": lambda: auc_per_byte(POINTS),
    "auc_curves": lambda: auc_curves({"full": POINTS[:1], NASTY: POINTS[1:]}),
    "empty curves": lambda: auc_curves({}),
    "latency_percentiles": lambda: latency_percentiles(CURVE),
    "over_time": lambda: over_time(LATENCY, [MemorySlice(-1, 2**30, None), MemorySlice(2, 2**31, 2**30)]),
    "latency over time alone": lambda: over_time(LATENCY),
    "ratios": lambda: ratios([Interval("p99 (ms)", 1.5, 1.2, 1.9), Interval(NASTY, 1.0, 0.99, 1.01)]),
    "latency_cdf": lambda: latency_cdf({"ours": CURVE, NASTY: [(0.0, 0.0), (50.0, 1.0)]}),
    "rate_against_latency": lambda: rate_against_latency(RATES, knee=150, slos={"p99=20ms": 20.0}),
    "time_split": lambda: time_split(
        {"p50": {"queue": 1.0, "compute": 2.0}, "p99": {"queue": 9, "compute": 3}}
    ),
    "empty cdf": lambda: latency_cdf({"ours": []}),
    "empty rates": lambda: rate_against_latency([], knee=None),
    "empty split": lambda: time_split({}),
    "empty quality": lambda: auc_per_byte([]),
    "empty percentiles": lambda: latency_percentiles([]),
    "empty over time": lambda: over_time([]),
    "empty ratios": lambda: ratios([]),
}


def page():
    return Page(
        title=f"Title {NASTY}",
        verdict=f"Verdict {NASTY}",
        warnings=[f"Warning {NASTY}"],
        key_figures=[(f"name {NASTY}", f"value {NASTY}")],
        sections=[
            Section(
                f"Heading {NASTY}",
                [
                    Text(f"Text {NASTY}"),
                    Text(f"Code {NASTY}", code=True),
                    Table(("a", f"b {NASTY}"), [("1", f"2 {NASTY}")], caption=NASTY),
                    Picture(auc_per_byte(POINTS), alt=f"Alt {NASTY}", caption=NASTY),
                ],
            )
        ],
        repeat=f"command {NASTY}",
        footer=NASTY,
    )


def test_everything_from_outside_is_escaped():
    text = page().render()
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 12
    for word in ("Title", "Verdict", "Warning", "name", "value", "Heading", "Text", "Code", "Alt", "command"):
        assert f"{word} &lt;script&gt;alert(&#34;1&#34;)" in text


def test_the_page_needs_nothing_else():
    text = page().render()
    references = set(re.findall(r"https?://[^\s\"'<>]*", text))
    assert references <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text


def test_the_verdict_comes_before_the_sections():
    text = page().render()
    assert text.index("Verdict") < text.index("Warning") < text.index("Heading") < text.index("How to repeat")


@pytest.mark.parametrize("name", CHARTS)
def test_a_picture_is_sound_svg_in_the_pages_colours_and_always_the_same(name):
    svg = CHARTS[name]()
    root = ET.fromstring(svg)
    assert root.tag.endswith("svg")
    assert root.get("viewBox")
    assert root.get("width") is None
    assert "var(--ink" in svg or "var(--soft" in svg
    # No colour of its own but those that are fallbacks inside var().
    assert not re.search(r"(?<!, )#[0-9a-f]{6}\b", svg)
    assert svg == CHARTS[name]()


def test_pictures_say_what_they_show():
    assert "full" in CHARTS["auc_per_byte"]()
    assert "hash" in CHARTS["auc_per_byte"]()
    assert "99.9 %" in CHARTS["latency_percentiles"]()
    assert "memory (GB)" in CHARTS["over_time"]()
    assert "knee 150/s" in CHARTS["rate_against_latency"]()
    assert "p99=20ms" in CHARTS["rate_against_latency"]()
    assert "memory" not in CHARTS["latency over time alone"]()
    assert "p99 (ms)" in CHARTS["ratios"]()
    assert "compute" in CHARTS["time_split"]()
    assert "nothing was measured" in CHARTS["empty over time"]()


@pytest.mark.parametrize("span", [1.01, 1.3, 3.0, 40.0, 5e5])
def test_a_logarithmic_axis_has_marks_whatever_it_spans(span):
    points = [QualityPoint("a", 1_700_000, 0.7), QualityPoint("b", round(1_700_000 * span), 0.8)]
    marks = re.findall(r">([\d.]+ [kMGB]+)<", auc_per_byte(points))
    assert 2 <= len(set(marks)) == len(marks) <= 9


@pytest.mark.parametrize("length", [4, 12, 20, 40])
def test_names_of_lines_find_room_in_the_picture(length):
    names = [f"{number}, optimizer sgd, inner_dim 64, and no more"[:length] for number in range(5)]
    drawing = ET.fromstring(latency_cdf(dict.fromkeys(names, CURVE)))
    width = float(drawing.get("viewBox").split()[2])
    places = {element.text: float(element.get("x")) for element in drawing.iter() if element.text in names}
    assert set(places) == set(names)
    assert all(x + 5.5 * length < width for x in places.values())
    assert len(set(places.values())) > 1 or length == 40


def test_bytes_as_people_read_them():
    assert [size(count) for count in (0, 12, 1234, 999_960, 2_494_856, 3e12)] == [
        "0 B", "12 B", "1.234 kB", "1 MB", "2.495 MB", "3000 GB",
    ]  # fmt: skip


def test_a_page_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "r.html"
    page().write(file)
    assert file.read_text() == page().render()
    monkeypatch.setattr(
        "pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(UsageError, match="No space left"):
        write_text(file, "other")
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]
    assert file.read_text() == page().render()


def test_a_path_that_cannot_be_written_is_found_out_beforehand(tmp_path):
    check_writable(tmp_path / "new.html")
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="is a folder"):
        check_writable(tmp_path)
    with pytest.raises(UsageError, match="there is no folder"):
        check_writable(tmp_path / "absent" / "r.html")


def test_reports_and_load_tests_need_no_heavy_libraries():
    heavy = {"torch", "onnx", "onnxruntime", "tablefold.trainer", "tablefold.exporter", "tablefold.server"}
    for module, more in (
        ("report.quality", {"grpc"}),
        ("loadtest.target", set()),
        ("loadtest.generator.client_process", {"polars", "matplotlib"}),
    ):
        program = f"import sys, tablefold.{module}; print(*sys.modules)"
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert not (heavy | more) & set(run.stdout.split()), module
