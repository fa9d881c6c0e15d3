"""ONNX Runtime reports to nobody."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOLDERS = ("core", "trainer", "exporter", "study", "server", "client", "loadtest")


def test_whatever_opens_a_graph_turns_the_telemetry_of_onnx_runtime_off():
    opens = {
        path
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"\bInferenceSession\(", path.read_text())
    }
    assert opens
    for path in opens:
        assert re.search(r"^(ort|onnxruntime)\.disable_telemetry_events\(\)", path.read_text(), re.M), path
