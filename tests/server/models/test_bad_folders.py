"""One bad folder is one bad folder: it is refused with its reason, and costs no other model anything."""

import asyncio
import json
import os
import shutil
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import grpc.aio
import psutil
import pytest
from onnx import TensorProto

from tablefold.bundle import GRAPH, MANIFEST, WEIGHTS
from tablefold.protos import inference_pb2 as oip
from tablefold.protos import tablefold_pb2 as pb
from tablefold.protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tablefold.server.bundles.trial import end_trials, try_bundle
from tablefold.server.engines.device import Device
from tablefold.server.models import loader, refusals, versions
from tablefold.server.models.folder_scan import scan_model
from tests.server.models import graphs
from tests.server.models.test_reload import index, say, served_by
from tests.server.models.test_repository import rewrite


def replace(folder: Path, file: str, how: str) -> None:
    path = folder / file
    path.unlink(missing_ok=True)
    match how:
        case "a folder":
            path.mkdir()
        case "a named pipe":
            os.mkfifo(path)
        case "a socket":
            with socket.socket(socket.AF_UNIX) as listener:
                here = Path.cwd()
                os.chdir(folder)  # a socket's path is short
                listener.bind(file)
                os.chdir(here)
        case "a device":
            path.symlink_to("/dev/zero")
        case "a dangling link":
            path.symlink_to("nowhere")


def graph(change: graphs.Change):
    return lambda folder: graphs.change_graph(folder, change)


def no_utf_8(folder: Path) -> None:
    """ONNX Runtime prints what is wrong, and its Python cannot read it."""
    graph = (folder / GRAPH).read_bytes()
    (folder / GRAPH).write_bytes(graph.replace(b"Gather", b"G\xe4ther"))
    rewrite(folder)


def nested_graph(folder: Path) -> None:
    (folder / GRAPH).write_bytes(graphs.nested(10_000))
    rewrite(folder)


KINDS = ("a folder", "a named pipe", "a socket", "a device", "a dangling link")
FILES = {
    f"{file} is {kind}": (lambda folder, file=file, kind=kind: replace(folder, file, kind), [file])
    for file in (MANIFEST, GRAPH, WEIGHTS)
    for kind in KINDS
}
POLICIES = {
    f"serving.toml is {kind}": (
        lambda folder, kind=kind: replace(folder.parent, "serving.toml", kind),
        ["serving.toml"],
    )
    for kind in KINDS
}
BAD = {
    **FILES,
    **POLICIES,
    "a huge policy": (lambda folder: say(folder, "versions = [" + "1," * 15_500_000 + "]"), ["larger than"]),
    "a policy of many versions": (
        lambda folder: say(folder, f"versions = {list(range(1, 10_000))}"), ["at most 1,000 numbers"],
    ),
    "a deep policy": (lambda folder: say(folder, "versions = " + "[" * 10_000), ["not TOML"]),
    "a policy that is no text": (
        lambda folder: (folder.parent / "serving.toml").write_bytes(b"\xff\xfe\x00"), ["not TOML"],
    ),
    "a deep manifest": (lambda folder: (folder / MANIFEST).write_text("[" * 10_000), [MANIFEST, "damaged"]),
    "a sparse manifest": (lambda folder: os.truncate(folder / MANIFEST, 1 << 40), [MANIFEST, "larger than"]),
    "a manifest that is a list": (lambda folder: (folder / MANIFEST).write_text("[]"), ["damaged"]),
    "a tolerance that lets anything pass": (lambda folder: rewrite(folder, tolerance=0.9), ["tolerance"]),
    "bytes beyond 64 bits": (
        lambda folder: rewrite(folder, footprint={"parts": {}, "baseline_fp32": 1 << 64}), ["footprint"],
    ),
    "a version beyond 64 bits": (lambda folder: rewrite(folder, version=1 << 70), ["version"]),
    "an output that is a sequence": (graph(graphs.sequence()), ["probability", "seq"]),
    "a float64 output": (graph(graphs.cast(TensorProto.DOUBLE)), ["probability", "tensor(double)"]),
    "a float16 output": (graph(graphs.cast(TensorProto.FLOAT16)), ["probability", "tensor(float16)"]),
    "a fixed batch size of the inputs": (graph(graphs.fixed_batch("input")), ["fixed batch size, 8"]),
    "a fixed batch size of the output": (graph(graphs.fixed_batch("output")), ["fixed batch size, 8"]),
    "no more than 8 rows": (graph(graphs.at_most_8_rows()), ["float32 [8] for 32 golden rows"]),
    "a wrong answer for one row": (graph(graphs.wrong_for_one_row()), ["differ", "in a batch of 1 "]),
    "a loop without end": (graph(graphs.endless_loop()), ["did not end within 3", "--load-timeout-seconds"]),
    "more memory than there is": (graph(graphs.all_memory()), ["fails on its golden rows"]),
    "subgraphs 10,000 deep": (nested_graph, ["nested too deep"]),
    "a name that is no UTF-8": (no_utf_8, ["model.onnx cannot be loaded on cpu: 'utf-8'"]),
}  # fmt: skip


