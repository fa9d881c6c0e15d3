"""The server: one port for both services, from loading to the drain.

Knows which parts there are and in what order they start and stop. Does not know what any of them does.
"""

import asyncio
import faulthandler
import gc
import logging
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from tablefold.bundle import Manifest
from tablefold.errors import UsageError
from tablefold.protos import inference_pb2, inference_pb2_grpc, tablefold_pb2, tablefold_pb2_grpc
from tablefold.server.engines.onnx import Device, Engine, OnnxEngine
from tablefold.server.models.footprint import Processes, ServerMemory
from tablefold.server.models.lease import on_wanted, stop_listening
from tablefold.server.models.model import Opened, WarmUp
from tablefold.server.models.repository import Repository
from tablefold.server.options import Options
from tablefold.server.port import address_of
from tablefold.server.queue.batcher import Batcher
from tablefold.server.queue.engine_threads import Lanes, available_cores
from tablefold.server.telemetry.memory import use_one_heap
from tablefold.server.telemetry.metrics import Metrics
from tablefold.server.telemetry.monitoring import Monitoring
from tablefold.server.wire.guard import Guard
from tablefold.server.wire.health import Health
from tablefold.server.wire.oip import InferenceService
from tablefold.server.wire.reflection import reflection_service
from tablefold.server.wire.security import TokenCheck, read_token, tls_credentials
from tablefold.server.wire.tablefold_v1 import PredictService

log = logging.getLogger(__name__)

SERVICES = (
    inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name,
    tablefold_pb2.DESCRIPTOR.services_by_name["Tablefold"].full_name,
    health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
    reflection.SERVICE_NAME,
)

PROTOS = (
    inference_pb2.DESCRIPTOR,
    tablefold_pb2.DESCRIPTOR,
    health_pb2.DESCRIPTOR,
    reflection_pb2.DESCRIPTOR,
)

LAME_DUCK = 1.0
"""Seconds a draining server goes on while calls keep coming."""


