"""The rows of the cases that need a server or an export, each with what it gives now: `make cases`."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from onnx import TensorProto

from tablefold.cli import main
from tablefold.exporter.export import export
from tablefold.logs import read_splits
from tablefold.protos import inference_pb2 as oip
from tablefold.protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.training.run import train
from tests.client.conftest import Server, start_server
from tests.server.conftest import draw_rows, infer_request, write_bundle
from tests.server.models import graphs
from tests.server.models.test_repository import rewrite
from tests.test_cases import cases

__all__ = ["cases", "start_server"]

pytestmark = pytest.mark.usefixtures("cases")
VERSION = 20240611120000
GRAPHS = {
    "float64": graphs.cast(TensorProto.DOUBLE),
    "float16": graphs.cast(TensorProto.FLOAT16),
    "fixed": graphs.fixed_batch("output"),
    "sequence": graphs.sequence(),
    "endless": graphs.endless_loop(),
}


@pytest.fixture(scope="module")
def shop(cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint of two_a, and a repository: two_a, sound toys, and bad ones."""
    folder = tmp_path_factory.mktemp("shop")
    schema, splits = read_splits(str(cases / "two_a.toml"))
    config = TrainConfig(dim=4, epochs=3, batch_size=64, bottom=(8,), top=(8,))
    checkpoint = train(schema, splits, config, folder / "checkpoint", data=str(cases / "two_a.toml"))
    export(checkpoint, folder / "repository", "two", version=VERSION)
    write_bundle(folder / "repository")
    for name, change in GRAPHS.items():
        graphs.change_graph(write_bundle(folder / "repository", name=name), change)
    deep = write_bundle(folder / "repository", name="deep")
    (deep / "model.onnx").write_bytes(graphs.nested(10_000))
    rewrite(deep)
    policy = write_bundle(folder / "repository", name="policy").parent / "serving.toml"
    policy.mkdir()
    pipe = write_bundle(folder / "repository", name="pipe") / "manifest.json"
    pipe.unlink()
    os.mkfifo(pipe)
    return folder


@pytest.fixture(scope="module")
def server(shop: Path, start_server: Callable[..., Server]) -> Server:
    return start_server(shop / "repository", "--load-timeout-seconds", "5")


