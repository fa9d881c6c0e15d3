"""Hundreds of version swaps under load: does any call fail, is any answer wrong, does memory grow?

    python -m bench.serving.reload [--swaps 300] [--ids 100000] [--clients 8] [--json FILE]

Two bundles with the same ids and different weights are copied to the disk in turn, each as a new version, as
fast as the server takes them up. Every answer is compared with the answers that its version gave alone; calls
carry on all the while. Memory is the proportional figure of all the server's processes, read from outside:
the median of ten swaps after the first ten, and of the last ten.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import grpc.aio
import numpy as np

from bench.random_bundle import write_bundle
from bench.serving.footprint import kernel
from bench.serving.served import Served, request, serving
from tablefold.bundle import MANIFEST
from tablefold.protos import inference_pb2 as pb
from tablefold.protos import inference_pb2_grpc

Stub: TypeAlias = "inference_pb2_grpc.GRPCInferenceServiceAsyncStub"
ROWS, REQUESTS, SETTLING = 64, 20, 10


@dataclass
class Seen:
    """What the clients and the watch saw."""

    calls: int = 0
    failed: list[str] = field(default_factory=list)
    wrong: int = 0
    newest: int = 0
    latencies: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)


def publish(source: Path, model: Path, version: int) -> None:
    """A version's folder like `source`, under a temporary name and renamed."""
    writing = model / ".writing"
    shutil.copytree(source, writing)
    manifest = json.loads((writing / MANIFEST).read_text())
    (writing / MANIFEST).write_text(json.dumps(manifest | {"version": version}))
    writing.rename(model / str(version))
    shutil.rmtree(model / str(version - 2), ignore_errors=True)


async def client(
    stub: Stub,
    requests: list[pb.ModelInferRequest],
    expected: list[list[np.ndarray]],
    stop: asyncio.Event,
    seen: Seen,
) -> None:
    """Calls, one after the other, each checked against what its version must say."""
    turn = 0
    while not stop.is_set():
        turn = (turn + 1) % len(requests)
        started = time.perf_counter()
        seen.calls += 1
        try:
            reply = await stub.ModelInfer(requests[turn], timeout=30)
        except grpc.aio.AioRpcError as error:
            seen.failed.append(f"{error.code().name}: {error.details()}")
            continue
        seen.latencies.append(time.perf_counter() - started)
        version = int(reply.model_version)
        seen.newest = max(seen.newest, version)
        got = np.frombuffer(reply.raw_output_contents[0], np.float32)
        if not np.allclose(got, expected[version % 2][turn], rtol=0, atol=1e-6):
            seen.wrong += 1


async def learn(repository: Path, requests: list[pb.ModelInferRequest]) -> list[np.ndarray]:
    """What the one version in the repository answers, alone and at rest."""
    async with serving(repository) as served, grpc.aio.insecure_channel(served.address) as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        replies = [await stub.ModelInfer(message) for message in requests]
    return [np.frombuffer(reply.raw_output_contents[0], np.float32) for reply in replies]


async def swap(served: Served, stub: Stub, sources: list[Path], model: Path, swaps: int, seen: Seen) -> None:
    """Publish version after version, each as soon as the one before has taken over."""
    everything = pb.RepositoryIndexRequest()
    for version in range(2, swaps + 2):
        await asyncio.to_thread(publish, sources[version % 2], model, version)
        async with asyncio.timeout(60):
            # Until it answers and the one before is closed; the server sets no event for its clients.
            while seen.newest < version or len((await stub.RepositoryIndex(everything)).models) > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        seen.memory.append(await asyncio.to_thread(kernel, served))


async def prove(folder: Path, *, swaps: int, ids: int, clients: int) -> dict[str, float]:
    """The figures of one run."""
    known = write_bundle(folder / "0", "ads", 1, ids, seed=0)
    write_bundle(folder / "1", "ads", 1, ids, seed=1)
    rng = np.random.default_rng(0)
    requests = [request("ads", *known.rows(ROWS, rng)) for _ in range(REQUESTS)]
    expected = [await learn(folder / name, requests) for name in ("0", "1")]
    sources = [folder / name / "ads" / "1" for name in ("0", "1")]
    model = folder / "served" / "ads"
    model.mkdir(parents=True)
    publish(sources[1], model, 1)
    seen, stop = Seen(), asyncio.Event()
    async with serving(folder / "served", "--poll-seconds", "0.05") as served:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(served.address, options=options) as channel:
            stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
            working = [
                asyncio.create_task(client(stub, requests, expected, stop, seen)) for _ in range(clients)
            ]
            started = time.perf_counter()
            try:
                await swap(served, stub, sources, model, swaps, seen)
            finally:
                stop.set()
                await asyncio.gather(*working)
    taken = time.perf_counter() - started
    first = statistics.median(seen.memory[SETTLING : 2 * SETTLING] or seen.memory)
    last = statistics.median(seen.memory[-SETTLING:])
    for reason in sorted(set(seen.failed)):
        print(f"{seen.failed.count(reason)} failed: {reason}")
    return {
        "swaps": swaps,
        "seconds": taken,
        "calls": seen.calls,
        "failed": len(seen.failed),
        "wrong": seen.wrong,
        "p50_ms": float(np.quantile(seen.latencies, 0.5) * 1e3),
        "p99_ms": float(np.quantile(seen.latencies, 0.99) * 1e3),
        "memory_first_mb": first / 1e6,
        "memory_last_mb": last / 1e6,
        "memory_growth": last / first - 1,
    }


def main() -> None:
    """Prove, print a line of figures and the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--swaps", type=int, default=300)
    parser.add_argument("--ids", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(
            prove(Path(folder), swaps=options.swaps, ids=options.ids, clients=options.clients)
        )
    print(
        "{swaps} swaps in {seconds:.0f} s under {calls:,} calls: {failed} failed, {wrong} wrong; "
        "p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms; "
        "memory {memory_first_mb:.1f} -> {memory_last_mb:.1f} MB ({memory_growth:+.1%})".format(**figures)
    )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
