"""The GPU's memory: what a version is predicted to take, takes, and is not loaded for, with a GPU made up.

The toy's engines take 30 MB of it while they are opened, and 10 MB for as long as they live.
"""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from urllib.request import urlopen
from uuid import UUID

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from bench.gpu import memory as gpu_memory
from tablefold.bundle import read_manifest
from tablefold.client.footprint import ServerFootprint
from tablefold.errors import BundleError, UsageError
from tablefold.protos import tablefold_pb2 as pb
from tablefold.server.engines.cuda.forecast import LANE_BYTES
from tablefold.server.engines.device import Device
from tablefold.server.models.gpu_footprint import GpuFootprint, GpuUse, watch_gpu
from tablefold.server.telemetry.gpu_memory import GpuReading
from tests.server.models.test_reload import index, served_by
from tests.server.telemetry.test_metrics import DESCRIBED, ON_A_GPU, described

MB = 1_000_000
GB = 1000 * MB
CUDA, OTHERS, LOADED, LOADING = 500 * MB, 2 * GB, 10 * MB, 30 * MB
LANES = 2


class Gpu:
    """One that others use too. `tells`: whether its driver knows the processes by their numbers here."""

    def __init__(self, total: int = 80 * GB, *, tells: bool = True) -> None:
        self.total, self.tells, self.answers = total, tells, True
        self.own = self.reads = 0

    def start(self) -> None:
        self.own += CUDA

    def read(self) -> GpuReading | None:
        self.reads += 1
        known = {os.getpid(): self.own} if self.tells and self.own else {}
        reading = GpuReading(self.total, self.total - OTHERS - self.own, {1: OTHERS} | known)
        return reading if self.answers else None


@pytest.fixture
def serve(monkeypatch, toy, tmp_path) -> Callable:
    """A server whose engines take memory of a made-up GPU."""

    @asynccontextmanager
    async def start(gpu: Gpu, **options):
        class Engine:
            def __init__(self, folder, manifest) -> None:
                gpu.own += LOADING
                reads = gpu.reads
                while gpu.reads < reads + 2:  # somebody looks while it loads
                    time.sleep(0.001)
                gpu.own -= LOADING - LOADED
                self.version = manifest.version

            def run(self, dense, ids):
                return toy.probability(dense, ids, self.version)

            def __del__(self) -> None:
                gpu.own -= LOADED

        def watch(device: Device, use: GpuUse) -> GpuFootprint:
            return GpuFootprint(gpu, use, gpu.start)

        monkeypatch.setattr("tablefold.server.app.watch_gpu", watch)
        async with toy.here(
            tmp_path, open_engine=Engine, max_batch_size=64, engine_threads=LANES, **options
        ) as client:
            yield client

    return start


async def footprint(client) -> pb.GetFootprintResponse:
    return await client.tablefold.GetFootprint(pb.GetFootprintRequest())


def families(client) -> list[Metric]:
    with urlopen(f"{client.http}/metrics") as page:
        found = text_string_to_metric_families(page.read().decode())
        return [family for family in found if "gpu" in family.name]


def metrics(client) -> dict[tuple[str, ...], float]:
    """By name and values of the labels, in the labels' order."""
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in families(client)
        for sample in family.samples
    }


