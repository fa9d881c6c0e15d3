"""The server: one port for both services, from loading to the drain.

Knows which parts there are and in what order they start and stop. Does not know what any of them does.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from tablefold.bundle import Manifest
from tablefold.errors import UsageError
from tablefold.protos import inference_pb2, inference_pb2_grpc, tablefold_pb2, tablefold_pb2_grpc
from tablefold.server.batcher import Batcher, BatchLimits
from tablefold.server.engine import Device, Engine, OnnxEngine
from tablefold.server.guard import Guard
from tablefold.server.health import Health
from tablefold.server.lanes import Lanes, available_cores
from tablefold.server.metrics import Metrics
from tablefold.server.monitoring import Monitoring
from tablefold.server.oip import InferenceService
from tablefold.server.predict import PredictService
from tablefold.server.repository import Repository

log = logging.getLogger(__name__)

SERVICES = (
    inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name,
    tablefold_pb2.DESCRIPTOR.services_by_name["Tablefold"].full_name,
    health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
    reflection.SERVICE_NAME,
)

LAME_DUCK = 1.0
"""Seconds a draining server goes on while calls keep coming."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the command line says. Port 0: the kernel chooses one."""

    repository: Path
    host: str = "127.0.0.1"
    port: int = 8001
    http_port: int = 8002
    poll_seconds: float = 2.0
    """Between two looks at the repository; 0: none, new versions come by call."""
    device: str = "cpu"
    lanes: int | None = None
    """None: as many as there are cores."""
    limits: BatchLimits = field(default_factory=BatchLimits)
    max_message_bytes: int = 16 << 20
    drain_seconds: float = 30.0


class Server:
    """`start`, then `drain`; both once. Belongs to the running event loop."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._device = Device(options.device)
        self._lanes = Lanes(options.lanes or available_cores())
        self._metrics = Metrics()
        self._health = Health(SERVICES)
        self._watch: asyncio.Task[None] | None = None
        self._guard = Guard(self._metrics, self._health.draining)
        self._grpc = grpc.aio.server(
            interceptors=[self._guard],
            options=[
                ("grpc.max_receive_message_length", options.max_message_bytes),
                ("grpc.max_send_message_length", options.max_message_bytes),
                ("grpc.so_reuseport", 0),  # else a second server on the same port would take half the calls
            ],
        )

    async def start(self, open_engine: Callable[[Path, Manifest], Engine] | None = None) -> str:
        """Listen, load, verify and warm, then serve; gives the line that says so.

        `open_engine` stands in for ONNX Runtime. Raises UsageError (a port in use, no such device) and
        BundleError (nothing to serve).
        """
        options = self._options
        self.port = self._listen()
        self.repository = await Repository.open(
            options.repository,
            open_engine or partial(OnnxEngine, device=self._device),
            self._make_batcher,
            warm_rows=options.limits.max_batch_rows,
        )
        if options.poll_seconds:
            self._watch = asyncio.create_task(self.repository.watch(options.poll_seconds))
        self._monitoring = Monitoring(
            options.host, options.http_port, self._metrics.registry, lambda: self.serving
        )
        self.http_port = self._monitoring.port
        inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
            InferenceService(
                self.repository,
                self._health,
                self._metrics,
                max_rows=options.limits.max_queue_rows,
                admin=False,
            ),
            self._grpc,
        )
        tablefold_pb2_grpc.add_TablefoldServicer_to_server(PredictService(self.repository), self._grpc)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        reflection.enable_server_reflection(SERVICES, self._grpc)
        await self._grpc.start()
        models = ", ".join(f"{model.name}:{model.version}" for model in self.repository.served())
        return (
            f"tablefold: ready on {_address(options.host, self.port)} (HTTP {self.http_port}), "
            f"models: {models} on {self._device.name}"
        )

    @property
    def serving(self) -> bool:
        """May new work come here?"""
        return self._health.serving

    async def drain(self) -> None:
        """Say NOT_SERVING, then refuse what comes, finish what is in flight up to `drain_seconds`, stop.

        gRPC's own `stop` cancels every call that Python has not seen yet, and under load many wait there.
        So the server serves on until they are through (it is quiet, or LAME_DUCK seconds have passed), then
        says UNAVAILABLE to clients that still come, and stops only then.
        """
        self._health.draining.set()
        if self._watch is not None:
            self._watch.cancel()
        end = time.monotonic() + self._options.drain_seconds
        lame_duck = min(LAME_DUCK, self._options.drain_seconds / 4)
        await self._guard.quiet(lame_duck)
        self.repository.close()
        await self._guard.quiet(lame_duck)
        await self._grpc.stop(max(0.0, end - time.monotonic()))
        self._lanes.close()
        self._monitoring.close()

    def _listen(self) -> int:
        host, port = self._options.host, self._options.port
        try:
            return self._grpc.add_insecure_port(_address(host, port))
        except RuntimeError as error:
            raise UsageError(
                f"cannot listen on {host}:{port}: it is in use or not an address of this machine; "
                "give another --port or --host"
            ) from error

    def _make_batcher(self, engine: Engine, manifest: Manifest) -> Batcher:
        metrics = self._metrics.of_model(manifest.name, manifest.footprint.parts, manifest.version)
        return Batcher(engine, self._lanes, metrics, name=manifest.name, limits=self._options.limits)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def run(options: Options) -> None:
    """Serve until SIGTERM or SIGINT, then drain. Raises what `Server.start` raises."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(options))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ModuleNotFoundError:  # Windows has none
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _serve(options: Options) -> None:
    server = Server(options)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(await server.start(), flush=True)
    await stop.wait()
    log.info("draining, up to %g seconds", options.drain_seconds)
    await server.drain()
