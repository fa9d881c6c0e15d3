"""The server: one port for both protocols, from loading to the drain."""

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tablefold import __version__
from tablefold.errors import UsageError
from tablefold.machine.cores import available_cores
from tablefold.server.bundles.lease import ignore_lease_breaks, on_lease_break
from tablefold.server.bundles.warm_up import LANE_ROWS, WarmUp
from tablefold.server.drift.collector import DriftCollector
from tablefold.server.drift.drift import Drift
from tablefold.server.drift.sampled_engine import SampledEngine
from tablefold.server.engines.device import Device
from tablefold.server.engines.opening import open_engine as open_engine_on
from tablefold.server.fronts.services import SERVICES
from tablefold.server.gateway import Gateway, ServerParts
from tablefold.server.models.footprint import Processes, ServerMemory
from tablefold.server.models.gpu_collector import GpuCollector
from tablefold.server.models.gpu_footprint import GpuUse, watch_gpu
from tablefold.server.models.loader import Loader, OpenEngine
from tablefold.server.models.model import LoadedBundle
from tablefold.server.models.repository import Repository
from tablefold.server.options import Options
from tablefold.server.queue import Batcher, EngineThreads
from tablefold.server.security.access import Access
from tablefold.server.security.tls import TlsFiles
from tablefold.server.security.token import Token
from tablefold.server.status_page.overview import MAX_VERSIONS, Overview, OverviewReader, version_overviews
from tablefold.server.status_page.pages import status_pages
from tablefold.server.status_page.version_states import VersionStates
from tablefold.server.telemetry.metrics import Metrics
from tablefold.server.telemetry.monitoring import Monitoring, State
from tablefold.server.telemetry.slots import Slots
from tablefold.server.trimming import trim_for_ever
from tablefold.server.wire.health import Health

if TYPE_CHECKING:
    from tablefold.server.tracing import Tracing

log = logging.getLogger(__name__)

LAME_DUCK_SECONDS = 1.0
"""How long a draining server goes on to take calls while they keep coming."""


