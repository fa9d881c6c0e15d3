"""A signal at a random moment, from the start on: the server ends with 0 and leaves nothing behind.

TABLEFOLD_KILL_ROUNDS=100 takes ten minutes.
"""

import asyncio
import importlib.util
import os
import random
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import grpc.aio
import pytest

from tablefold.protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.server.processes.processes import alive, family

ROUNDS = int(os.environ.get("TABLEFOLD_KILL_ROUNDS", "4"))
FRONTS = ["grpcio", *(["native"] if importlib.util.find_spec("pygrpc_native") else [])]
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
MAX_SECONDS = 6.0
"""From the moment Python itself has started: servers are ready after one to four."""
CLIENTS = 8

pytestmark = [
    pytest.mark.usefixtures("heeded_signals"),
    pytest.mark.skipif(sys.platform != "linux", reason="Linux tells which signals a process heeds"),
]


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_a_server_ends_with_0_and_leaves_nothing_behind(tmp_path, repository, toy, seed):
    drawn = random.Random(f"{os.environ.get('TABLEFOLD_KILL_SEED', '')} {seed}")
    front, workers = drawn.choice(FRONTS), drawn.choice("12")
    first, seconds = drawn.choice(SIGNALS), drawn.uniform(0, MAX_SECONDS)
    again = drawn.choice([None, None, drawn.uniform(0, 1)])
    moment = f"{front}, {workers} workers, {first.name} after {seconds:.2f} s, again {again}"
    port = free_port()
    process = await toy.launch(
        f"--repository={repository}", f"--port={port}", "--http-port=0", f"--workers={workers}",
        f"--front={front}", TMPDIR=str(tmp_path),
    )  # fmt: skip
    ending = asyncio.ensure_future(process.end())
    load = [asyncio.create_task(ask(port, toy)) for _ in range(drawn.choice([0, CLIENTS]))]
    await toy.until(lambda: heeds(process.process.pid))
    await asyncio.sleep(seconds)
    assert not ending.done(), f"{moment}: {ending.result()[1]}"
    children = family(process.process.pid)
    process.process.send_signal(first)
    if again is not None:
        await asyncio.wait([ending], timeout=again)
        if not ending.done():
            process.process.send_signal(signal.SIGINT)
    code, log = await asyncio.wait_for(ending, 20)
    assert code == 0, f"{moment}: {log}"
    assert "Traceback" not in log, moment
    await toy.until(lambda: not any(alive(child) for child in children))
    left = {path.name for path in tmp_path.rglob("*")} - {".ses"}  # that is ONNX Runtime's, for all processes
    assert not left, moment
    for task in load:
        task.cancel()
    await asyncio.gather(*load, return_exceptions=True)


async def ask(port: int, toy) -> None:
    """Send calls without end, whatever becomes of them."""
    request = toy.request(*toy.rows(32))
    own = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=own) as channel:
        infer = GRPCInferenceServiceStub(channel).ModelInfer
        while True:
            status, _ = await toy.status(infer(request, timeout=5))
            await asyncio.sleep(0 if status == "OK" else 0.05)


def heeds(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(line for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def free_port() -> int:
    """A port that the kernel gives to no client, as one that asks for it in vain would else get it itself."""
    while True:
        port = random.randrange(10_000, 32_000)
        with suppress(OSError), socket.socket() as taken:
            taken.bind(("127.0.0.1", port))
            return port
