"""A tiny real bundle, and real servers on ports the kernel chooses: in this process or as a subprocess.

The toy model: probability = sigmoid(dense (NaN: 0) @ weights + sum of table[id mod 97] over the columns).
"""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc.aio
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tablefold.bundle import GRAPH, MANIFEST, WEIGHTS, GoldenRows, Manifest, Method, digest
from tablefold.model_size import Footprint, Parts
from tablefold.protos import inference_pb2, inference_pb2_grpc, tablefold_pb2_grpc
from tablefold.schema import MISSING, CategoricalFeature, DenseFeature, Encoding, FeatureSchema
from tablefold.server.app import Server
from tablefold.server.options import Options

FRONT = os.environ.get("TABLEFOLD_FRONT", "auto")
"""What speaks HTTP/2: the suite runs against either."""
BUCKETS = 97
SCHEMA = FeatureSchema(
    name="toy",
    dense=(DenseFeature(name="age", optional=True), DenseFeature(name="price", optional=True)),
    categorical=(
        CategoricalFeature(name="user", encoding=Encoding.INT, optional=True),
        CategoricalFeature(name="item", encoding=Encoding.HEX32, optional=True),
        CategoricalFeature(name="tags", encoding=Encoding.STRING, slots=2, optional=True),
    ),
)
NO_DENSE = SCHEMA.model_copy(update={"dense": ()})


