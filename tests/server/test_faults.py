"""What clients see when something breaks: an engine, a connection, another client. And that it passes."""

import asyncio
import gc
import random
import socket
import subprocess
import sys
import textwrap
import time

import grpc.aio
import numpy as np
import pytest

from tests.server.conftest import Client
from tests.server.test_operations import get
from tests.server.test_serving import gated

HANGS = """
import sys, threading
from dataclasses import replace
from pathlib import Path
from tablefold.server.processes.run import run
from tablefold.server.engines.device import Device
from tablefold.server.engines.onnx import OnnxEngine
from tablefold.server.options import Options

class Hangs:
    '''The real engine, until a batch has 13 rows.'''
    def __init__(self, folder, manifest):
        self.engine = OnnxEngine(folder, manifest, Device("cpu"))

    def run(self, dense, ids):
        if len(ids) == 13:
            print("hangs", flush=True)
            threading.Event().wait()
        return self.engine.run(dense, ids)

options = Options(
    repository=Path(sys.argv[1]), port=0, http_port=0, engine_threads=2, engine_timeout_seconds=1
)
run(options, lambda server, models: print(server.port, server.http_port, flush=True), open_engine=Hangs)
"""


async def test_an_engine_that_hangs_fails_its_calls_and_the_process_ends_to_be_replaced(repository, toy):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HANGS, str(repository), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    port, http = (await process.stdout.readline()).decode().split()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        client = Client(channel, f"127.0.0.1:{port}", f"http://127.0.0.1:{http}", process)
        hangs = asyncio.create_task(toy.status(client.infer(*toy.rows(13), timeout=30)))
        assert await process.stdout.readline() == b"hangs\n"  # by itself: no other call is in its batch
        statuses, unready = [], False
        while not hangs.done():  # the other thread goes on meanwhile
            status, _ = await toy.status(client.infer(*toy.rows(5), timeout=30))
            statuses.append(status)
        assert (await hangs) == ("INTERNAL", "the engine failed on this request; the server's log says why")
        assert set(statuses[:1] + statuses[:-1]) == {"OK"}
        assert statuses[-1] in {"OK", "UNAVAILABLE"}  # it may meet the drain, which begins with that answer
        while process.returncode is None and not unready:
            unready = await asyncio.to_thread(probe, client.http) == 503
    _, err = await process.communicate()
    assert process.returncode == 1
    assert b"an engine hangs" in err
    assert unready


DIES = """
import sys, threading
from pathlib import Path
from tablefold.server.fronts.native import NativeFront
from tablefold.server.options import Options
from tablefold.server.processes.run import run

start = NativeFront.start

async def start_and_die(front):
    await start(front)
    threading.Thread(target=lambda: sys.stdin.readline() and front.native.close(), daemon=True).start()

NativeFront.start = start_and_die
options = Options(repository=Path(sys.argv[1]), port=0, http_port=0, front="native")
run(options, lambda server, models: print(server.port, server.http_port, flush=True))
"""


async def test_a_native_front_that_ends_by_itself_ends_the_process_to_be_replaced(repository, toy):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DIES, str(repository)),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    port, http = (await process.stdout.readline()).decode().split()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        client = Client(channel, f"127.0.0.1:{port}", f"http://127.0.0.1:{http}", process)
        assert (await toy.status(client.infer(*toy.rows(3), timeout=30)))[0] == "OK"
        began = time.monotonic()
        _, err = await process.communicate(b"\n")
        assert (await toy.status(client.infer(*toy.rows(3), timeout=30)))[0] == "UNAVAILABLE"
    assert process.returncode == 1
    assert b"the front has failed" in err
    assert time.monotonic() - began < 20


def probe(http: str) -> int:
    try:
        return asyncio.run(get(http + "/readyz"))[0]
    except OSError:
        return 0


def raises(rows: int) -> np.ndarray:
    raise RuntimeError("secret detail")


@pytest.mark.parametrize(
    "fault",
    [
        raises,
        lambda rows: np.full(rows, np.nan, np.float32),
        lambda rows: np.zeros(rows + 1, np.float32),
        lambda rows: np.zeros((rows, 1), np.float32),
    ],
    ids=["raises", "NaN", "one row too many", "two dimensions"],
)
async def test_an_engine_that_fails_is_internal_with_a_fixed_text_and_the_server_serves_on(
    repository, toy, fault
):
    class Broken:
        broken = False

        def run(self, dense: np.ndarray, ids: np.ndarray) -> np.ndarray:
            return fault(len(ids)) if self.broken else toy.probability(dense, ids)

    engine = Broken()
    async with toy.here(repository, engine) as client:
        engine.broken = True
        status, text = await toy.status(client.infer(*toy.rows(3)))
        assert (status, text) == ("INTERNAL", "the engine failed on this request; the server's log says why")
        engine.broken = False
        assert len(await client.infer(*toy.rows(3))) == 3


