"""`tablefold serve` as a process: its one line, its exit codes, its signals, and a client not our own."""

import asyncio
import socket
import sys
import textwrap
from pathlib import Path

import numpy as np

from tablefold.server.wire.oip.service import INFER
from tests.server.conftest import FRONT

WHY_GRPCIO = "grpcio (pygrpc-native does not hold the limits: it takes messages of any size)"


async def test_it_prints_one_line_with_its_real_ports_and_leaves_with_0_on_sigterm(repository, toy):
    async with toy.there(repository) as client:
        assert client.server.line == (
            f"tablefold: ready on {client.address} (HTTP {client.http.rpartition(':')[2]}), "
            f"models: toy:1 on cpu, front: {'native (asked for)' if FRONT == 'native' else WHY_GRPCIO}\n"
        )
        dense, ids = toy.rows(4)
        np.testing.assert_allclose(await client.infer(dense, ids), toy.probability(dense, ids), atol=1e-6)
        mapped = libraries_of(client.server.process.pid)
        assert "onnxruntime" in mapped
        assert "torch" not in mapped
        assert "polars" not in mapped
        client.server.terminate()
        code, err = await client.server.end()
        assert code == 0, err


async def test_sigterm_under_load_fails_no_call_that_was_sent_before(repository, toy):
    dense, ids = toy.rows(270)
    expected = toy.probability(dense, ids)
    request = toy.request(dense, ids)
    clock = asyncio.get_running_loop().time
    warm, outcomes = asyncio.Event(), []

    async def work(client) -> None:
        status = "OK"
        while status == "OK":
            sent = clock()
            call = client.oip.ModelInfer(request)
            status, _ = await toy.status(call)
            outcomes.append((sent, status))
            if status == "OK":
                np.testing.assert_allclose(toy.probability_in(await call), expected, atol=1e-6)
            if len(outcomes) > 500:
                warm.set()

    async with toy.there(repository, "--drain-seconds", "20") as client:
        workers = [asyncio.create_task(work(client)) for _ in range(64)]
        await asyncio.wait_for(warm.wait(), 30)
        signalled = clock()
        client.server.terminate()
        assert (await client.server.end())[0] == 0
        await asyncio.wait_for(asyncio.gather(*workers), 30)
    assert {status for sent, status in outcomes if sent < signalled} == {"OK"}
    assert {status for _, status in outcomes} == {"OK", "UNAVAILABLE"}


async def test_calls_that_keep_coming_do_not_hold_up_the_drain(repository, toy):
    async def half_sent(client) -> None:
        async def nothing():
            await asyncio.sleep(2)
            yield b""

        await toy.status(client.channel.stream_unary(INFER)(nothing()))

    async with toy.there(repository, "--drain-seconds", "15") as client:
        calls = []
        client.server.terminate()
        ending = asyncio.ensure_future(client.server.end())
        started = asyncio.get_running_loop().time()
        while not ending.done():
            calls.append(asyncio.create_task(half_sent(client)))
            await asyncio.wait({ending}, timeout=0.05)
        assert asyncio.get_running_loop().time() - started < 8
        assert (await ending)[0] == 0
        await asyncio.gather(*calls)


async def test_bad_usage_is_one_clear_line_and_exit_code_2(tmp_path, repository, toy):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        free = ["--port", "0", "--http-port", "0"]
        sound = ["--repository", str(repository)]
        cases = {
            "holds no model": ["--repository", str(tmp_path), *free],
            "not a folder": ["--repository", str(tmp_path / "nowhere"), *free],
            "unknown device": [*sound, *free, "--device", "tpu"],
            f"cannot listen on 127.0.0.1:{port}": [*sound, "--port", port, "--http-port", "0"],
            f"127.0.0.1:{port} for HTTP": [*sound, "--port", "0", "--http-port", port],
        }
        for words, arguments in cases.items():
            process = await toy.launch(*arguments)
            code, err = await process.end()
            assert code == 2, err
            assert words in err
            assert "Traceback" not in err


async def test_the_server_process_never_imports_a_trainers_or_exporters_libraries(repository):
    script = f"""
        import asyncio, sys
        from pathlib import Path
        import tablefold.server.cli
        assert not {{"grpc", "onnxruntime"}} & set(sys.modules), "--help must be quick"
        from tablefold.server.app import Server
        from tablefold.server.options import Options

        async def main():
            server = Server(Options(repository=Path({str(repository)!r}), port=0, http_port=0))
            await server.start()
            await server.drain()

        asyncio.run(main())
        roots = {{"torch", "polars", "onnx", "tablefold.trainer", "tablefold.exporter", "tablefold.loadtest"}}
        assert not roots & set(sys.modules), roots & set(sys.modules)
    """
    await run_python(script)


async def test_tritonclient_drives_it_unmodified(repository, toy, tmp_path):
    """In a process of its own: tritonclient registers the protocol's messages a second time."""
    dense, ids = toy.rows(800)
    np.savez(tmp_path / "rows.npz", dense=dense, ids=ids, expected=toy.probability(dense, ids))
    script = """
        import sys
        import numpy as np
        import tritonclient.grpc as triton

        address, path = sys.argv[1:]
        rows = np.load(path)
        client = triton.InferenceServerClient(address)
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("toy")
        metadata = client.get_model_metadata("toy")
        inputs = []
        for tensor in metadata.inputs:
            array = rows[tensor.name]
            inputs.append(triton.InferInput(tensor.name, array.shape, tensor.datatype))
            inputs[-1].set_data_from_numpy(array)
        for outputs in (None, [triton.InferRequestedOutput("probability")]):
            result = client.infer("toy", inputs, outputs=outputs, request_id="7", client_timeout=30)
            got = result.as_numpy("probability")
            assert got.shape == (800,) and got.dtype == np.float32
            np.testing.assert_allclose(got, rows["expected"], atol=1e-5)
            assert result.get_response().id == "7"
        try:
            client.infer("other", inputs)
        except triton.InferenceServerException as error:
            assert error.status() == "StatusCode.NOT_FOUND", error
        else:
            raise AssertionError("an unknown model was found")
        client.close()
    """
    async with toy.there(repository) as client:
        await run_python(script, client.address, str(tmp_path / "rows.npz"))


def libraries_of(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


async def run_python(script: str, *arguments: str) -> None:
    """Run a script in a process of its own; what it says on failure is the test's failure."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", textwrap.dedent(script), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
