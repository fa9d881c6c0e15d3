"""Does the GPU give what the CPU and torch give, wholly on the device, and how fast? One table.

    make gpu-check

Trains and exports a small model, opens it on both devices as the server does, and compares probabilities,
places of nodes, seconds from 1 to 65,536 rows (host to host: with the copies), and device memory as NVML has
it. Skips with a reason where there is no GPU; ends with 1 where a probability differs or a node is elsewhere.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime as ort
from rich.console import Console
from rich.table import Table

from tablefold.bundle import GRAPH, TOLERANCE, read_manifest
from tablefold.errors import UsageError
from tablefold.exporter.export import export
from tablefold.logs import Log, read_splits
from tablefold.server.engines.device import Device
from tablefold.server.engines.onnx import OnnxEngine
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.training.run import train

DATA = "synthetic:60000"
ROWS = (1, 16, 256, 1024, 4096, 16_384, 65_536)
SECONDS = 1.0


def bundle_and_checkpoint(folder: Path) -> tuple[Path, Checkpoint, Log]:
    """The version's folder, its checkpoint, and rows to ask about."""
    schema, splits = read_splits(DATA)
    config = TrainConfig(method="lhf+mlet", dim=16, epochs=1)
    checkpoint = train(schema, splits, config, folder / "checkpoint", data=DATA)
    return export(checkpoint, folder / "repository", "check"), checkpoint, checkpoint.validation


def rows_of(log: Log, count: int) -> Log:
    """`count` rows, the log's over and over."""
    return Log(
        dense=np.resize(log.dense, (count, log.dense.shape[1])),
        ids=np.resize(log.ids, (count, log.ids.shape[1])),
        label=None,
    )


def seconds(engine: OnnxEngine, log: Log) -> float:
    """Median time of a call."""
    taken: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(taken) < 3:
        started = time.perf_counter()
        engine.run(log.dense, log.ids)
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def places(folder: Path, device: Device, log: Log) -> Counter[str]:
    """Nodes by execution provider, as ONNX Runtime's profile of a run has them."""
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder.parent / "profile")
    options.log_severity_level = 3
    session = ort.InferenceSession(folder / GRAPH, options, providers=device.providers)
    session.run(["probability"], {"dense": log.dense, "ids": log.ids})
    events = json.loads(Path(session.end_profiling()).read_text())
    nodes = {
        event["args"]["node_index"]: event["args"]["provider"]
        for event in events
        if event.get("cat") == "Node" and "provider" in event.get("args", {})
    }
    return Counter(nodes.values())


def device_bytes(index: int) -> int:
    """Of this process, or of the whole GPU where NVML does not tell them apart."""
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
        if process.pid == os.getpid() and process.usedGpuMemory:
            return int(process.usedGpuMemory)
    return int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)


def main() -> int:
    """The exit code."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    try:
        device = Device("cuda:0")
    except UsageError as error:
        print(f"skipped: {error}")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder, checkpoint, log = bundle_and_checkpoint(Path(temporary))
        manifest = read_manifest(folder)
        cpu = OnnxEngine(folder, manifest, Device("cpu"))
        first = OnnxEngine(folder, manifest, device)  # brings CUDA's own memory
        first.run(log.dense[:16], log.ids[:16])
        before = device_bytes(device.index)
        gpu = OnnxEngine(folder, manifest, device)
        gpu.run(log.dense[:16], log.ids[:16])
        loaded = device_bytes(device.index) - before
        nodes = places(folder, device, rows_of(log, 16))
        table = Table(title=f"{DATA}, lhf+mlet; nodes: {dict(nodes)}")
        for column in ("rows", "CUDA - CPU", "CUDA - torch", "CPU ms", "CUDA ms", "CUDA rows/s", "/ CPU"):
            table.add_column(column, justify="right")
        right, results = set(nodes) == {device.provider}, []
        for count in ROWS:
            asked = rows_of(log, count)
            got = gpu.run(asked.dense, asked.ids)
            from_cpu = float(np.abs(got - cpu.run(asked.dense, asked.ids)).max())
            from_torch = float(np.abs(got - checkpoint.model.predict(asked)).max())
            right = right and from_cpu <= TOLERANCE and from_torch <= TOLERANCE
            on_cpu, on_gpu = seconds(cpu, asked), seconds(gpu, asked)
            results.append(
                {"rows": count, "from_cpu": from_cpu, "from_torch": from_torch, "cpu": on_cpu, "cuda": on_gpu}
            )
            figures = (f"{from_cpu:.1e}", f"{from_torch:.1e}", f"{on_cpu * 1e3:.3f}", f"{on_gpu * 1e3:.3f}")
            table.add_row(f"{count:,}", *figures, f"{count / on_gpu:,.0f}", f"{on_cpu / on_gpu:.2f}x")
        predicted = manifest.footprint.parts.total
        table.caption = f"device memory of one more engine: {loaded:,} bytes by NVML, {predicted:,} predicted"
        Console(width=120).print(table)
        print(json.dumps({"nodes": nodes, "loaded": loaded, "predicted": predicted, "results": results}))
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
