"""For the benches: `tablefold serve` as a process, and load on it from this one."""

import asyncio
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from resource import RLIMIT_NOFILE, setrlimit

import grpc.aio
import numpy as np
import psutil

from bench.random_bundle import Ids
from tablefold.protos import inference_pb2 as pb
from tablefold.protos import inference_pb2_grpc


@dataclass(frozen=True)
class Served:
    """A running server."""

    address: str
    http: str
    """Where its metrics are."""
    pids: list[int]
    """Its process and those it started."""


@asynccontextmanager
async def serving(repository: Path, *options: str, descriptors: int | None = None) -> AsyncIterator[Served]:
    """From ready to SIGTERM, with so many `descriptors`. Raises RuntimeError where it does not start."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tablefold", "serve", "--repository", str(repository)),
        *("--port", "0", "--http-port", "0", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        preexec_fn=None if descriptors is None else partial(setrlimit, RLIMIT_NOFILE, (descriptors,) * 2),
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        ready = re.match(r"tablefold: ready on (\S+) \(HTTP (\d+)\)", line)
        if ready is None:
            raise RuntimeError(f"the server did not start: {line}")
        children = psutil.Process(process.pid).children(recursive=True)
        yield Served(
            ready[1], f"http://127.0.0.1:{ready[2]}", [process.pid, *(child.pid for child in children)]
        )
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


def request(model: str, dense: np.ndarray, ids: np.ndarray) -> pb.ModelInferRequest:
    """dense float32 [B, N] and ids int64 [B, C] as raw tensors."""
    message = pb.ModelInferRequest(model_name=model)
    for name, datatype, array in (("dense", "FP32", dense), ("ids", "INT64", ids)):
        message.inputs.add(name=name, datatype=datatype, shape=array.shape)
        message.raw_input_contents.append(array.tobytes())
    return message


async def touch(address: str, model: str, ids: Ids, *, calls: int, rows: int, in_flight: int) -> None:
    """Calls with rows drawn from all known ids."""
    rng = np.random.default_rng(0)
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        left = iter(range(calls))

        async def client() -> None:
            for _ in left:  # shared by all
                await stub.ModelInfer(request(model, *ids.rows(rows, rng)))

        await asyncio.gather(*(client() for _ in range(in_flight)))
