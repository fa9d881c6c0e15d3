"""The GPU's memory as the server tells it, beside the driver's own figure; and does it grow under calls?

    python -m bench.gpu.memory --repository DIR [--seconds 20] [--json FILE] [-- OPTIONS OF serve]

Needs the server's install only. For each model: predicted before it was loaded, and taken once it is. Then
calls of 1 to 4,096 of the golden rows, and the same again. The ratio is what the server tells of its
processes over what NVML tells of them here; it should be within 5 % of 1. Where NVML knows no processes (in a
container) only the growth of all cards since before the start can stand beside the models: CUDA itself is in
that, twice until the process that tries bundles has left. Ends with 1 where a call fails or the ratio is
further off.
"""

import argparse
import json
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pynvml

from tablefold.bundle import Manifest
from tablefold.protos import inference_pb2 as oip
from tablefold.protos import inference_pb2_grpc, tablefold_pb2_grpc
from tablefold.protos import tablefold_pb2 as pb

MAX_ROWS = 4096
CLIENTS = 8
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


def of_driver(pids: set[int]) -> int | None:
    """What NVML says of the processes, over all cards; None where it names none of them."""
    found = []
    try:
        pynvml.nvmlInit()
        for index in range(pynvml.nvmlDeviceGetCount()):
            card = pynvml.nvmlDeviceGetHandleByIndex(index)
            for process in pynvml.nvmlDeviceGetComputeRunningProcesses(card):
                if process.pid in pids and process.usedGpuMemory is not None:
                    found.append(process.usedGpuMemory)
    except pynvml.NVMLError:
        return None
    return sum(found) if found else None


def of_cards() -> int | None:
    """What is taken of all cards, by whomever; None without a driver."""
    try:
        pynvml.nvmlInit()
        cards = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return sum(pynvml.nvmlDeviceGetMemoryInfo(card).used for card in cards)
    except pynvml.NVMLError:
        return None


def figures(stub: Any) -> dict[str, Any]:
    """What the server tells and what the driver tells, in bytes; None: neither knows."""
    reply = stub.GetFootprint(pb.GetFootprintRequest())
    models = {}
    for model in reply.models:
        known = model.HasField("gpu_weights_bytes")
        models[f"{model.name}:{model.version}"] = {
            "predicted": model.gpu_predicted_bytes if known else None,
            "weights": model.gpu_weights_bytes if known else None,
            "work": model.gpu_work_bytes if known else None,
            "loaded": model.gpu_weights_bytes + model.gpu_work_bytes if known else None,
            "peak": model.gpu_peak_bytes if known else None,
        }
    told = [process.gpu_bytes for process in reply.processes if process.HasField("gpu_bytes")]
    server, driver = (sum(told) if told else None), of_driver({process.pid for process in reply.processes})
    loaded = [model["loaded"] for model in models.values()]
    return {
        "models": models,
        "models_together": sum(loaded) if None not in loaded else None,
        "server": server,
        "driver": driver,
        "ratio": server / driver if server and driver else None,
        "cards": of_cards(),
        "gpu": {"name": reply.gpu.name, "total": reply.gpu.total_bytes, "free": reply.gpu.free_bytes},
    }


def requests(stub: Any) -> list[oip.ModelInferRequest]:
    """Calls of random sizes, with the golden rows of each model over and over."""
    made, rng = [], np.random.default_rng(0)
    for model in stub.GetFootprint(pb.GetFootprintRequest()).models:
        reply = stub.GetModel(pb.GetModelRequest(model=model.name, version=model.version))
        manifest = Manifest.parse(reply.manifest_json)
        dense, ids, _ = manifest.golden.arrays(manifest.feature_schema)
        for rows in [1, MAX_ROWS, *np.exp(rng.uniform(0, np.log(MAX_ROWS), 30)).astype(int).tolist()]:
            message = oip.ModelInferRequest(model_name=model.name, model_version=str(model.version))
            for name, datatype, array in (("dense", "FP32", dense), ("ids", "INT64", ids)):
                if array.shape[1]:
                    drawn = np.resize(array, (rows, array.shape[1]))
                    message.inputs.add(name=name, datatype=datatype, shape=drawn.shape)
                    message.raw_input_contents.append(drawn.tobytes())
            made.append(message)
    return made