async def test_clients_that_vanish_with_calls_in_flight_leave_nothing_behind(repository, toy):
    """Killed, so that nobody says goodbye for them."""
    script = """
        import sys, grpc
        from tablefold.protos import inference_pb2_grpc, inference_pb2
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(grpc.insecure_channel(sys.argv[1]))
        request = inference_pb2.ModelInferRequest.FromString(bytes.fromhex(sys.argv[2]))
        calls = [stub.ModelInfer.future(request) for _ in range(50)]
        calls[0].result()
    """
    engine = gated(toy)
    async with toy.here(repository, engine, engine_threads=1) as client:
        engine.gate.clear()
        request = toy.request(*toy.rows(2)).SerializeToString().hex()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", textwrap.dedent(script), client.address, request
        )
        await engine.busy()
        batcher = client.server.repository.find("toy").batcher
        await toy.until(lambda: engine.held + batcher.queue_rows == 100)
        process.kill()
        await process.wait()
        await toy.until(lambda: batcher.queue_rows == 0)
        before = engine.rows
        engine.gate.set()
        assert len(await client.infer(*toy.rows(5))) == 5
        assert engine.rows - before == engine.held + 5


async def test_slow_and_silent_connections_hold_nobody_up(client, toy):
    """A greeting and no more, half a greeting, nonsense, nothing: and never a goodbye."""
    host, _, port = client.address.rpartition(":")
    greeting = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
    headers = bytes.fromhex("00000a010400000001")  # and the ten bytes of headers never come
    sockets = []
    try:
        for begun in [greeting, greeting[:10], greeting + headers, b"GET / HTTP/1.1\r\n\r\n", b""] * 20:
            sockets.append(socket.create_connection((host, int(port))))
            sockets[-1].sendall(begun)
        for _ in range(20):
            assert len(await client.infer(*toy.rows(3), timeout=30)) == 3
    finally:
        for connection in sockets:
            connection.close()


async def test_too_much_load_of_every_kind_leaves_no_traceback_in_the_log(repository, toy, caplog, capfd):
    """Calls and streams that are refused, expire, are cancelled, or whose connection is gone."""

    class Slow:
        def run(self, dense, ids):
            time.sleep(0.005)
            return toy.probability(dense, ids)

    rng = random.Random(3)
    request = toy.request(*toy.rows(20))

    async def call(client) -> str:
        sent = client.oip.ModelInfer(request, timeout=rng.choice([0.01, 0.1, 0.5]))
        if rng.random() < 0.3:
            await asyncio.sleep(rng.random() * 0.1)
            sent.cancel()
        try:
            return (await toy.status(sent))[0]
        except asyncio.CancelledError:
            return "CANCELLED"

    async def stream(client) -> str:
        sent = client.oip.ModelStreamInfer(timeout=rng.choice([0.05, 0.5]))
        try:
            for _ in range(100):
                await sent.write(request)
                if rng.random() < 0.02:
                    sent.cancel()
            return (await toy.status(sent.read()))[0]
        except (grpc.aio.AioRpcError, asyncio.CancelledError, asyncio.InvalidStateError):
            return "ENDED"

    outcomes: set[str] = set()
    async with toy.here(repository, Slow(), engine_threads=1, max_queue_rows=400) as client:
        for _ in range(4):
            channel = grpc.aio.insecure_channel(
                client.address, options=[("grpc.use_local_subchannel_pool", 1)]
            )
            other = Client(channel, client.address, client.http, client.server)
            tasks = [asyncio.create_task(call(other)) for _ in range(150)]
            tasks += [asyncio.create_task(stream(other)) for _ in range(20)]
            await asyncio.wait(tasks, timeout=0.3)
            await channel.close()
            outcomes |= {str(outcome) for outcome in await asyncio.gather(*tasks, return_exceptions=True)}
        gc.collect()
        for _ in range(600):  # what is left of the load still waits
            if (await toy.status(client.infer(*toy.rows(1))))[0] != "RESOURCE_EXHAUSTED":
                break
            await asyncio.sleep(0.05)
        assert len(await client.infer(*toy.rows(1))) == 1
    assert "OK" in outcomes
    assert "DEADLINE_EXCEEDED" in outcomes
    assert not [record.getMessage() for record in caplog.records if record.exc_info]
    assert "Traceback" not in capfd.readouterr().err
