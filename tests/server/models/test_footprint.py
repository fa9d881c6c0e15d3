"""Memory: what was predicted, what is loaded, what the kernel says, and what may not be loaded at all."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tablefold.errors import BundleError
from tablefold.model_size import Footprint, Parts
from tablefold.protos import inference_pb2 as oip
from tablefold.protos import tablefold_pb2 as pb
from tablefold.server.telemetry.memory import mapped_bytes, memory_of
from tests.server.models.test_reload import index, served_by

MB = 1_000_000


def claim(folder: Path, size: int) -> None:
    """A manifest that says the tables take `size` bytes."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["footprint"] = Footprint(parts=Parts(tables=size), baseline_fp32=size).model_dump()
    (folder / "manifest.json").write_text(json.dumps(manifest))


async def ask(client) -> pb.GetFootprintResponse:
    return await client.tablefold.GetFootprint(pb.GetFootprintRequest())


async def test_predicted_loaded_and_peak_of_every_version_and_the_kernels_view_of_the_process(client):
    response = await ask(client)
    [model] = response.models
    [process] = response.processes
    assert (model.name, model.version, model.tables_bytes, model.network_bytes) == ("toy", 1, 97 * 4, 8)
    assert model.baseline_fp32_bytes == 97 * 4
    assert model.peak_bytes >= model.mapped_bytes + model.anonymous_bytes
    assert process.pid == os.getpid()
    assert process.resident_peak_bytes >= process.resident_bytes >= process.proportional_bytes > MB
    assert process.anonymous_bytes + process.file_backed_bytes == process.resident_bytes
    assert MB < process.proportional_anonymous_bytes < process.proportional_bytes


def test_a_file_that_two_processes_map_counts_once_over_both(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(os.urandom(8 * MB))
    script = f"""
import mmap
file = open({str(file)!r}, "rb")
mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
sum(mapped[::4096])
print("ready", flush=True)
input()
"""
    command = [sys.executable, "-c", script]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as two:
        for process in (one, two):
            assert process.stdout.readline() == b"ready\n"
        name = str(file.resolve())
        assert mapped_bytes([one.pid, two.pid], {name})[name] == pytest.approx(8 * MB, rel=0.01)
        assert mapped_bytes([one.pid], {name})[name] == pytest.approx(4 * MB, rel=0.01)
        file.unlink()
        assert mapped_bytes([one.pid], {name})[name] == pytest.approx(4 * MB, rel=0.01), "still in memory"
        assert memory_of([one.pid]).keys() == {one.pid}
        for process in (one, two):
            process.communicate(b"\n")
    assert memory_of([one.pid]) == {}
    assert mapped_bytes([one.pid], {name}) == {name: 0}


GROWTH = """
import numpy as np
from tablefold.server.telemetry.memory import measure_growth
kept, grown = measure_growth(lambda: np.ones(64_000_000, np.uint8))
_, passed = measure_growth(lambda: np.ones(400_000_000, np.uint8).sum())
print(len(kept), grown.anonymous, passed.anonymous, passed.peak)
"""


def test_what_work_added_is_what_it_still_holds_and_its_peak_what_it_ever_held():
    # In a fresh process: in one that ran other tests, freed memory is taken again and nothing is added.
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True)
    kept, grown, passed, peak = map(int, done.stdout.split())
    assert grown == pytest.approx(kept, rel=0.1)
    assert passed < 100 * MB
    assert peak > 300 * MB


async def test_a_load_beyond_the_limit_is_refused_with_both_figures_before_it_happens(tmp_path, toy):
    toy.write(tmp_path)
    opened = []

    class Engine:
        def __init__(self, folder, manifest) -> None:
            self.version = manifest.version
            opened.append(self.version)

        def run(self, dense, ids):
            return toy.probability(dense, ids, self.version)

    limit = 1 << 40
    async with toy.here(tmp_path, open_engine=Engine, memory_limit=limit) as client:
        claim(toy.write(tmp_path, version=2), limit)
        await client.server.repository.update()
        assert await served_by(client, toy) == 1
        state, reason = index(client)["toy", "2"]
        assert state == "UNAVAILABLE"
        assert f"takes {limit:,} bytes" in reason
        assert f"of the {limit:,} that --memory-limit allows" in reason
        assert opened == [1]
        claim(toy.write(tmp_path, version=3), 1000)
        await client.server.repository.update()
        assert await served_by(client, toy) == 3
    with pytest.raises(BundleError, match="--memory-limit"):
        async with toy.here(tmp_path, open_engine=Engine, memory_limit=1000):
            pass


async def test_what_did_not_fit_is_tried_again_when_there_is_room(tmp_path, toy):
    limit = 1 << 40
    for name in ("a", "b"):
        claim(toy.write(tmp_path, name=name), limit // 3 * 2)
    async with toy.here(tmp_path, memory_limit=limit) as client:
        [first] = [model.name for model in client.server.repository.served()]
        other = "ab".replace(first, "")
        assert await served_by(client, toy, model_name=first) == 1
        assert (await toy.status(served_by(client, toy, model_name=other)))[0] == "NOT_FOUND"
        client.server.repository.unload(first)
        await client.server.repository.update()
        assert await served_by(client, toy, model_name=other) == 1


@pytest.mark.parametrize("size", ["lots", "-1", "5TB", "1 2"])
async def test_a_limit_that_is_no_size_is_said_so(repository, toy, size):
    process = await toy.launch("--repository", str(repository), f"--memory-limit={size}")
    code, err = await process.end()
    assert code == 2
    assert "2GiB" in err


async def test_the_command_shows_a_running_servers_footprint(repository, toy, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret")

    async def run(*arguments: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tablefold", "footprint", *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    async with toy.there(repository, f"--token-file={token}", "--memory-limit=2GiB") as client:
        code, out, err = await run("--server", client.address, f"--token-file={token}", "--json")
        assert code == 0, err
        footprint = json.loads(out)
        [model] = footprint["models"]
        assert (model["name"], model["version"], model["predicted"]) == ("toy", 1, 97 * 4 + 8)
        assert model["parts"]["tables"] == 97 * 4
        server = footprint["server"]
        assert server["processes"] == 1
        assert server["anonymous"] + server["mapped"] == server["total"] < server["peak"]
        assert 10 * MB < server["total"] < 2 << 30
        code, out, _ = await run("--server", client.address, f"--token-file={token}")
        assert code == 0
        assert "toy:1" in out
        code, _, err = await run("--server", client.address)
        assert code == 2
        assert "wants a token" in err
    code, _, err = await run("--server", client.address)
    assert code == 2
    assert client.address in err
    code, _, err = await run()
    assert code == 2
    assert "--server" in err


async def test_statistics_tell_tritons_tools_the_memory_too(client):
    [model] = (await client.oip.ModelStatistics(oip.ModelStatisticsRequest(name="toy"))).model_stats
    [memory] = model.memory_usage
    assert (memory.type, memory.id) == ("CPU", 0)
    assert memory.byte_size >= 97 * 4