@pytest.fixture
def show(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    """Prints what a row gives."""

    def printed(text: str) -> str:
        with capsys.disabled():
            print(f"\n{request.node.name.removeprefix('test_').replace('_', ' ')}: {text.strip()}")
        return text

    return printed


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str]:
    """The exit code of a command in this process, and its last line."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tablefold", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return end.value.code or 0, (err if end.value.code else out).strip()


def stub(server: Server) -> GRPCInferenceServiceStub:
    return GRPCInferenceServiceStub(grpc.insecure_channel(server.address))


def refusal(server: Server, request: oip.ModelInferRequest) -> str:
    with pytest.raises(grpc.RpcError) as error:
        stub(server).ModelInfer(request)
    return f"{error.value.code().name}: {error.value.details()}"


def test_predict_of_two_b_by_the_model_of_two_a(server, cases, capsys, show) -> None:
    at = ("predict", "--server", server.address, "--model", "two", "--data")
    right = command(capsys, *at, cases / "two_a.toml")
    swapped = command(capsys, *at, cases / "two_b.toml")
    show(f"two_a: {right[1]}\n  two_b: exit {swapped[0]}: {swapped[1]}")
    assert right[0] == swapped[0] == 0
    assert swapped[1].split("(")[0] == right[1].split("(")[0], "the columns are found by name"
    assert float(right[1].split()[3]) > 0.6


def test_pairs_by_a_learned_hash(cases, tmp_path, show) -> None:
    schema, splits = read_splits(str(cases / "pairs.toml"))
    config = TrainConfig(method="lhf", dim=8, epochs=2, batch_size=256, bottom=(16,), top=(32,))
    splits = replace(splits, train=splits.train.take(np.arange(20_000)))
    metrics = train(schema, splits, config, tmp_path / "m").description.metrics
    show(f"validation AUC {metrics['validation_auc']:.3f}")
    assert metrics["validation_auc"] > 0.55


def test_two_exports_at_once(shop, tmp_path, show) -> None:
    line = [sys.executable, "-m", "tablefold", "export", str(shop / "checkpoint"), "--name", "m"]
    both = [
        subprocess.Popen(
            [*line, "--repository", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate() for process in both]
    found = sorted(path.name for path in (tmp_path / "m").iterdir() if path.is_dir())
    show(f"exits {[process.returncode for process in both]}, versions {found}")
    assert [process.returncode for process in both] == [0, 0], said
    assert found == ["1", "2"]


def test_a_version_of_14_digits(server, show) -> None:
    dense, ids = None, np.zeros((1, 2), np.int64)
    answer = stub(server).ModelInfer(infer_request(dense, ids, model_name="two", model_version=str(VERSION)))
    show(f"version {answer.model_version} answers")
    assert answer.model_version == str(VERSION)


def test_bad_folders(server, show) -> None:
    lines = stub(server).RepositoryIndex(oip.RepositoryIndexRequest()).models
    bad = {line.name: line.reason for line in lines if line.state == "UNAVAILABLE"}
    show(
        "".join(
            f"\n  {reason.partition('/repository/')[2] or f'{name}: {reason}'}"
            for name, reason in bad.items()
        )
    )
    assert set(bad) == {*GRAPHS, "deep", "pipe", "policy"}
    assert {line.name for line in lines if line.state == "READY"} == {"two", "toy"}


def test_loadtest_with_70000_rows(server, capsys, show) -> None:
    arguments = ("--server", server.address, "--model", "toy", "--rows", "70000", "--duration", "1")
    code, says = command(capsys, "loadtest", *arguments)
    show(f"exit {code}: {says.splitlines()[-1]}")
    assert code == 2


def test_shared_memory_and_classification(server, show) -> None:
    dense, ids = draw_rows(1)
    for name, value in (
        ("shared_memory_region", oip.InferParameter(string_param="r")),
        ("classification", oip.InferParameter(int64_param=1)),
    ):
        request = infer_request(dense, ids)
        request.outputs.add(name="probability").parameters[name].CopyFrom(value)
        assert "not offered" in show(f"output, {refusal(server, request)}")
    request = infer_request(dense, ids)
    request.inputs[0].parameters["shared_memory_region"].string_param = "r"
    assert "not offered" in show(f"input, {refusal(server, request)}")


def test_pings_on_an_idle_stream(server, show) -> None:
    """A hundred seconds of the case's pings, in eight."""
    options = [
        ("grpc.keepalive_time_ms", 1_100),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]

    async def answers() -> int:
        async with grpc.aio.insecure_channel(server.address, options=options) as channel:
            stream = GRPCInferenceServiceStub(channel).ModelStreamInfer()
            for seconds in (8, 0):
                await stream.write(infer_request(*draw_rows(2)))
                assert not (await stream.read()).error_message
                await asyncio.sleep(seconds)
            return 2

    show(f"{asyncio.run(answers())} answers with 8 s of pings between them")


def test_config_pbtxt_without_dense_values(shop, show) -> None:
    text = (shop / "repository" / "two" / "config.pbtxt").read_text()
    show(" ".join(text.partition("output")[0].split()))
    assert "dense" not in text


@pytest.mark.parametrize(
    "modules", ["tritonclient.grpc, tablefold.client", "tablefold.client, tritonclient.grpc"]
)
def test_import(modules: str, show) -> None:
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)
    show("both are imported")


def test_sigterm_while_the_first_model_loads(tmp_path, show) -> None:
    graphs.change_graph(write_bundle(tmp_path), graphs.endless_loop())
    line = [sys.executable, "-m", "tablefold", "serve", "--repository", str(tmp_path), "--port", "0"]
    process = subprocess.Popen([*line, "--http-port", "0"], stderr=subprocess.PIPE, text=True)
    family, end = psutil.Process(process.pid), time.monotonic() + 30
    while time.monotonic() < end and not any(
        child.cpu_times().user > 1 and "trial_worker" in " ".join(child.cmdline())
        for child in family.children(recursive=True)
    ):
        time.sleep(0.1)  # until the graph's loop runs
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    log = process.communicate(timeout=30)[1]
    show(f"exit {process.returncode} after {time.monotonic() - started:.1f} s")
    assert process.returncode == 0, log
    assert "Traceback" not in log


def test_sigterm_with_a_silent_connection(tmp_path, start_server, show) -> None:
    write_bundle(tmp_path)
    started = start_server(tmp_path)
    with socket.create_connection(("127.0.0.1", started.port)):
        begun = time.monotonic()
        started.process.terminate()
        code = started.process.wait(30)
    assert started.process.stdout is not None
    started.process.stdout.close()
    show(f"exit {code} after {time.monotonic() - begun:.1f} s")
    assert code == 0
    assert time.monotonic() - begun < 15