def call(address: str, asked: list[oip.ModelInferRequest], seed: int, end: float, done: list[str]) -> None:
    """One call after the other until the end; adds how each went to `done`."""
    rng = np.random.default_rng(seed)
    with grpc.insecure_channel(address, OPTIONS) as channel:
        stub = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        while time.perf_counter() < end:
            try:
                stub.ModelInfer(asked[rng.integers(len(asked))], timeout=30)
                done.append("")
            except grpc.RpcError as error:
                done.append(f"{error.code().name}: {error.details()}")


def under_calls(
    address: str, asked: list[oip.ModelInferRequest], seconds: float, pids: set[int]
) -> dict[str, Any]:
    """Calls for so many seconds; what the driver says meanwhile, twenty times."""
    done: list[str] = []
    began = time.perf_counter()
    end = began + seconds
    threads = [
        threading.Thread(target=call, args=(address, asked, seed, end, done)) for seed in range(CLIENTS)
    ]
    for thread in threads:
        thread.start()
    over_time = []
    while (now := time.perf_counter()) < end:
        over_time.append(
            {
                "second": round(now - began, 1),
                "driver": of_driver(pids),
                "cards": of_cards(),
                "calls": len(done),
            }
        )
        time.sleep(seconds / 20)
    for thread in threads:
        thread.join()
    failed = sorted({text for text in done if text})
    return {"seconds": seconds, "calls": len(done), "failed": failed[:5], "over_time": over_time}


def measure(address: str, seconds: float) -> dict[str, Any]:
    """Before, under and after calls."""
    with grpc.insecure_channel(address, OPTIONS) as channel:
        stub = tablefold_pb2_grpc.TablefoldStub(channel)
        pids = {process.pid for process in stub.GetFootprint(pb.GetFootprintRequest()).processes}
        loaded, asked = figures(stub), requests(stub)
        calls = under_calls(address, asked, seconds, pids)
        after = figures(stub)
    return {"loaded": loaded, "calls": calls, "after": after}


def less(size: int | None, before: int | None) -> int | None:
    """What was added; None where one of them is unknown."""
    return None if size is None or before is None else size - before


def megabytes(size: int | None) -> str:
    """For people."""
    return "unknown" if size is None else f"{size / 1e6:,.1f} MB"


def show(found: dict[str, Any]) -> None:
    """Print a line for each figure."""
    for moment in ("loaded", "after"):
        now = found[moment]
        for name, model in now["models"].items():
            parts = ", ".join(f"{part} {megabytes(size)}" for part, size in model.items())
            share = model["predicted"] / model["loaded"] if model["loaded"] else float("nan")
            print(f"{moment}: {name}: {parts}; predicted / loaded {share:.2f}")
        ratio = "unknown" if now["ratio"] is None else f"{now['ratio']:.4f}"
        print(
            f"{moment}: the server says {megabytes(now['server'])}, of it its models "
            f"{megabytes(now['models_together'])}; NVML says {megabytes(now['driver'])}; ratio {ratio}; "
            f"all cards grew by {megabytes(less(now['cards'], found['cards_before']))} since before the start"
        )
    calls = found["calls"]
    print(f"{calls['calls']:,} calls in {calls['seconds']:g} s, failed: {calls['failed'] or 'none'}")
    for name in ("driver", "cards"):
        print(f"growth under calls, {name}: {megabytes(less(found['after'][name], found['loaded'][name]))}")


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", type=Path)
    parser.add_argument("options", nargs="*", help="of `serve`, after --")
    given = parser.parse_args()
    command = [sys.executable, "-m", "tablefold", "serve", "--repository", str(given.repository)]
    command += ["--port", "0", "--http-port", "0", "--device", given.device, *given.options]
    began, before = time.perf_counter(), of_cards()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            ready = re.match(r"tablefold: ready on (\S+)", line)
            if ready is None:
                print(f"the server did not start: {line}")
                return 1
            print(f"{line.strip()} after {time.perf_counter() - began:.1f} s", flush=True)
            found = {"cards_before": before, **measure(ready[1], given.seconds)}
        finally:
            process.terminate()
    show(found)
    if given.json is not None:
        given.json.write_text(json.dumps({"command": command, **found}, indent=1))
    ratios = [found[moment]["ratio"] for moment in ("loaded", "after")]
    right = all(ratio is None or abs(ratio - 1) <= 0.05 for ratio in ratios)
    return 0 if right and not found["calls"]["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
