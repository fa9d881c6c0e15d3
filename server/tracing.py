"""Traces by OpenTelemetry: a span for a share of the predictions, made of what a call knows at its end.

    traceparent of the client ──► one span a call: queued, batch started, batch ended ──► OTLP, in batches

A call that is not traced costs a look at its metadata. Spans hold names and figures of ours, nothing of a
message. They leave on a thread of the SDK, which drops them where its queue is full.
Needs `tablefold[tracing]`; the names of the attributes are those of OpenTelemetry's conventions for RPC.
"""

import logging
import os
import random
import threading
import time
from collections.abc import Iterable

from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tablefold import __version__
from tablefold.errors import UsageError
from tablefold.server.models.model import Model
from tablefold.server.queue import Call, Claim

log = logging.getLogger(__name__)

Metadata = Iterable[tuple[str, str | bytes]] | None

CONTEXT = {"traceparent", "tracestate"}
FLAGS = 54
"""Where the last digit of the flags stands in a traceparent."""
SAMPLED = frozenset("13579bdfBDF")
"""That digit, where the client traces the call."""
SERVER_FAULTS = {
    "UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
}  # fmt: skip
"""The statuses that make the span of a server an error, by the conventions; others are the client's."""
FLUSH_SECONDS = 5.0
"""For the last spans to leave at the end; a receiver that is away holds up no drain for longer."""


class Tracing:
    """`share`: of the calls whose client sends no trace context, 0 to 1. A client that sends one decides.

    Raises UsageError where the environment asks for an exporter that is not here.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        ours = Resource.create({"service.name": "tablefold", "service.version": __version__})
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # asked about those calls only that are to be traced
            resource=ours.merge(OTELResourceDetector().detect()),
            shutdown_on_exit=False,
        )
        self._exporter = _exporter()
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("tablefold.server", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def ended(
        self,
        method: str,
        metadata: Metadata,
        arrived: float,
        status: str,
        reason: str | None,
        *,
        model: Model | None = None,
        call: Claim | None = None,
    ) -> None:
        """Trace a call that ended now, if it is to be traced; `arrived` in monotonic seconds.

        On any thread; never raises and waits for nothing.
        """
        try:
            context = self._context(metadata)
            if context is not None:
                self._write(context, method, arrived, status, reason, model, call)
        except Exception:  # the call has its answer, and the thread must live on
            log.exception("a call cannot be traced")

    def close(self, max_seconds: float) -> None:
        """Send what is left, for so long at most; spans of later calls are dropped."""
        # On a thread: the exporter tries for as long as it likes.
        closing = threading.Thread(target=self._provider.shutdown, name="tracing-close", daemon=True)
        closing.start()
        closing.join(max(0.0, min(max_seconds, FLUSH_SECONDS)))
        if closing.is_alive():
            self._exporter.shutdown()

    def _context(self, metadata: Metadata) -> Context | None:
        """Return the context to continue, or an empty one for a new trace; None: the call has no span."""
        parent = None
        for name, value in metadata or ():
            if name == "traceparent":
                parent = value
        if isinstance(parent, str):
            if parent[FLAGS : FLAGS + 1] not in SAMPLED:
                return None
            carrier = {name: value for name, value in metadata or () if name in CONTEXT}
            context = self._propagator.extract(carrier, Context())
            if get_current_span(context).get_span_context().is_valid:
                return context
        return Context() if random.random() < self._share else None

    def _write(
        self,
        context: Context,
        method: str,
        arrived: float,
        status: str,
        reason: str | None,
        model: Model | None,
        call: Claim | None,
    ) -> None:
        now, epoch = time.time_ns(), time.monotonic()

        def at(seconds: float) -> int:
            return now - int((epoch - seconds) * 1e9)

        attributes: dict[str, str | int | float] = {
            "rpc.system.name": "grpc",
            "rpc.method": method[1:],
            "rpc.response.status_code": status,
        }
        if reason is not None:
            attributes |= {"error.type": status, "tablefold.reason": reason}
        if model is not None:
            attributes |= {"tablefold.model": model.name, "tablefold.version": model.version}
        if call is not None:
            attributes["tablefold.rows"] = call.rows
            if isinstance(call, Call) and call.done:
                attributes |= {
                    "tablefold.batch_rows": call.batch_rows,
                    "tablefold.queue_seconds": call.queue_seconds,
                    "tablefold.compute_seconds": call.compute_seconds,
                }
        span = self._tracer.start_span(
            method[1:], context, SpanKind.SERVER, attributes, start_time=at(arrived), record_exception=False
        )
        if call is not None and call.accepted:
            span.add_event("queued", timestamp=at(call.accepted))
            if isinstance(call, Call) and call.done:
                span.add_event("batch started", timestamp=at(call.started))
                span.add_event("batch ended", timestamp=at(call.ended))
        if status in SERVER_FAULTS:
            span.set_status(StatusCode.ERROR)
        span.end(now)


def _exporter() -> SpanExporter:
    """Return the exporter that OTEL_EXPORTER_OTLP_(TRACES_)PROTOCOL names. Raises UsageError."""
    everywhere = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "grpc"
    match os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or everywhere:
        case "grpc":
            from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as over_grpc

            return over_grpc.OTLPSpanExporter()
        case "http/protobuf":
            from opentelemetry.exporter.otlp.proto.http import trace_exporter as over_http

            return over_http.OTLPSpanExporter()
        case other:
            raise UsageError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {other!r}: give grpc or http/protobuf")
