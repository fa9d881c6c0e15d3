"""A server as a process, and one client after the other that loads it."""

import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
import psutil

SECONDS = 2.4


class Figures(NamedTuple):
    """Of one contender and shape."""

    calls: float
    """A second."""
    p50: float
    """In milliseconds, like p99."""
    p99: float
    cpu: float
    """Of the server, in microseconds a row."""


class Server(NamedTuple):
    """A contender that is a process."""

    address: str
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """User and system, with its children's."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(sum(process.cpu_times()[:2]) for process in family)


@contextmanager
def started(command: list[str], address: str) -> Iterator[Server]:
    """From the first connection to SIGTERM."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            with grpc.insecure_channel(address) as channel:
                grpc.channel_ready_future(channel).result(60)
            yield Server(address, psutil.Process(process.pid))
        finally:
            process.terminate()


def load(server: Server, analyzer: str | None, rows: int, in_flight: int, model: str = "ads") -> Figures:
    """One run of the client; the server's CPU time is that of the middle of it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures"
        if analyzer:
            command = [analyzer, "-i", "grpc", "-u", server.address, "-m", model, "-b", str(rows)]
            command += ["--concurrency-range", str(in_flight), "-f", str(file)]
            # Three windows, whatever they differ by: the rounds are what tells noise from difference.
            command += ["-p", str(int(SECONDS / 3 * 1000)), "-r", "3", "-s", "1000"]
        else:
            command = [sys.executable, "-m", "tablefold", "loadtest", "--server", server.address]
            command += ["--model", model, "--rows", str(rows), "--concurrency", str(in_flight)]
            command += ["--duration", str(SECONDS), "--warmup", "0", "--json", str(file)]
        client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(SECONDS / 2 if analyzer else SECONDS)  # the loadtest has imports to do
        before, began = server.cpu_seconds(), time.perf_counter()
        time.sleep(SECONDS / 2)
        cores = (server.cpu_seconds() - before) / (time.perf_counter() - began)
        if client.wait():
            raise RuntimeError(f"the client failed: {' '.join(command)}")
        calls, p50, p99 = _of_analyzer(file, rows) if analyzer else _of_loadtest(file)
    return Figures(calls, p50, p99, cores / (calls * rows) * 1e6)


def _of_analyzer(file: Path, rows: int) -> tuple[float, float, float]:
    with file.open() as lines:
        [row] = csv.DictReader(lines)
    calls = float(row["Inferences/Second"]) / rows
    return calls, float(row["p50 latency"]) / 1e3, float(row["p99 latency"]) / 1e3


def _of_loadtest(file: Path) -> tuple[float, float, float]:
    result = json.loads(file.read_text())
    return result["achieved_rps"], result["latency_ms"]["p50"], result["latency_ms"]["p99"]
