"""SIGTERM, SIGINT and SIGHUP at every moment of a server's life."""

import asyncio
import signal
import socket
import subprocess
import sys
import textwrap

import grpc.aio
import psutil
import pytest

from tablefold.protos import inference_pb2 as pb
from tablefold.protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.server.models import graphs
from tests.server.processes.processes import alive, family

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

pytestmark = pytest.mark.usefixtures("heeded_signals")


async def left(process, seconds: float) -> tuple[int, str]:
    """The exit code and the log of a server that must leave within some seconds."""
    return await asyncio.wait_for(process.end(), seconds)


def test_they_are_heeded_before_anything_is_imported():
    script = """
        import signal, sys
        from tablefold import __main__

        class Stop:
            def find_spec(self, name, *_):
                if name in ("tablefold.cli", "asyncio", "grpc"):
                    print(name, *(signal.getsignal(n).__name__ for n in map(signal.Signals, (1, 2, 15))))
                    sys.exit()

        sys.meta_path.insert(0, Stop())
        sys.argv = ["tablefold", "serve"]
        __main__.main()
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "tablefold.cli _exit _exit _exit\n"


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", SIGNALS)
async def test_while_the_first_model_loads_without_end_it_leaves_at_once_with_0(
    tmp_path, toy, number, workers
):
    graphs.change_graph(toy.write(tmp_path), graphs.endless_loop())
    process = await toy.launch(
        f"--repository={tmp_path}", "--port=0", "--http-port=0", f"--workers={workers}",
        "--load-timeout-seconds=300",
    )  # fmt: skip
    pid = process.process.pid

    def trials() -> list[psutil.Process]:
        return [
            child
            for child in family(pid)
            if "trial_worker" in " ".join(child.cmdline()) and child.cpu_times().user > 1
        ]

    await toy.until(trials)  # the loop runs
    children = family(pid)
    process.process.send_signal(number)
    code, log = await left(process, 10)
    assert code == 0, log
    assert "Traceback" not in log
    await toy.until(lambda: not any(alive(child) for child in children))


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_server_that_serves_drains_and_ends_with_0(repository, toy, number):
    async with toy.there(repository) as client:
        assert len(await client.infer(*toy.rows(1))) == 1
        client.server.process.send_signal(number)
        code, log = await left(client.server, 20)
        assert code == 0, log
        assert "Traceback" not in log


HANGS = """
import sys, threading
from pathlib import Path
from tablefold.server.options import Options
from tablefold.server.processes.run import run
from tests.server.conftest import probability_of

class Hangs:
    def run(self, dense, ids):
        if len(ids) == 13:
            print("in flight", flush=True)
            threading.Event().wait()
        return probability_of(dense, ids)

options = Options(repository=Path(sys.argv[1]), port=0, http_port=0, engine_timeout_seconds=600)
run(options, lambda server, models: print(server.port, flush=True), open_engine=lambda *_: Hangs())
"""


async def test_a_second_ctrl_c_leaves_at_once_though_a_call_is_in_flight(repository, toy):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(HANGS), str(repository),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    port = int(await process.stdout.readline())
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = GRPCInferenceServiceStub(channel).ModelInfer(toy.request(*toy.rows(13)))
        assert await process.stdout.readline() == b"in flight\n"
        process.send_signal(signal.SIGINT)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(process.wait()), 2)
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 5) == 0
        assert (await toy.status(call))[0] == "UNAVAILABLE"


async def test_a_second_ctrl_c_ends_the_workers_too(repository, toy):
    async with toy.there(repository, "--workers", "2") as client:
        pid = client.server.process.pid
        children = [child for child in family(pid) if "tablefold.server.processes.worker" in child.cmdline()]
        assert len(children) == 2
        for child in children:
            child.suspend()  # neither of them drains
        client.server.process.send_signal(signal.SIGINT)
        await asyncio.sleep(0.5)
        client.server.process.send_signal(signal.SIGINT)
        assert (await left(client.server, 5))[0] == 0
        await toy.until(lambda: not any(alive(child) for child in children))


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_connections_without_a_call_do_not_hold_up_the_drain(repository, toy, workers):
    async with toy.there(repository, f"--workers={workers}") as client:
        host, _, port = client.address.rpartition(":")
        http_port = client.http.rpartition(":")[2]
        silent = [socket.create_connection((host, int(number))) for number in (port, port, http_port)]
        silent[1].sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")  # and then nothing
        stream = client.oip.ModelStreamInfer()
        await stream.write(toy.request(*toy.rows(1)))
        assert not (await stream.read()).error_message
        assert len((await client.oip.RepositoryIndex(pb.RepositoryIndexRequest())).models) == 1
        started = asyncio.get_running_loop().time()
        client.server.terminate()
        code, log = await left(client.server, 20)
        assert code == 0, log
        assert asyncio.get_running_loop().time() - started < 8
        for connection in silent:
            connection.close()


async def test_the_logs_of_workers_have_time_and_level(tmp_path, toy):
    toy.write(tmp_path)
    async with toy.there(tmp_path, "--workers", "2") as client:
        client.server.terminate()
        code, log = await client.server.end()
    assert code == 0
    lines = [line for line in log.splitlines() if "is loaded" in line]
    assert len(lines) == 2
    for line in lines:
        assert line[:2] == "20"
        assert " INFO tablefold.server.models.versions: " in line