def draw_rows(rows: int, schema: FeatureSchema = SCHEMA, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random dense float32 [rows, N] with missing values, and ids int64 [rows, C] over all 64 bits."""
    random = np.random.default_rng(seed)
    dense = random.normal(size=(rows, len(schema.dense))).astype(np.float32)
    dense[random.random(dense.shape) < 0.2] = np.nan
    ids = random.integers(MISSING, np.iinfo(np.int64).max, size=(rows, schema.id_columns), endpoint=True)
    ids[random.random(ids.shape) < 0.1] = MISSING
    return dense, ids


def weights_of(version: int, schema: FeatureSchema) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(version)
    table = random.normal(size=BUCKETS).astype(np.float32)
    return random.normal(size=(len(schema.dense), 1)).astype(np.float32), table


def probability_of(
    dense: np.ndarray, ids: np.ndarray, version: int = 1, schema: FeatureSchema = SCHEMA
) -> np.ndarray:
    """The truth, in numpy."""
    weights, table = weights_of(version, schema)
    logit = (np.nan_to_num(dense, nan=0.0) @ weights)[:, 0] + table[np.mod(ids, BUCKETS)].sum(axis=1)
    return (1 / (1 + np.exp(-logit))).astype(np.float32)


def write_bundle(
    repository: Path, name: str = "toy", version: int = 1, schema: FeatureSchema = SCHEMA
) -> Path:
    """A whole bundle, as the exporter would write it; gives the version's folder."""
    folder = repository / name / str(version)
    folder.mkdir(parents=True)
    _write_graph(folder, *weights_of(version, schema), schema)
    dense, ids = draw_rows(8, schema, seed=version)
    manifest = Manifest(
        name=name,
        version=version,
        feature_schema=schema,
        method=Method(name="full", dim=1, rows=BUCKETS, distinct_ids=BUCKETS, known_ids=BUCKETS),
        row_type="fp32",
        footprint=Footprint(parts=Parts(tables=BUCKETS * 4, network=8), baseline_fp32=BUCKETS * 4),
        golden=GoldenRows.of(dense, ids, probability_of(dense, ids, version, schema)),
        files={file: digest(folder / file) for file in (GRAPH, WEIGHTS)},
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    return folder


def _write_graph(folder: Path, weights: np.ndarray, table: np.ndarray, schema: FeatureSchema) -> None:
    nodes = [
        helper.make_node("Mod", ["ids", "buckets"], ["slot"]),
        helper.make_node("Gather", ["table", "slot"], ["values"]),
        helper.make_node("ReduceSum", ["values", "axis"], ["sparse"], keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", schema.id_columns])]
    arrays = {"buckets": np.int64(BUCKETS), "axis": np.array([1], dtype=np.int64), "table": table}
    if schema.dense:
        nodes += [
            helper.make_node("IsNaN", ["dense"], ["missing"]),
            helper.make_node("Where", ["missing", "zero", "dense"], ["filled"]),
            helper.make_node("MatMul", ["filled", "weights"], ["column"]),
            helper.make_node("Squeeze", ["column", "axis"], ["flat"]),
            helper.make_node("Add", ["flat", "sparse"], ["logit"]),
        ]
        inputs += [helper.make_tensor_value_info("dense", TensorProto.FLOAT, ["batch", len(schema.dense)])]
        arrays |= {"zero": np.float32(0), "weights": weights}
    nodes += [helper.make_node("Sigmoid", ["logit" if schema.dense else "sparse"], ["probability"])]
    graph = helper.make_graph(
        nodes,
        "toy",
        inputs,
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch"])],
        [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save_model(model, folder / GRAPH, save_as_external_data=True, location=WEIGHTS, size_threshold=100)


def infer_request(
    dense: np.ndarray | None, ids: np.ndarray, **fields: Any
) -> inference_pb2.ModelInferRequest:
    """A ModelInfer request with raw contents."""
    request = inference_pb2.ModelInferRequest(**{"model_name": "toy", **fields})
    for name, datatype, array in (("dense", "FP32", dense), ("ids", "INT64", ids)):
        if array is not None:
            request.inputs.add(name=name, datatype=datatype, shape=array.shape)
            request.raw_input_contents.append(array.tobytes())
    return request


def probability_in(response: inference_pb2.ModelInferResponse) -> np.ndarray:
    return np.frombuffer(response.raw_output_contents[0], dtype=np.float32)


@dataclass
class Client:
    """Both services of one server."""

    channel: grpc.aio.Channel
    address: str
    http: str
    server: Any

    def __post_init__(self) -> None:
        self.oip = inference_pb2_grpc.GRPCInferenceServiceStub(self.channel)
        self.tablefold = tablefold_pb2_grpc.TablefoldStub(self.channel)

    async def infer(self, dense: np.ndarray | None, ids: np.ndarray, **call: Any) -> np.ndarray:
        return probability_in(await self.oip.ModelInfer(infer_request(dense, ids), **call))


@asynccontextmanager
async def serve_here(
    repository: Path, engine: Any = None, open_engine: Any = None, **options: Any
) -> AsyncIterator[Client]:
    """A real server in this process; `engine`, or what `open_engine` gives, stands in for ONNX Runtime."""
    front = "auto" if "tls_cert" in options else FRONT  # the native one has no TLS
    defaults = {"port": 0, "http_port": 0, "engine_threads": 2, "drain_seconds": 10.0, "poll_seconds": 0}
    server = Server(
        Options(repository=repository, **{"front": front, **defaults, **options}),
        open_engine=open_engine if engine is None else lambda folder, manifest: engine,
    )
    await server.start()
    address = f"127.0.0.1:{server.port}"
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            yield Client(channel, address, f"http://127.0.0.1:{server.http_port}", server)
        finally:
            await server.drain()


class Process:
    """`tablefold serve` as a subprocess."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.line = ""

    @classmethod
    async def start(cls, *arguments: str, **environment: str) -> "Process":
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                *("-W", "error", "-m", "tablefold", "serve", *arguments),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=os.environ | {"COLUMNS": "1000", "NO_COLOR": "1", "TERM": "dumb"} | environment,
            )
        )

    async def ready(self) -> tuple[str, str]:
        """gRPC and HTTP addresses, off the one line it prints."""
        self.line = (await self.process.stdout.readline()).decode()
        if not self.line:
            raise AssertionError((await self.process.stderr.read()).decode())
        address, http = re.match(r"tablefold: ready on (\S+) \(HTTP (\d+)\)", self.line).groups()
        return address, f"http://127.0.0.1:{http}"

    async def end(self) -> tuple[int, str]:
        """Exit code, and what it wrote to stderr."""
        _, err = await self.process.communicate()
        return self.process.returncode, err.decode()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)


def _front(options: tuple[str, ...]) -> list[str]:
    return [] if any(option.startswith("--tls-cert") for option in options) else ["--front", FRONT]


@asynccontextmanager
async def serve_there(repository: Path, *options: str) -> AsyncIterator[Client]:
    process = await Process.start(
        "--repository", str(repository), "--port", "0", "--http-port", "0", *_front(options), *options
    )
    try:
        address, http = await process.ready()
        async with grpc.aio.insecure_channel(address) as channel:
            yield Client(channel, address, http, process)
    finally:
        if process.process.returncode is None:
            process.terminate()
            await process.end()


async def status_of(call: Awaitable[Any]) -> tuple[str, str]:
    """The status and message a call ends with."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name, error.details() or ""
    return "OK", ""


async def until(condition: Callable[[], Any]) -> None:
    """For what another process or thread is about to do; the test's own time limit is the backstop."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (the server sets no event for its clients)
            await asyncio.sleep(0.005)


@pytest.fixture(scope="session")
def toy() -> SimpleNamespace:
    """The words of this file."""
    return SimpleNamespace(
        schema=SCHEMA,
        no_dense=NO_DENSE,
        rows=draw_rows,
        probability=probability_of,
        write=write_bundle,
        request=infer_request,
        probability_in=probability_in,
        here=serve_here,
        there=serve_there,
        launch=Process.start,
        status=status_of,
        until=until,
    )


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sound model, `toy`, version 1. Not to be changed."""
    root = tmp_path_factory.mktemp("repository")
    write_bundle(root)
    return root


@pytest.fixture
async def client(repository: Path) -> AsyncIterator[Client]:
    """A real server with the real engine, in this process."""
    async with serve_here(repository) as served:
        yield served