class Server:
    """`start`, then `drain`; both once. Belongs to the running event loop.

    `processes`: those of the whole server, where it has several; they count as one footprint.
    """

    def __init__(self, options: Options, processes: Callable[[], Processes] = Processes.only_this) -> None:
        self._options = options
        self._memory = ServerMemory(processes, options.memory_limit)
        self._device = Device(options.device)
        self.leave = asyncio.Event()
        """Set when the server should be drained: by a signal, or because an engine hangs."""
        self._lanes = Lanes(
            options.lanes or available_cores(), stuck_seconds=options.stuck_seconds, on_stuck=self.leave.set
        )
        self._metrics = Metrics()
        self._health = Health(SERVICES)
        self._watch: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._guard = Guard(self._metrics, self._health.draining)
        self._tls = tls_credentials(options.tls_cert, options.tls_key, options.tls_client_ca)
        self._grpc = grpc.aio.server(
            interceptors=self._token_check(),
            options=[
                ("grpc.max_receive_message_length", options.max_message_bytes),
                ("grpc.max_send_message_length", options.max_message_bytes),
                ("grpc.so_reuseport", 1),  # `Port` keeps it for us alone
                ("grpc.keepalive_time_ms", 60_000),  # a client that vanished without a word is let go
            ],
        )

    async def start(self, open_engine: Callable[[Path, Manifest], Engine] | None = None) -> str:
        """Load, verify and warm, then listen and serve; gives the models' names.

        `open_engine` stands in for ONNX Runtime. Raises UsageError (a port in use, no such device) and
        BundleError (nothing to serve).
        """
        options = self._options
        on_wanted(self._let_go)
        self.repository = Repository(
            options.repository,
            open_engine or partial(OnnxEngine, device=self._device),
            self._make_batcher,
            WarmUp(options.max_batch_rows, at_once=self._lanes.count),
            self._memory,
        )
        await self.repository.open()
        if options.poll_seconds:
            self._watch = asyncio.create_task(self.repository.watch(options.poll_seconds))
        self._monitoring = Monitoring(
            options.http_host or options.host, options.http_port, self._metrics.registry, lambda: self.serving
        )
        self.http_port = self._monitoring.port
        guard = cast(grpc.aio.Server, self._guard)  # to the services it is the server
        inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
            InferenceService(
                self.repository,
                self._health,
                self._metrics,
                max_rows=options.max_queue_rows,
                # The call would reach one process only.
                admin=options.token_file is not None and options.workers == 1,
            ),
            guard,
        )
        tablefold_pb2_grpc.add_TablefoldServicer_to_server(
            PredictService(self.repository, self._memory), guard
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, guard)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(
            reflection_service(SERVICES, PROTOS), guard
        )
        self._grpc.add_generic_rpc_handlers([self._guard])
        self.port = self._listen()
        gc.collect()
        gc.freeze()  # nothing that lives by now is garbage: the collector need not look at it again
        await self._grpc.start()
        models = ", ".join(f"{model.name}:{model.version}" for model in self.repository.served())
        return f"models: {models} on {self._device.name}"

    @property
    def stuck(self) -> bool:
        """Does an engine hang? Its thread can only be got rid of with the process."""
        return self._lanes.stuck > 0

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
        stop_listening()
        self.repository.let_all_go()

    def _let_go(self) -> None:
        task = asyncio.create_task(self.repository.let_go())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _token_check(self) -> list[TokenCheck]:
        if self._options.token_file is None:
            return []
        if self._tls is None:
            log.warning("the token travels in the clear: give --tls-cert and --tls-key")
        return [TokenCheck(read_token(self._options.token_file), self._metrics)]

    def _listen(self) -> int:
        host, port = self._options.host, self._options.port
        try:
            if self._tls is None:
                return self._grpc.add_insecure_port(address_of(host, port))
            return self._grpc.add_secure_port(address_of(host, port), self._tls)
        except RuntimeError as error:
            raise UsageError(f"cannot listen on {host}:{port}: {error}") from error

    def _make_batcher(self, opened: Opened) -> Batcher:
        manifest = opened.manifest
        metrics = self._metrics.of_model(manifest.name, manifest.footprint.parts, manifest.version)
        return Batcher(
            opened.engine,
            self._lanes,
            metrics,
            opened.pace,
            name=manifest.name,
            max_queue_rows=self._options.max_queue_rows,
            gather_seconds=self._options.gather_seconds,
        )


def run(
    options: Options,
    announce: Callable[[Server, str], None],
    *,
    watch: int | None = None,
    processes: Callable[[], Processes] = Processes.only_this,
    open_engine: Callable[[Path, Manifest], Engine] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; `announce` hears what `Server.start` gives.

    `watch`: a file descriptor whose end is a signal too. `processes`: see `Server`. Raises what
    `Server.start` raises.
    """
    use_one_heap()
    faulthandler.enable()  # a crash in a library, or weights cut off under their mapping, leaves its trace
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(options, announce, watch, processes, open_engine))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ModuleNotFoundError:  # Windows has none
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _serve(
    options: Options,
    announce: Callable[[Server, str], None],
    watch: int | None,
    processes: Callable[[], Processes],
    open_engine: Callable[[Path, Manifest], Engine] | None,
) -> None:
    loop = asyncio.get_running_loop()
    server = Server(options, processes)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.leave.set)
    if watch is not None:
        loop.add_reader(watch, server.leave.set)
    announce(server, await server.start(open_engine))
    await server.leave.wait()
    if watch is not None:
        loop.remove_reader(watch)
    log.info("draining, up to %g seconds", options.drain_seconds)
    await server.drain()
    if server.stuck:
        # Not by raising: the thread that hangs may hold up the interpreter's own end.
        log.critical("an engine hangs: the process ends with exit code 1, to be started anew")
        os._exit(1)
