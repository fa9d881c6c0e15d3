"""Calls a second of each front, beside a plain gRPC server and beside ONNX Runtime without any server.

    python -m bench.serving.server [--perf-analyzer PATH] [--workers 2] [--rounds 3] [--connections 6]

DLRM of Criteo's shape. All run on this machine, client and server on the same cores, in turn, so that noise
hits all alike; medians of the rounds. `bare` is session calls in a loop, a thread a core.
The client is Triton's perf_analyzer where it is given (its path, with what it needs in LD_LIBRARY_PATH),
otherwise `tablefold loadtest`, which costs more of the same cores.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from bench.random_bundle import Ids, write_bundle
from bench.serving.load import SECONDS, Figures, load, started
from bench.serving.plain_server import open_session
from tablefold.bundle import GRAPH

MOST_IN_FLIGHT = 32
SHAPES = [(rows, in_flight) for rows in (1, 16, 270) for in_flight in (MOST_IN_FLIGHT, 1)]
PLAIN, BARE = "plain grpc.server", "bare, no server"


def bare(path: Path, ids: Ids, rows: int, in_flight: int) -> Figures:
    """Session calls in a loop, on as many threads as there are cores, or on one for one call in flight."""
    session = open_session(str(path))
    dense, known = ids.rows(rows, np.random.default_rng(0))
    times: list[float] = []
    process, end = psutil.Process(), time.perf_counter() + SECONDS
    before = sum(process.cpu_times()[:2])

    def loop() -> None:
        while (began := time.perf_counter()) < end:
            session.run(["probability"], {"dense": dense, "ids": known})
            times.append(time.perf_counter() - began)

    threads = [threading.Thread(target=loop) for _ in range(min(in_flight, os.cpu_count() or 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cpu = (sum(process.cpu_times()[:2]) - before) / (len(times) * rows) * 1e6
    p50, p99 = np.percentile(times, [50, 99]) * 1e3
    return Figures(len(times) / SECONDS, p50, p99, cpu)


def main() -> None:
    """Start all, load them in turn, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--perf-analyzer", metavar="PATH", help="Triton's; else `tablefold loadtest`")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ids", type=int, default=1_000_000, help="known ids of all features together")
    parser.add_argument("--connections", type=int, default=6, help="of perf_analyzer's 32 calls in flight")
    given = parser.parse_args()
    # Read by perf_analyzer: how many callers share a connection.
    os.environ["TRITON_CLIENT_GRPC_CHANNEL_MAX_SHARE_COUNT"] = str(-(-MOST_IN_FLIGHT // given.connections))
    with tempfile.TemporaryDirectory() as root, ExitStack() as stack:
        repository = Path(root)
        ids = write_bundle(repository, "ads", 1, given.ids)
        graph = repository / "ads" / "1" / GRAPH
        serve = [sys.executable, "-m", "tablefold", "serve", "--repository", root, "--http-port", "0"]
        commands = {
            PLAIN: [sys.executable, "-m", "bench.serving.plain_server", str(graph), "18711"],
            "grpcio": [*serve, "--port", "18712", "--front", "grpcio"],
            f"grpcio, {given.workers} workers": [
                *serve,
                "--port",
                "18713",
                "--front",
                "grpcio",
                "--workers",
                str(given.workers),
            ],
            "native": [*serve, "--port", "18714", "--front", "native"],
        }
        runs: dict[str, Callable[[int, int], Figures]] = {
            BARE: lambda rows, in_flight: bare(graph, ids, rows, in_flight)
        }
        for name, command in commands.items():
            port = command[command.index("--port") + 1] if "--port" in command else command[-1]
            server = stack.enter_context(started(command, f"127.0.0.1:{port}"))
            runs[name] = partial(load, server, given.perf_analyzer)
        results = {
            f"{rows} rows, {in_flight} in flight": in_turn(runs, rows, in_flight, given.rounds)
            for rows, in_flight in SHAPES
        }
    show(results)
    client = "perf_analyzer" if given.perf_analyzer else "tablefold loadtest"
    print(json.dumps({"client": client, "cores": os.cpu_count(), "medians": results}))


def in_turn(
    runs: dict[str, Callable[[int, int], Figures]], rows: int, in_flight: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Medians of each contender."""
    found: dict[str, list[Figures]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            found[name].append(run(rows, in_flight))
    return {
        name: {field: median(getattr(measured, field) for measured in figures) for field in Figures._fields}
        for name, figures in found.items()
    }


def show(results: dict[str, dict[str, dict[str, float]]]) -> None:
    """Calls and CPU time, also as ratios to the plain server and to bare ONNX Runtime."""
    for shape, contenders in results.items():
        shown = Table(title=shape)
        shown.add_column("")
        for title in ("calls/s", "/ plain", "/ bare", "p50 ms", "p99 ms", "CPU us a row", "/ bare"):
            shown.add_column(title, justify="right")
        plain, alone = contenders[PLAIN], contenders[BARE]
        for name, figures in contenders.items():
            shown.add_row(
                name,
                f"{figures['calls']:,.0f}",
                f"{figures['calls'] / plain['calls']:.2f}",
                f"{figures['calls'] / alone['calls']:.2f}",
                f"{figures['p50']:.2f}",
                f"{figures['p99']:.2f}",
                f"{figures['cpu']:.1f}",
                f"{figures['cpu'] / alone['cpu']:.2f}",
            )
        Console(width=110).print(shown)


if __name__ == "__main__":
    main()
