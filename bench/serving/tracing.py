"""What traces cost: CPU of writing them, sending included, beside that of a call of a server without them.

    python -m bench.serving.tracing

A receiver in a process of its own takes the spans. Calls without a trace context, shares of 0, 1 % and all,
in turn; the least disturbed rounds count. Criteo's shape.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from bench.random_bundle import Ids, write_bundle
from bench.serving.drift import call_seconds
from tablefold.server.queue import Call
from tablefold.server.tracing import Tracing
from tablefold.server.wire.oip.service import INFER

ROUNDS = 7
CALLS = {0.0: 200_000, 0.01: 200_000, 1.0: 5_000}
"""Of a round, by share."""
RECEIVER = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *arguments):
        pass
server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
"""


def added_seconds(share: float) -> float:
    """Return CPU seconds of this process for a call: what tells that it is not traced, or its span."""
    tracing = Tracing(share)
    call = Call(np.zeros((1, 13), np.float32), np.zeros((1, 26), np.int64), None, cast(Any, None))
    call.accepted = call.started = call.ended = time.monotonic()
    call.done = call.batch_rows = 1
    model = cast(Any, SimpleNamespace(name="dlrm", version=1))
    metadata = (("user-agent", "grpc-python-asyncio/1.81.1 grpc-c/53.0.0 (linux; chttp2)"),)
    calls = CALLS[share]
    started = time.process_time()
    for _ in range(calls):
        tracing.ended(INFER, metadata, call.accepted, "OK", None, model=model, call=call)
    tracing.close(10)
    return (time.process_time() - started) / calls


async def compare(repository: Path, drawn: Ids) -> None:
    """Measure and print."""
    added = {share: min(added_seconds(share) for _ in range(ROUNDS)) for share in CALLS}
    for rows, front in product((1, 32, 270), ("grpcio", "native")):
        call = await call_seconds(repository, drawn, rows, "--front", front)
        costs = ", ".join(
            f"{share:.0%}: {cost * 1e6:.2f} us, {cost / call:.2%}" for share, cost in added.items()
        )
        print(f"{rows:4} rows, {front:6}: a server's call {call * 1e6:7.1f} us; traced {costs}")


def main() -> None:
    """Make a model and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ids", type=int, default=200_000, help="known ids")
    ids = parser.parse_args().ids
    # Wide enough that no span is dropped for want of room.
    os.environ["OTEL_BSP_MAX_QUEUE_SIZE"] = str(max(CALLS.values()))
    receiver = subprocess.Popen([sys.executable, "-c", RECEIVER], stdout=subprocess.PIPE, text=True)
    assert receiver.stdout is not None
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{receiver.stdout.readline().strip()}"
    os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"
    try:
        with TemporaryDirectory() as folder:
            asyncio.run(compare(Path(folder), write_bundle(Path(folder), "dlrm", 1, ids)))
    finally:
        receiver.kill()
        receiver.wait()


if __name__ == "__main__":
    main()
