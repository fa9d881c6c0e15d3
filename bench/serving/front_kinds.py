"""What a front of grpcio could be: threads or asyncio, each call by itself or joined with those that wait.

    python -m bench.serving.front_kinds [--perf-analyzer PATH] [--rounds 3]

The same plain service four times, without limits, checks, deadlines and metrics, beside `tablefold serve
--front grpcio`, which has them all. `threads, joined`: the thread of a call that finds the engine free runs
all that wait. `asyncio, joined`: one engine thread takes all that wait.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import uvloop

from bench.random_bundle import write_bundle
from bench.serving.load import Figures, load, started
from bench.serving.plain_server import Plain
from bench.serving.server import BARE, PLAIN, SHAPES, bare, in_turn, show
from tablefold.bundle import GRAPH
from tablefold.protos import inference_pb2 as pb
from tablefold.protos import inference_pb2_grpc

MAX_ROWS = 1024
Waiting = tuple[dict[str, np.ndarray], "Future[np.ndarray]"]


class Joined(Plain):
    """Calls wait in a list; `run_waiting` runs them as one batch."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.waiting: list[Waiting] = []
        self.lock = threading.Lock()

    def enqueue(self, request: pb.ModelInferRequest) -> "Future[np.ndarray]":
        """Let a call wait; its future gets float32 [rows]."""
        ended: Future[np.ndarray] = Future()
        with self.lock:
            self.waiting.append((self.arrays(request), ended))
        return ended

    def run_waiting(self) -> None:
        """Run up to MAX_ROWS of what waits."""
        batch, rows = [], 0
        with self.lock:
            while self.waiting and rows < MAX_ROWS:
                batch.append(self.waiting.pop(0))
                rows += len(batch[-1][0]["ids"])
        if not batch:
            return
        joined = {name: np.concatenate([arrays[name] for arrays, _ in batch]) for name in ("dense", "ids")}
        probability, at = self.run(joined), 0
        for arrays, ended in batch:
            end = at + len(arrays["ids"])
            ended.set_result(probability[at:end])
            at = end


class JoinedThreads(Joined):
    """Whoever finds the engine free runs all that wait; the others wait for their answer."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._engine = threading.Semaphore(2)

    def ModelInfer(self, request: pb.ModelInferRequest, context: Any) -> pb.ModelInferResponse:  # noqa: N802
        """See `Plain`."""
        ended = self.enqueue(request)
        while not ended.done():
            if self._engine.acquire(blocking=False):
                try:
                    self.run_waiting()
                finally:
                    self._engine.release()
            else:
                with self._engine:  # in turn: the next one runs what came meanwhile
                    if not ended.done():
                        self.run_waiting()
        return self.response(request, ended.result())


class AloneOnLoop(Plain):
    """On the event loop."""

    async def ModelInfer(  # type: ignore[override]  # noqa: N802
        self, request: pb.ModelInferRequest, context: Any
    ) -> pb.ModelInferResponse:
        """See `Plain`."""
        return self.response(request, self.run(self.arrays(request)))


class JoinedOnLoop(Joined):
    """An engine thread takes what waits; answers go back to the loop."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._engine = ThreadPoolExecutor(1)

    async def ModelInfer(  # type: ignore[override]  # noqa: N802
        self, request: pb.ModelInferRequest, context: Any
    ) -> pb.ModelInferResponse:
        """See `Plain`."""
        ended = self.enqueue(request)
        if len(self.waiting) == 1:
            self._engine.submit(self._run_all)
        return self.response(request, await asyncio.wrap_future(ended))

    def _run_all(self) -> None:
        while self.waiting:
            self.run_waiting()


KINDS: dict[str, Callable[[str], Plain]] = {
    PLAIN: Plain,
    "threads, joined": JoinedThreads,
    "asyncio, each by itself": AloneOnLoop,
    "asyncio, joined": JoinedOnLoop,
}


def serve(kind: str, graph: str, port: int) -> None:
    """Serve until killed."""
    service = KINDS[kind](graph)
    if kind.startswith("asyncio"):
        uvloop.run(_serve_on_loop(service, port))
        return
    server = grpc.server(ThreadPoolExecutor(10 if kind == PLAIN else 32))
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(service, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


async def _serve_on_loop(service: Plain, port: int) -> None:
    server = grpc.aio.server()
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(service, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def main() -> None:
    """Start all kinds, load them in turn, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--perf-analyzer", metavar="PATH", help="Triton's; else `tablefold loadtest`")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ids", type=int, default=200_000, help="known ids of all features together")
    parser.add_argument("--serve", nargs=3, metavar=("KIND", "GRAPH", "PORT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        kind, graph, port = given.serve
        serve(kind, graph, int(port))
        return
    with tempfile.TemporaryDirectory() as root, ExitStack() as stack:
        ids = write_bundle(Path(root), "ads", 1, given.ids)
        graph = str(Path(root) / "ads" / "1" / GRAPH)
        this = [sys.executable, "-m", "bench.serving.front_kinds", "--serve"]
        commands = {kind: [*this, kind, graph, str(18731 + i)] for i, kind in enumerate(KINDS)}
        ours = [sys.executable, "-m", "tablefold", "serve", "--repository", root, "--http-port", "0"]
        commands["tablefold"] = [*ours, "--front", "grpcio", "--port", "18730"]
        runs: dict[str, Callable[[int, int], Figures]] = {
            BARE: lambda rows, in_flight: bare(Path(graph), ids, rows, in_flight)
        }
        for name, command in commands.items():
            server = stack.enter_context(started(command, f"127.0.0.1:{command[-1]}"))
            runs[name] = partial(load, server, given.perf_analyzer)
        results = {
            f"{rows} rows, {in_flight} in flight": in_turn(runs, rows, in_flight, given.rounds)
            for rows, in_flight in SHAPES
        }
    show(results)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