async def test_each_versions_memory_and_the_processes_are_what_the_driver_says(serve, toy, tmp_path):
    toy.write(tmp_path)
    toy.write(tmp_path, name="other")
    gpu = Gpu()
    async with serve(gpu, gpu_memory_limit=40 * GB) as client:
        reply = await footprint(client)
        [process] = reply.processes
        assert process.gpu_bytes == gpu.own == CUDA + 2 * LOADED
        loaded = [model.gpu_weights_bytes + model.gpu_work_bytes for model in reply.models]
        assert loaded == [LOADED, LOADED], "all but CUDA itself"
        for model in reply.models:
            assert model.gpu_weights_bytes == LANES * (97 * 4 + 8)
            assert model.gpu_peak_bytes == LOADING
            assert model.gpu_predicted_bytes > LANES * LANE_BYTES
        told = ServerFootprint.of(reply)
        assert told.gpu == gpu.own
        assert [model.gpu.loaded for model in told.models] == [LOADED, LOADED]
        assert [model["gpu"]["peak"] for model in told.as_json()["models"]] == [LOADING, LOADING]
        assert (reply.gpu.name, reply.gpu.total_bytes) == ("cpu", 80 * GB)
        assert reply.gpu.free_bytes == 78 * GB - gpu.own
        assert reply.gpu.limit_bytes == 40 * GB
        shown = metrics(client)
        assert shown["tablefold_process_gpu_bytes",] == gpu.own
        assert shown["tablefold_gpu_total_bytes",] == 80 * GB
        assert shown["tablefold_gpu_free_bytes",] == 78 * GB - gpu.own
        assert shown["tablefold_gpu_memory_limit_bytes",] == 40 * GB
        parts = [("tablefold_model_gpu_bytes", "toy", part, "1") for part in ("weights", "work")]
        assert sum(shown[part] for part in parts) == LOADED
        assert shown["tablefold_model_gpu_peak_bytes", "toy", "1"] == LOADING
        assert described(families(client)) == {name: DESCRIBED[name] for name in ON_A_GPU}
        gpu.own += 60 * MB  # under load
        grown = (await footprint(client)).models
        assert [model.gpu_peak_bytes for model in grown] == [LOADED + 30 * MB] * 2
        gpu.own -= 60 * MB
        model = (await footprint(client)).models[0]
        assert model.gpu_weights_bytes + model.gpu_work_bytes == LOADED
        assert model.gpu_peak_bytes == LOADED + 30 * MB


async def test_where_the_driver_tells_nothing_of_processes_they_are_absent_and_the_whole_gpus_growth_counts(
    serve, toy, tmp_path
):
    toy.write(tmp_path)
    async with serve(Gpu(tells=False)) as client:
        reply = await footprint(client)
        assert not reply.processes[0].HasField("gpu_bytes")
        assert ServerFootprint.of(reply).gpu is None
        [model] = reply.models
        assert model.gpu_weights_bytes + model.gpu_work_bytes == LOADED
        assert model.gpu_peak_bytes == LOADING
        assert not reply.gpu.HasField("limit_bytes")
        assert ("tablefold_process_gpu_bytes",) not in metrics(client)
        assert ("tablefold_gpu_memory_limit_bytes",) not in metrics(client)


async def test_what_a_driver_that_falls_silent_no_longer_tells_is_absent(serve, toy, tmp_path):
    toy.write(tmp_path)
    gpu = Gpu()
    async with serve(gpu) as client:
        gpu.answers = False
        reply = await footprint(client)
        assert not reply.HasField("gpu")
        assert not reply.models[0].HasField("gpu_weights_bytes")
        assert ServerFootprint.of(reply).models[0].gpu is None
        assert metrics(client) == {}
        assert await served_by(client, toy) == 1


@pytest.mark.parametrize("tells", [True, False])
async def test_a_load_beyond_the_limit_is_refused_before_it_happens_and_tried_again_when_there_is_room(
    serve, toy, tmp_path, tells
):
    toy.write(tmp_path)
    gpu, limit = Gpu(tells=tells), CUDA + 2 * LANES * LANE_BYTES
    async with serve(gpu, gpu_memory_limit=limit) as client:
        toy.write(tmp_path, version=2)
        gpu.own += LANES * LANE_BYTES
        reads = gpu.own
        await client.server.repository.update()
        assert gpu.own == reads, "nothing was opened"
        assert await served_by(client, toy) == 1
        state, reason = index(client)["toy", "2"]
        assert state == "UNAVAILABLE"
        for words in (
            f"{gpu.own:,} of the {limit:,}",
            "--gpu-memory-limit",
            "--max-batch-size",
            "prediction",
        ):
            assert words in reason
        gpu.own -= LANES * LANE_BYTES
        await client.server.repository.update()
        assert await served_by(client, toy) == 2


async def test_a_load_beyond_what_is_free_is_refused_without_a_limit(serve, toy, tmp_path):
    toy.write(tmp_path)
    with pytest.raises(BundleError, match=r"by prediction.*are free: unload a model"):
        async with serve(Gpu(total=OTHERS + CUDA + LANES * LANE_BYTES)):
            pass


async def test_with_a_limit_nothing_is_loaded_while_the_driver_is_silent(serve, toy, tmp_path):
    toy.write(tmp_path)
    gpu = Gpu()
    gpu.answers = False
    with pytest.raises(BundleError, match="does not tell what is free"):
        async with serve(gpu, gpu_memory_limit=40 * GB):
            pass


