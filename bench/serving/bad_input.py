"""Mutated and random messages: no crash, no hang, no UNKNOWN, no growth.

    python -m bench.serving.bad_input [--messages 200000]

Sound requests of both services with bytes changed, cut, repeated or put in, and tensors with wrong shapes,
types and lengths. Every call must end within ten seconds with a status that the documentation lists.
"""

import argparse
import asyncio
import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc.aio
import numpy as np
import psutil
import uvloop

from bench.random_bundle import Ids, write_bundle
from bench.serving.served import request, serving
from tablefold.protos import tablefold_pb2 as native

INFER, PREDICT = "/inference.GRPCInferenceService/ModelInfer", "/tablefold.v1.Tablefold/Predict"
ALLOWED = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}
IN_FLIGHT = 32


def sound(ids: Ids, rng: np.random.Generator) -> list[tuple[str, bytes]]:
    """Requests that are answered: of both services, small and larger."""
    names = [f"C{column}" for column in range(1, 27)]
    messages = []
    for rows in (1, 3, 40):
        dense, known = ids.rows(rows, rng)
        messages.append((INFER, request("ads", dense, known).SerializeToString()))
        predict = native.PredictRequest(model="ads")
        predict.candidates.add(name="I1").numbers.values.extend(dense[:, 0].tolist())
        for name, column in zip(names, known.T, strict=True):
            predict.candidates.add(name=name).ids.values.extend(column.tolist())
        predict.context.add(name="I2").numbers.values.append(1.0)
        messages.append((PREDICT, predict.SerializeToString()))
    return messages


def mutated(message: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, and sometimes cut, repeated, put in, or all of them random."""
    content = bytearray(message)
    for place in rng.integers(0, len(content), rng.integers(1, 8)):
        content[place] = int(rng.integers(256))
    kind, place = rng.random(), int(rng.integers(0, len(content)))
    if kind < 0.2:
        return bytes(content[:place])
    if kind < 0.3:
        return bytes(content[:place] + content[place // 2 :])
    if kind < 0.4:
        return bytes(content[:place] + rng.bytes(int(rng.integers(1, 20))) + content[place:])
    if kind < 0.45:
        return rng.bytes(int(rng.integers(0, 300)))
    return bytes(content)


def misshapen(ids: Ids, rng: np.random.Generator) -> bytes:
    """A ModelInfer request that parses, with something wrong about a tensor."""
    message = request("ads", *ids.rows(int(rng.integers(1, 5)), rng))
    tensor = message.inputs[int(rng.integers(2))]
    match int(rng.integers(6)):
        case 0:
            del tensor.shape[:]
            tensor.shape.extend(rng.integers(-(2**62), 2**62, rng.integers(0, 4)).tolist())
        case 1:
            tensor.datatype = str(rng.choice(["FP64", "INT32", "BYTES", "", "x" * 5000]))
        case 2:
            message.raw_input_contents[0] = rng.bytes(int(rng.integers(0, 500)))
        case 3:
            del message.raw_input_contents[:]
            tensor.contents.fp32_contents.extend(rng.normal(size=int(rng.integers(0, 60))).tolist())
        case 4:
            tensor.name = str(rng.choice(["dense", "ids", "x", ""]))
        case _:
            message.raw_input_contents[0] = np.full(13 * message.inputs[0].shape[0], np.inf, "<f4").tobytes()
    return message.SerializeToString()


async def main() -> None:
    """One line of JSON; a failure where a status is not allowed or the server is not what it was."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=200_000)
    given = parser.parse_args()
    rng, statuses = np.random.default_rng(0), Counter[str]()
    with TemporaryDirectory() as root:
        ids = write_bundle(Path(root), "ads", 1, 100_000)
        async with serving(Path(root)) as server, grpc.aio.insecure_channel(server.address) as channel:
            sends = {method: channel.unary_unary(method) for method in (INFER, PREDICT)}
            seeds = sound(ids, rng)
            left = iter(range(given.messages))
            resident: list[float] = []

            async def sender() -> None:
                for number in left:  # shared by all
                    method, message = seeds[int(rng.integers(len(seeds)))]
                    wrong = misshapen(ids, rng) if rng.random() < 0.3 else None
                    method, message = (INFER, wrong) if wrong else (method, mutated(message, rng))
                    try:
                        await sends[method](message, timeout=10)
                        statuses["OK"] += 1
                    except grpc.aio.AioRpcError as error:
                        statuses[error.code().name] += 1
                    if number % (given.messages // 10) == given.messages // 20:
                        resident.append(psutil.Process(server.pids[0]).memory_info().rss / 1e6)

            await asyncio.gather(*(sender() for _ in range(IN_FLIGHT)))
            for method, message in seeds:
                await sends[method](message, timeout=10)  # and it still answers sound ones
    print(json.dumps({"statuses": statuses, "resident_mb": [round(megabytes, 1) for megabytes in resident]}))
    if not set(statuses) <= ALLOWED:
        raise SystemExit(f"not allowed: {set(statuses) - ALLOWED}")


if __name__ == "__main__":
    uvloop.run(main())
