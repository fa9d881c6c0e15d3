"""Does the GPU give what the CPU gives, wholly on the device; how fast, and in how much memory?

    make gpu-check
    python -m bench.gpu.check FOLDER [--json FILE] [--device cuda:0]

FOLDER is one of `bench.gpu.bundles`. Needs the server's install only. The most important comes first, and
each answer is in the file as soon as it is there. Ends with 1 where a probability differs, a node is
elsewhere or work cannot be captured. Skips with a reason where there is no GPU.
"""

import argparse
import gc
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tablefold.bundle import GRAPH, Manifest, read_manifest
from tablefold.errors import UsageError
from tablefold.server.engines.cuda.engine import CudaEngine
from tablefold.server.engines.cuda.lane import Lane
from tablefold.server.engines.device import Device

ROWS = (1, 16, 270, 1024, 4096, 16_384, 65_536)
ODD_SIZES = (1, 2, 3, 5, 17, 31, 100, 255, 270, 1000, 1025, 3000, 4095, 4096)
MAX_ROWS = 65_536
SECONDS = 0.2
LANES = 3
FAST = ("random-net-fp16", "random-net-fp32", "lhf-mlet-16-int8-exact-net-fp32")
"""The bundles that are timed."""


class Asked(NamedTuple):
    """A bundle, and what the CPU answers to its rows."""

    name: str
    folder: Path
    manifest: Manifest
    dense: NDArray[np.float32]
    ids: NDArray[np.int64]
    probability: NDArray[np.float32]

    def rows(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """`count` of them, over and over."""
        return np.resize(self.dense, (count, self.dense.shape[1])), np.resize(
            self.ids, (count, self.ids.shape[1])
        )


class Report:
    """Results on the screen and in a file, as they come."""

    def __init__(self, file: Path | None) -> None:
        self._file, self.results, self.faults = file, {}, []
        self._began = time.perf_counter()

    def tell(self, name: str, what: Any) -> None:
        """Add one result."""
        self.results[name] = what
        self.results["seconds"] = round(time.perf_counter() - self._began, 1)
        if self._file is not None:
            self._file.write_text(json.dumps(self.results, indent=1))
        print(f"{name}: {json.dumps(what)}", flush=True)

    def fault(self, text: str) -> None:
        """Count something that is wrong."""
        self.faults.append(text)
        self.tell("faults", self.faults)


def asked_of(folder: Path) -> Iterator[Asked]:
    """Each bundle there."""
    for graph in sorted(folder.glob(f"*/*/{GRAPH}")):
        with np.load(graph.parent / "answers.npz") as file:
            answers = {name: file[name] for name in file.files}
        yield Asked(graph.parent.parent.name, graph.parent, read_manifest(graph.parent), **answers)


def open_lanes(asked: Asked, device: Device, lanes: int, max_rows: int) -> CudaEngine:
    """The engine as the server has it."""
    from tablefold.server.engines.cuda.cuda_runtime import CudaRuntime

    engine = CudaEngine(asked.folder, asked.manifest, device, CudaRuntime(device.index))
    engine.prepare(max_rows, lanes)
    return engine


def places(asked: Asked, device: Device, file: Path) -> dict[str, int]:
    """Nodes by execution provider, as ONNX Runtime's profile of a run has them."""
    options = ort.SessionOptions()
    options.enable_profiling, options.log_severity_level = True, 4
    options.profile_file_prefix = str(file)
    session = ort.InferenceSession(asked.folder / GRAPH, options, providers=device.providers)
    dense, ids = asked.rows(64)
    takes = {tensor.name for tensor in session.get_inputs()}
    session.run(["probability"], {"ids": ids} | ({"dense": dense} if "dense" in takes else {}))
    profile = Path(session.end_profiling())
    events = json.loads(profile.read_text())
    profile.unlink()
    nodes = {
        event["args"]["node_index"]: event["args"]["provider"]
        for event in events
        if event.get("cat") == "Node" and "provider" in event.get("args", {})
    }
    return dict(Counter(nodes.values()))


def check_answers(asked: Asked, device: Device, report: Report) -> None:
    """Every kind of bundle, in batches of odd sizes, by captured graphs in two lanes."""
    engine = open_lanes(asked, device, 2, max(ODD_SIZES))
    captured = all(lane.captured for lane in engine.lanes)
    nodes = places(asked, device, Path("/tmp/gpu-check"))
    differences = []
    for size in ODD_SIZES:
        for first in (
            range(0, len(asked.ids), size) if size >= 255 else (0, 2040, 3060, len(asked.ids) - size)
        ):
            part = slice(first, first + size)
            for lane in engine.lanes:
                got = lane.run(asked.dense[part], asked.ids[part])
                differences.append(float(np.abs(got - asked.probability[part]).max()))
    report.tell(
        f"equal {asked.name}",
        {
            "largest": max(differences),
            "allowed": asked.manifest.tolerance,
            "nodes": nodes,
            "captured": captured,
            "shared_bytes": engine.shared_bytes,
        },
    )
    if not max(differences) <= asked.manifest.tolerance:
        report.fault(f"{asked.name} differs from the CPU by {max(differences)}")
    if set(nodes) != {device.provider}:
        report.fault(f"{asked.name} has nodes elsewhere: {nodes}")
    if not captured:
        report.fault(f"{asked.name} cannot be captured")


def times(run: Callable[[], object]) -> tuple[float, float]:
    """Median and 99th percentile of a call, in microseconds."""
    for _ in range(3):
        run()
    taken: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(taken) < 5:
        started = time.perf_counter()
        run()
        taken.append(time.perf_counter() - started)
    return round(float(np.median(taken)) * 1e6, 1), round(float(np.percentile(taken, 99)) * 1e6, 1)


def check_speed(asked: Asked, device: Device, report: Report) -> None:
    """From rows in the host's memory to probabilities there, in one lane and in several."""
    from cuda.bindings import runtime as cudart

    free = cudart.cudaMemGetInfo()[1]
    began = time.perf_counter()
    engine = open_lanes(asked, device, LANES, MAX_ROWS)
    loading = time.perf_counter() - began
    taken = free - cudart.cudaMemGetInfo()[1]
    report.tell(f"load {asked.name}", {"seconds": loading, "device_bytes": taken, "lanes": LANES})
    one = {}
    for rows in ROWS:
        dense, ids = asked.rows(rows)
        median, worst = times(lambda dense=dense, ids=ids: engine.lanes[0].run(dense, ids))
        one[rows] = {"p50_us": median, "p99_us": worst, "rows_per_second": round(rows / median * 1e6)}
    report.tell(f"one lane {asked.name}", one)
    kernels = {rows: on_device(engine.lanes[0], rows) for rows in ROWS}
    report.tell(f"on the device {asked.name}", kernels)
    for count in range(2, LANES + 1):
        found = {rows: together(engine, asked, rows, count) for rows in ROWS}
        report.tell(f"{count} lanes {asked.name}", found)


def on_device(lane: Lane, rows: int) -> tuple[float, float]:
    """The graph alone: rows that are on the device already, probabilities that stay there."""
    rows = lane.ladder.size_for(rows)
    work = lane._stream.capture(
        lambda: lane._session.run_with_iobinding(lane._bindings[rows], lane._run_options), 0
    )
    return times(lambda: (work.launch(), lane._stream.wait()))


def together(engine: CudaEngine, asked: Asked, rows: int, count: int) -> dict[str, float]:
    """So many threads at once, each with a batch of its own; all answers are checked."""
    wrong, calls, taken = [0], [0] * count, []
    end = time.perf_counter() + SECONDS

    def loop(number: int) -> None:
        random = np.random.default_rng(number)
        first = int(random.integers(0, len(asked.ids)))
        order = (first + np.arange(rows)) % len(asked.ids)
        dense, ids, expected = asked.dense[order], asked.ids[order], asked.probability[order]
        while (began := time.perf_counter()) < end:
            got = engine.run(dense, ids)
            taken.append(time.perf_counter() - began)
            calls[number] += 1
            if calls[number] % 8 == 1:
                wrong[0] += int(not np.abs(got - expected).max() <= asked.manifest.tolerance)

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    p50, p99 = np.percentile(taken, [50, 99]) * 1e6
    rate = round(sum(calls) * rows / SECONDS)
    return {"rows_per_second": rate, "p50_us": round(p50, 1), "p99_us": round(p99, 1), "wrong": wrong[0]}


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", default="cuda:0")
    given = parser.parse_args()
    try:
        device = Device(given.device)
    except UsageError as error:
        print(f"skipped: {error}")
        return 0
    report = Report(given.json)
    report.tell("versions", {"onnxruntime": ort.__version__, "date": datetime.now(UTC).isoformat()})
    bundles = list(asked_of(given.folder))
    for check, names in ((check_answers, [asked.name for asked in bundles]), (check_speed, FAST)):
        for asked in bundles:
            if asked.name in names:
                try:
                    check(asked, device, report)
                except Exception as error:  # the others are to be asked all the same
                    report.fault(f"{check.__name__} {asked.name}: {error!r}"[:800])
                gc.collect()
    report.tell("verdict", "right" if not report.faults else f"{len(report.faults)} faults")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