def test_several_workers_have_equal_shares_of_the_limit(toy, tmp_path):
    folder, gpu = toy.write(tmp_path), Gpu()
    use = GpuUse(name="cuda:0", max_rows=64, lanes=LANES, workers=4, limit=8 * GB)
    footprint = GpuFootprint(gpu, use, gpu.start)
    manifest = read_manifest(folder)
    footprint.check(folder, manifest, trial=True)
    gpu.own += 2 * GB - CUDA
    with pytest.raises(BundleError, match=f"of the {2 * GB:,} that --gpu-memory-limit allows each process"):
        footprint.check(folder, manifest, trial=False)


def test_a_trial_needs_room_for_another_process(toy, tmp_path):
    folder = toy.write(tmp_path)
    gpu = Gpu(total=OTHERS + CUDA + LANES * LANE_BYTES + 10 * MB)
    footprint = GpuFootprint(gpu, GpuUse(name="cuda:0", max_rows=64, lanes=LANES), gpu.start)
    footprint.check(folder, read_manifest(folder), trial=False)
    with pytest.raises(BundleError, match="are free"):
        footprint.check(folder, read_manifest(folder), trial=True)


def test_a_limit_without_a_gpu_is_said_to_be_for_one():
    with pytest.raises(UsageError, match="--device cuda"):
        watch_gpu(Device("cpu"), GpuUse(name="cpu", max_rows=1, lanes=1, limit=1))
    assert watch_gpu(Device("cpu"), GpuUse(name="cpu", max_rows=1, lanes=1)) is None


@pytest.fixture
def cuda(monkeypatch) -> Gpu:
    """A device of CUDA, without its libraries."""
    gpu = Gpu()
    runtime = SimpleNamespace(CudaRuntime=lambda index: SimpleNamespace(use=gpu.start))
    monkeypatch.setitem(sys.modules, "tablefold.server.engines.cuda.cuda_runtime", runtime)
    monkeypatch.setattr("tablefold.server.engines.cuda.identity.gpu_uuid", lambda index: UUID(int=index))
    monkeypatch.setattr("tablefold.server.telemetry.nvml.NvmlGpu", lambda uuid: gpu)
    return gpu


CUDA_DEVICE = SimpleNamespace(name="cuda:1", index=1)


def test_the_gpu_that_serves_is_watched_from_before_the_first_version(cuda):
    use = GpuUse(name="cuda:1", max_rows=1, lanes=1)
    footprint = watch_gpu(CUDA_DEVICE, use)
    assert footprint.use == use
    assert footprint.read().of([os.getpid()]) == CUDA


@pytest.mark.parametrize("error", [UsageError("no driver"), ModuleNotFoundError("No module named 'pynvml'")])
def test_a_server_runs_without_the_drivers_figures_unless_it_has_a_limit_to_hold(
    cuda, monkeypatch, caplog, error
):
    def silent(uuid):
        raise error

    monkeypatch.setattr("tablefold.server.telemetry.nvml.NvmlGpu", silent)
    assert watch_gpu(CUDA_DEVICE, GpuUse(name="cuda:1", max_rows=1, lanes=1)) is None
    assert str(error) in caplog.text
    with pytest.raises(UsageError, match="--gpu-memory-limit cannot be held"):
        watch_gpu(CUDA_DEVICE, GpuUse(name="cuda:1", max_rows=1, lanes=1, limit=GB))


async def test_the_bench_sets_the_servers_figures_beside_the_drivers(
    serve, toy, tmp_path, monkeypatch, capsys
):
    toy.write(tmp_path)
    gpu = Gpu()
    monkeypatch.setattr(gpu_memory, "of_driver", lambda pids: gpu.read().of(pids))
    monkeypatch.setattr(gpu_memory, "of_cards", lambda: gpu.read().used)
    monkeypatch.setattr(gpu_memory, "MAX_ROWS", 200)
    async with serve(gpu) as client:
        found = await asyncio.to_thread(gpu_memory.measure, client.address, 1.0)
    gpu_memory.show({"cards_before": OTHERS, **found})
    assert found["loaded"]["ratio"] == found["after"]["ratio"] == 1
    assert found["loaded"]["models_together"] == LOADED
    assert found["calls"]["calls"] > 10
    assert found["calls"]["failed"] == []
    assert "all cards grew by 510.0 MB" in capsys.readouterr().out