@pytest.mark.parametrize(("damage", "words"), BAD.values(), ids=BAD)
async def test_whatever_is_wrong_with_a_model_is_its_own_refusal(tmp_path, toy, damage, words):
    toy.write(tmp_path)
    damage(toy.write(tmp_path, name="bad"))
    async with toy.here(tmp_path, load_timeout_seconds=3) as client:
        reply = await client.oip.RepositoryIndex(oip.RepositoryIndexRequest())
        [line] = [line for line in reply.models if line.name == "bad"]
        assert line.state == "UNAVAILABLE"
        for word in words:
            assert word in line.reason
        assert (await toy.status(served_by(client, toy, model_name="bad")))[0] == "NOT_FOUND"
        assert await served_by(client, toy) == 1
        toy.write(tmp_path, version=2)
        await asyncio.wait_for(client.server.repository.update(), 30)
        assert await served_by(client, toy) == 2
        shutil.rmtree(tmp_path / "bad")
        await client.server.repository.update()
        assert not [name for name, _ in index(client) if name == "bad"], "gone from disk, so forgotten"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("007", "name the folder 7"),
        ("0", "start at 1"),
        ("٣", "name the folder 3"),
        ("9" * 25, "63 bits"),
        ("+1", "name the folder as one"),
    ],
)
async def test_only_a_plain_decimal_number_is_a_version(tmp_path, toy, name, words):
    folder = toy.write(tmp_path)
    shutil.copytree(folder, folder.parent / name)
    async with toy.here(tmp_path) as client:
        state, reason = index(client)["toy", name]
        assert state == "UNAVAILABLE"
        assert words in reason
        assert await served_by(client, toy) == 1
        if name != "0":  # which stands for no version
            assert (await toy.status(served_by(client, toy, name)))[0] == "NOT_FOUND"


@pytest.mark.parametrize(
    "name",
    ["+1", "-1", "1_0", " 2", "2 ", "\uff12", "1.0", "²", "2024-06-11", "1,000", "v2", "1.bak", "1 (copy)"],
)
def test_a_folder_that_would_pass_for_a_version_is_named(tmp_path, toy, name):
    bundle = toy.write(tmp_path)
    bundle.rename(bundle.parent / name)
    scan = scan_model(bundle.parent)
    assert not scan.stamps
    assert "its name is not a plain decimal number; name the folder " in scan.misnamed[name]
    assert scan.is_model


async def test_hidden_folders_and_folders_that_hold_no_bundle_are_no_versions_and_no_models(tmp_path, toy):
    folder = toy.write(tmp_path)
    shutil.copytree(folder, folder.parent / ".2")
    (folder.parent / "assets").mkdir()
    (folder.parent / "notes-2.txt").write_text("no folder")
    (tmp_path / "notes" / "spring").mkdir(parents=True)
    async with toy.here(tmp_path) as client:
        assert list(index(client)) == [("toy", "1")]


async def test_entries_of_every_kind_beside_the_models_are_refused_or_passed_over(tmp_path, toy):
    folder = toy.write(tmp_path)
    (tmp_path / "readme.md").write_text("no model")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(folder.parent / "3")
    (folder.parent / "4").write_text("no folder")
    (folder.parent / "5").symlink_to("nowhere")
    odd = tmp_path / os.fsdecode(b"n\xff\n\x1b[31m")
    (odd / "1").mkdir(parents=True)
    async with toy.here(tmp_path) as client:
        lines = index(client)
        assert "leads nowhere" in lines["dangling", ""][1]
        assert "is not a folder" in lines["pipe", ""][1]
        for version, word in (("3", "named pipe"), ("4", "file"), ("5", "No such file")):
            assert word in lines["toy", version][1]
        assert lines[r"n\udcff\n\x1b[31m", "1"][0] == "UNAVAILABLE"
        reply = await client.oip.RepositoryIndex(oip.RepositoryIndexRequest())
        assert all(line.name.isprintable() and line.reason.isprintable() for line in reply.models)
        assert await served_by(client, toy) == 1


async def test_a_version_that_loads_without_end_holds_up_no_other_model_and_not_the_end(tmp_path, toy):
    toy.write(tmp_path)
    async with toy.here(tmp_path, poll_seconds=0.05, load_timeout_seconds=300) as client:
        graphs.change_graph(toy.write(tmp_path / "new", name="bad"), graphs.endless_loop())
        (tmp_path / "new" / "bad").rename(tmp_path / "bad")
        (tmp_path / "new").rmdir()
        await toy.until(lambda: ("bad", "1") in index(client))
        await asyncio.sleep(1)
        for version in (2, 3):
            toy.write(tmp_path / "new", version=version).rename(tmp_path / "toy" / str(version))
            await toy.until(lambda version=version: client.server.repository.find("toy").version == version)
        assert index(client)["bad", "1"][0] == "LOADING"
        status, text = await toy.status(served_by(client, toy, model_name="bad"))
        assert status == "UNAVAILABLE"
        assert "loading" in text
        started = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started < 5
    end_trials()


