"""Every answer under concurrency: 64 clients, 1 to 2,000 rows, random cancellations and deadlines.

    python -m bench.serving.answers [--calls 100000] [--workers 1] [--front native]

Each answer must be what the same rows give when they are sent one by one. Calls that were cancelled or ran
out of time have no answer; every other call must have one.
"""

import argparse
import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

import grpc.aio
import numpy as np
import uvloop

from bench.random_bundle import write_bundle
from bench.serving.served import request, serving
from tablefold.protos import inference_pb2 as pb
from tablefold.protos import inference_pb2_grpc

Stub: TypeAlias = "inference_pb2_grpc.GRPCInferenceServiceAsyncStub"
CLIENTS, ROWS = 64, 4000
TOLERANCE = 2e-6
"""Of a probability: a float32 matrix product depends a little on how many rows it has."""


class Check:
    """Sends slices of known rows and compares."""

    def __init__(self, address: str, dense: np.ndarray, ids: np.ndarray, expected: np.ndarray) -> None:
        self._address, self._dense, self._ids, self._expected = address, dense, ids, expected
        self.outcomes: Counter[str] = Counter()
        self.worst = 0.0

    async def client(self, seed: int, calls: int) -> None:
        """One of many, with a connection of its own."""
        rng = np.random.default_rng(seed)
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self._address, options=options) as channel:
            stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
            for _ in range(calls):
                await self._one(stub, rng)

    async def _one(self, stub: Stub, rng: np.random.Generator) -> None:
        rows = int(2 ** rng.uniform(0, np.log2(2000)))
        start = int(rng.integers(0, ROWS - rows + 1))
        some = slice(start, start + rows)
        fate = rng.random()
        timeout = float(rng.exponential(0.05)) if fate < 0.2 else 120.0
        call = stub.ModelInfer(request("ads", self._dense[some], self._ids[some]), timeout=timeout)
        if fate > 0.9:
            await asyncio.sleep(float(rng.exponential(0.01)))
            call.cancel()
        try:
            response: pb.ModelInferResponse = await call
        except asyncio.CancelledError:
            self.outcomes["cancelled by the client"] += 1
            return
        except grpc.aio.AioRpcError as error:
            self.outcomes[error.code().name] += 1
            return
        got = np.frombuffer(response.raw_output_contents[0], np.float32)
        difference = float(np.abs(got - self._expected[some]).max()) if len(got) == rows else np.inf
        self.worst = max(self.worst, difference)
        self.outcomes["right" if difference <= TOLERANCE else "WRONG"] += 1


async def row_by_row(address: str, dense: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """float32 [B] from B calls of one row, one at a time."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        answers = []
        for row in range(len(ids)):
            response = await stub.ModelInfer(request("ads", dense[row : row + 1], ids[row : row + 1]))
            answers.append(np.frombuffer(response.raw_output_contents[0], np.float32))
    return np.concatenate(answers)


async def main() -> None:
    """One line of JSON; a failure where an answer is wrong or a call failed for no reason of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--front", default="auto", help="passed to the server")
    given = parser.parse_args()
    with TemporaryDirectory() as root:
        known = write_bundle(Path(root), "ads", 1, 1_000_000)
        options = ["--workers", str(given.workers), "--front", given.front, "--max-queue-rows", "1000000"]
        async with serving(Path(root), *options) as server:
            dense, ids = known.rows(ROWS, np.random.default_rng(0))
            check = Check(server.address, dense, ids, await row_by_row(server.address, dense, ids))
            began = time.perf_counter()
            calls_a_client = given.calls // CLIENTS
            await asyncio.gather(*(check.client(seed, calls_a_client) for seed in range(CLIENTS)))
            seconds = time.perf_counter() - began
    found = dict(check.outcomes)
    print(
        json.dumps(
            {"calls": calls_a_client * CLIENTS, "seconds": round(seconds), "worst": check.worst, **found}
        )
    )
    if sum(found.values()) != calls_a_client * CLIENTS:
        raise SystemExit("calls without an end")
    allowed = {"right", "cancelled by the client", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
    if not set(found) <= allowed:
        raise SystemExit(f"not allowed: {set(found) - allowed}")


if __name__ == "__main__":
    uvloop.run(main())
