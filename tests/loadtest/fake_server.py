"""A server with known habits, in a process of its own: `python fake_server.py '{"delay": [0.01, 0.05]}'`.

It speaks both protocols on one port, prints that port, and scores a row by its first id: (id % 1000) / 1000.
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import grpc
import numpy as np
import psutil

from tablefold.bundle import GoldenRows, Manifest, Method
from tablefold.model_size import Footprint, Parts
from tablefold.protos import inference_pb2 as oip
from tablefold.protos import inference_pb2_grpc as oip_grpc
from tablefold.protos import tablefold_pb2 as own
from tablefold.protos import tablefold_pb2_grpc as own_grpc
from tablefold.schema import CategoricalFeature, DenseFeature, Encoding, FeatureSchema

MODEL = "ctr"
SCHEMA = FeatureSchema(
    name="criteo",
    dense=tuple(DenseFeature(name=f"I{i}") for i in range(1, 14)),
    categorical=tuple(CategoricalFeature(name=f"C{i}", encoding=Encoding.HEX32) for i in range(1, 27)),
)


class Habits:
    """What every scoring call goes through, whatever its protocol."""

    def __init__(
        self,
        *,
        delay: tuple[float, float] = (0.0, 0.0),
        shed_every: int = 0,
        stall: tuple[int, float] = (0, 0.0),
        refuse: str = "",
        spoil: str = "",
        spoil_after: int = 0,
        change_after: int = 1 << 60,
        max_rows: int = 1 << 60,
        speaks: tuple[str, ...] = ("oip", "tablefold"),
        tensors: str = "two",
        serial: float = 0.0,
        token: str = "",
        port: int = 0,
        tls: tuple[str, str] | None = None,
        client_ca: str = "",
    ) -> None:
        self.delay = delay
        self.shed_every = shed_every
        self.stall = stall
        self.refuse = refuse
        self.spoil = spoil
        self.spoil_after = spoil_after
        self.change_after = change_after
        self.max_rows = max_rows
        self.speaks = speaks
        self.tensors = tensors
        self.serial = serial
        self.token = token
        self.port = port
        self.tls = tls
        self.client_ca = client_ca
        self.turn = asyncio.Lock()
        self.calls = 0
        self.shed = 0
        self.stalled_until = 0.0
        self.took: list[float] = []
        self.random = random.Random(1)

    @property
    def version(self) -> int:
        """Of the model: another one after some calls."""
        return 10 if self.calls <= self.change_after else 11

    async def go_through(self, context: grpc.aio.ServicerContext, rows: int) -> None:
        now = time.perf_counter()
        self.calls += 1
        if rows > self.max_rows:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{rows} rows\x1b[31m are too many")
        if self.refuse:
            await context.abort(grpc.StatusCode[self.refuse], "as it was told to")
        if self.shed_every and self.calls % self.shed_every == 0:
            self.shed += 1
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")
        if self.calls == self.stall[0]:
            self.stalled_until = now + self.stall[1]
        if now < self.stalled_until:
            await asyncio.sleep(self.stalled_until - now)
        if self.serial:
            async with self.turn:
                await asyncio.sleep(self.serial)
        if self.delay[1]:
            await asyncio.sleep(self.random.uniform(*self.delay))
        self.took.append(time.perf_counter() - now)

    def score(self, ids: np.ndarray) -> np.ndarray:
        scores = (ids % 1000 / 1000).astype(np.float32)
        if not self.spoil or self.calls <= self.spoil_after:
            return scores
        if self.spoil == "nan":
            scores[-1] = np.nan
        return scores[:-1] if self.spoil == "short" else scores


class Oip(oip_grpc.GRPCInferenceServiceServicer):
    def __init__(self, habits: Habits) -> None:
        self.habits = habits

    async def ModelMetadata(self, request, context):  # noqa: N802
        if request.name != MODEL:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no model {request.name!r}")
        tensor = oip.ModelMetadataResponse.TensorMetadata
        if self.habits.tensors == "many":
            inputs = [tensor(name=f.name, datatype="INT32", shape=[-1]) for f in SCHEMA.categorical]
            inputs += [tensor(name=f.name, datatype="FP64", shape=[-1, 1]) for f in SCHEMA.dense]
        elif self.habits.tensors == "text":
            inputs = [tensor(name="prompt", datatype="BYTES", shape=[-1, 1])]
        else:
            inputs = [
                tensor(name="dense", datatype="FP32", shape=[-1, 13]),
                tensor(name="ids", datatype="INT64", shape=[-1, 26]),
            ]
        outputs = [tensor(name="probability", datatype="FP32", shape=[-1])]
        return oip.ModelMetadataResponse(name=MODEL, versions=["9", "10"], inputs=inputs, outputs=outputs)

    async def ModelInfer(self, request, context):  # noqa: N802
        await self.habits.go_through(context, request.inputs[0].shape[0])
        if self.habits.tensors == "many":
            ids = np.frombuffer(request.raw_input_contents[0], "<i4")
        else:
            ids = np.frombuffer(request.raw_input_contents[1], "<i8").reshape(request.inputs[1].shape)[:, 0]
        scores = self.habits.score(ids)
        reply = oip.ModelInferResponse(
            model_name=MODEL, model_version=str(self.habits.version), raw_output_contents=[scores.tobytes()]
        )
        reply.outputs.add(name="probability", datatype="FP32", shape=[len(scores)])
        return reply

    async def ModelStatistics(self, request, context):  # noqa: N802
        """As if every two calls had shared a batch, after 2 ms in the queue and 4 in the engine."""
        calls = self.habits.calls
        statistics = oip.ModelStatistics(
            name=MODEL,
            version="10",
            inference_count=10 * calls,
            execution_count=calls // 2,
        )
        for name, milliseconds in (("queue", 2), ("compute_infer", 4)):
            duration = getattr(statistics.inference_stats, name)
            duration.count, duration.ns = calls, calls * milliseconds * 10**6
        return oip.ModelStatisticsResponse(model_stats=[statistics])


class Own(own_grpc.TablefoldServicer):
    def __init__(self, habits: Habits) -> None:
        self.habits = habits

    async def GetModel(self, request, context):  # noqa: N802
        if request.model != MODEL:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no model {request.model!r}")
        manifest = Manifest(
            name=MODEL,
            version=10,
            feature_schema=SCHEMA,
            method=Method(name="full", dim=4, rows=10, distinct_ids=10, known_ids=10),
            row_type="fp32",
            footprint=Footprint(parts=Parts(tables=100, network=60), baseline_fp32=1600),
            metrics={"test_auc": 0.75},
            golden=GoldenRows(dense=[], ids=[], probability=[]),
            files={},
        )
        return own.GetModelResponse(name=MODEL, version=10, manifest_json=manifest.model_dump_json())

    async def Predict(self, request, context):  # noqa: N802
        await self.habits.go_through(context, 0)
        ids = next(np.array(f.ids.values) for f in request.candidates if f.name == "C1")
        scores = self.habits.score(ids)
        return own.PredictResponse(
            probability=scores, version=self.habits.version, queue_seconds=0.002, compute_seconds=0.004
        )

    async def GetFootprint(self, request, context):  # noqa: N802
        memory = psutil.Process().memory_info()
        process = own.GetFootprintResponse.Process(
            pid=os.getpid(), resident_bytes=memory.rss, resident_peak_bytes=memory.rss
        )
        return own.GetFootprintResponse(processes=[process])


class Guard(grpc.aio.ServerInterceptor):
    """Lets only calls with the token through."""

    def __init__(self, token: str) -> None:
        self.token = token

    async def intercept_service(self, continuation, details):
        async def refuse(request, context):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no valid token")

        if ("authorization", f"Bearer {self.token}") in details.invocation_metadata:
            return await continuation(details)
        return grpc.unary_unary_rpc_method_handler(refuse)


def credentials(cert: str, key: str, client_ca: str) -> grpc.ServerCredentials:
    trusted = Path(client_ca).read_bytes() if client_ca else None
    pair = (Path(key).read_bytes(), Path(cert).read_bytes())
    return grpc.ssl_server_credentials([pair], trusted, bool(trusted))


async def main() -> None:
    habits = Habits(**json.loads(sys.argv[1]))
    server = grpc.aio.server(interceptors=[Guard(habits.token)] if habits.token else [])
    if "oip" in habits.speaks:
        oip_grpc.add_GRPCInferenceServiceServicer_to_server(Oip(habits), server)
    if "tablefold" in habits.speaks:
        own_grpc.add_TablefoldServicer_to_server(Own(habits), server)
    if habits.tls is None:
        port = server.add_insecure_port(f"127.0.0.1:{habits.port}")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials(*habits.tls, habits.client_ca))
    await server.start()
    print(port, flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    print(json.dumps({"calls": habits.calls, "shed": habits.shed, "took": habits.took}), flush=True)
    await server.stop(0)


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(main())
    except ImportError:
        asyncio.run(main())