async def test_a_bundle_that_ends_the_process_that_tries_it_is_refused(tmp_path, toy):
    """As where a library crashes or the kernel is out of memory."""
    toy.write(tmp_path)
    graphs.change_graph(toy.write(tmp_path, name="bad"), graphs.endless_loop())

    def trials() -> list[psutil.Process]:
        return [
            child
            for child in psutil.Process().children()
            if "tablefold.server.bundles.trial_worker" in child.cmdline() and child.cpu_times().user > 1
        ]

    async with toy.here(tmp_path, load_timeout_seconds=60) as client:
        end = asyncio.get_running_loop().time() + 30
        while index(client)["bad", "1"][0] == "LOADING" and asyncio.get_running_loop().time() < end:
            for child in trials():
                child.kill()
            await asyncio.sleep(0.1)
        assert "SIGKILL" in index(client)["bad", "1"][1]
        assert await served_by(client, toy) == 1


async def test_900_broken_versions_with_two_workers_start_and_say_so(tmp_path, toy):
    sound = toy.write(tmp_path)
    manifest = json.loads((sound / MANIFEST).read_text())
    for version in range(2, 902):
        broken = sound.parent / str(version)
        broken.mkdir()
        (broken / MANIFEST).write_text(json.dumps(manifest | {"version": version}))
    arguments = ("--repository", str(tmp_path), "--workers", "2", "--port=0", "--http-port=0")
    process = await toy.launch(*arguments)
    log = asyncio.create_task(process.process.stderr.read())  # more than a pipe holds
    address, _ = await process.ready()
    async with grpc.aio.insecure_channel(address) as channel:
        stub = GRPCInferenceServiceStub(channel)
        assert len((await stub.RepositoryIndex(oip.RepositoryIndexRequest())).models) == 901
        assert (await stub.ModelReady(oip.ModelReadyRequest(name="toy", version="1"))).ready
    process.terminate()
    assert b"Traceback" not in await log
    assert await process.process.wait() == 0
    shutil.rmtree(sound)
    process = await toy.launch(*arguments)
    code, err = await process.end()
    assert code == 2
    assert "and 890 more" in err
    assert "Traceback" not in err


async def test_a_version_replaced_under_its_number_keeps_its_bytes_counted(tmp_path, toy):
    folder = toy.write(tmp_path)
    async with toy.here(tmp_path) as client:

        def size() -> float | None:
            labels = {"model": "toy", "version": "1", "part": "tables"}
            return client.server._metrics.registry.get_sample_value("tablefold_model_bytes", labels)

        before = size()
        shutil.rmtree(folder)
        toy.write(tmp_path)
        first = client.server.repository.find("toy")
        await client.server.repository.update()
        await toy.until(lambda: client.server.repository.find("toy") is not first)
        await toy.until(lambda: len(index(client)) == 1 and index(client)["toy", "1"][0] == "READY")
        assert size() == before
        client.server.repository.unload("toy")
        await toy.until(lambda: size() is None)


async def test_a_version_of_63_bits_is_served_by_both_protocols(tmp_path, toy):
    version = (1 << 63) - 1
    # Its weights are drawn by version, which numpy takes in full.
    toy.write(tmp_path, version=version)
    async with toy.here(tmp_path) as client:
        assert await served_by(client, toy, str(version)) == version
        reply = await client.tablefold.GetModel(pb.GetModelRequest(model="toy", version=version))
        assert reply.version == version
        footprint = await client.tablefold.GetFootprint(pb.GetFootprintRequest())
        assert [model.version for model in footprint.models] == [version]


async def test_a_version_that_took_too_long_is_tried_again_later_for_the_machine_may_have_been_busy(
    tmp_path, toy, monkeypatch
):
    toy.write(tmp_path)
    graphs.change_graph(toy.write(tmp_path, name="bad"), graphs.endless_loop())

    tried = []

    def try_and_count(folder: Path, device: Device, max_rows: int, max_seconds: float) -> None:
        tried.append(folder.parent.name)
        try_bundle(folder, device, max_rows, max_seconds)

    monkeypatch.setattr(loader, "try_bundle", try_and_count)
    async with toy.here(tmp_path, load_timeout_seconds=3) as client:
        assert "did not end" in index(client)["bad", "1"][1]
        await client.server.repository.update()
        assert sorted(tried) == ["bad", "toy"]
        later = SimpleNamespace(monotonic=lambda: time.monotonic() + versions.RETRY_SECONDS)
        monkeypatch.setattr(refusals, "time", later)
        await client.server.repository.update()
        assert sorted(tried) == ["bad", "bad", "toy"]
        assert "did not end" in index(client)["bad", "1"][1]