class Server:
    """`start`, then `drain`; both once. Belongs to the running event loop.

    `processes`: those of the whole server, where it has several; they count as one footprint.
    `open_engine` stands in for ONNX Runtime. `slots`: where it counts. Raises UsageError for options that
    cannot be used here.
    """

    def __init__(
        self,
        options: Options,
        processes: Callable[[], Processes] = Processes.only_this,
        open_engine: OpenEngine | None = None,
        slots: Slots | None = None,
    ) -> None:
        self._options = options
        self._device = Device(options.device, options.gpu_memory_limit)
        self.leave = asyncio.Event()
        """Set when the server should be drained: by a signal, or because a thread is lost."""
        self._engine_threads = EngineThreads(
            options.engine_threads or available_cores(),
            timeout_seconds=options.engine_timeout_seconds,
            on_loss=self.leave.set,
        )
        use = GpuUse(
            name=self._device.name,
            max_rows=min(options.max_batch_size, LANE_ROWS),
            lanes=self._engine_threads.count,
            workers=options.workers,
            limit=options.gpu_memory_limit,
        )
        self._memory = ServerMemory(processes, options.memory_limit, watch_gpu(self._device, use))
        loader = Loader(
            open_engine or partial(open_engine_on, device=self._device),
            self._make_batcher,
            WarmUp(options.max_batch_size, parallel_batches=self._engine_threads.count),
            self._memory,
            timeout_seconds=options.load_timeout_seconds,
            trial=self._device if open_engine is None else None,
        )
        self.repository = Repository(options.repository, loader, scan_seconds=options.load_timeout_seconds)
        self._watch: asyncio.Task[None] | None = None
        self._trimming: asyncio.Task[None] | None = None
        self._monitoring: Monitoring | None = None
        self._started, self._started_at = False, time.time()
        self._metrics = Metrics(slots)
        self._drifts = DriftCollector()
        self._metrics.registry.register(self._drifts)
        if self._memory.gpu is not None:
            self._metrics.registry.register(GpuCollector(self._memory.gpu, self.repository.served))
        self._health = Health(SERVICES)
        self._tls = TlsFiles.of(options.tls_cert, options.tls_key, options.tls_client_ca)
        self._credentials = None if self._tls is None else self._tls.credentials()
        self._tracing = None if options.trace_sample is None else open_tracing(options.trace_sample)
        self._gateway = Gateway(
            options,
            ServerParts(
                repository=self.repository,
                memory=self._memory,
                health=self._health,
                metrics=self._metrics,
                engine_threads=self._engine_threads,
                access=self._access(),
                tracing=self._tracing,
            ),
        )

    async def start(self) -> str:
        """Load, verify and warm up, then listen and serve; return the names of the models and the front.

        Raises UsageError (a port in use) and BundleError (nothing to serve).
        """
        options = self._options
        overview = OverviewReader(self._overview)
        self._metrics.registry.register(VersionStates(overview.json))
        self._metrics.watch_server(lambda: self.serving, options.memory_limit)
        self._monitoring = Monitoring(
            options.http_host,
            options.http_port,
            self._metrics.registry,
            self._state,
            status_pages(overview.json),
        )
        self.http_port = self._monitoring.port
        try:
            await self._start()
        except BaseException:
            self._monitoring.close()
            raise
        models = ", ".join(f"{model.name}:{model.version}" for model in self.repository.served())
        return f"models: {models} on {self._device.name}, {self._gateway.description}"

    async def _start(self) -> None:
        options = self._options
        on_lease_break(self.repository.release_broken_leases)
        await self.repository.open()
        if options.poll_seconds:
            self._watch = asyncio.create_task(self.repository.watch(options.poll_seconds))
        self.port = self._gateway.listen(self._credentials)
        gc.collect()
        gc.freeze()  # nothing that lives by now is garbage: the collector need not look at it again
        await self._gateway.start()
        self._trimming = asyncio.create_task(trim_for_ever())
        self._started = True

    @property
    def threads_lost(self) -> bool:
        """Whether an engine hangs or the front has failed: only the end of the process ends such a thread."""
        return self._engine_threads.hanging > 0

    @property
    def serving(self) -> bool:
        """Whether the server takes new calls."""
        return self._state() == "ready"

    def _state(self) -> State:
        if not self._health.serving:
            return "draining"
        return "ready" if self._started else "loading"

    async def drain(self) -> None:
        """Say NOT_SERVING, then refuse new calls, finish those in flight up to `drain_seconds`, stop.

        gRPC's own `stop` cancels every call that Python has not seen yet, and under load many wait there.
        So the server goes on until they are through (no call comes, or LAME_DUCK_SECONDS have passed). Then
        clients that still come get UNAVAILABLE, also those that waited for an answer until then, and only
        after that it stops.
        """
        self._health.draining.set()
        for task in (self._watch, self._trimming):
            if task is not None:
                task.cancel()
        end = time.monotonic() + self._options.drain_seconds
        lame_duck = min(LAME_DUCK_SECONDS, self._options.drain_seconds / 4)
        await self._gateway.wait_until_idle(lame_duck)
        self.repository.close()
        await self._gateway.wait_until_idle(lame_duck)
        await self._gateway.wait_until_answered(end - time.monotonic())
        await self._gateway.wait_until_idle(min(lame_duck, max(0.0, end - time.monotonic())))
        await self._gateway.stop(end - time.monotonic())
        self._engine_threads.close()
        if self._tracing is not None:
            await asyncio.to_thread(self._tracing.close, end - time.monotonic())
        if self._monitoring is not None:
            self._monitoring.close()
        ignore_lease_breaks()
        self.repository.release_leases()

    def _overview(self) -> Overview:
        versions = version_overviews(self.repository)
        return Overview(
            tablefold=__version__,
            device=self._device.name,
            front=self._gateway.description.removeprefix("front: "),
            started=self._started_at,
            max_queue_rows=self._options.max_queue_rows,
            versions=versions[:MAX_VERSIONS],
            hidden=max(0, len(versions) - MAX_VERSIONS),
        )

    def _access(self) -> Access:
        options = self._options
        if options.admin_token_file is not None and options.workers > 1:
            raise UsageError("--admin-token-file needs one worker: a call would reach one of them only")
        token = Token.of("--token-file", options.token_file)
        admin = Token.of("--admin-token-file", options.admin_token_file)
        if self._tls is None and (token or admin):
            log.warning("the token travels without encryption: give --tls-cert and --tls-key")
        return Access(token, admin)

    def _make_batcher(self, bundle: LoadedBundle) -> Batcher:
        manifest = bundle.files.manifest
        drift = Drift(manifest)
        self._drifts.add(drift)
        return Batcher(
            SampledEngine(bundle.engine, drift),
            self._engine_threads,
            self._metrics.of_model(manifest.name, manifest.footprint.parts, manifest.version),
            bundle.sizing,
            name=manifest.name,
            max_queue_rows=self._options.max_queue_rows,
        )


def open_tracing(share: float) -> "Tracing":
    """Return what traces a share of the calls. Raises UsageError where it cannot be had."""
    try:
        from tablefold.server.tracing import Tracing
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--trace-sample needs {error.name}: pip install 'tablefold[serve,tracing]'"
        ) from None
    return Tracing(share)
