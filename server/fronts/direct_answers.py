"""Methods that the native front answers by itself: what health checks and clients ask before they predict."""

from collections.abc import Callable
from functools import partial
from typing import Any

from grpc_health.v1 import health_pb2

from tablefold.protos import inference_pb2
from tablefold.server.wire.health import Health
from tablefold.server.wire.oip.service import SERVICE, InferenceService
from tablefold.server.wire.parse import parse

Answer = Callable[[bytes], bytes]
"""From a message to its reply. Raises RequestError."""


def direct_answers(inference: InferenceService, health: Health) -> dict[str, Answer]:
    """Return the methods with what answers them."""
    behaviours: dict[str, tuple[Any, Callable[[Any, Any], Any]]] = {
        SERVICE + "ServerLive": (inference_pb2.ServerLiveRequest, inference.ServerLive),
        SERVICE + "ServerReady": (inference_pb2.ServerReadyRequest, inference.ServerReady),
        SERVICE + "ModelReady": (inference_pb2.ModelReadyRequest, inference.ModelReady),
        SERVICE + "ServerMetadata": (inference_pb2.ServerMetadataRequest, inference.ServerMetadata),
        SERVICE + "ModelMetadata": (inference_pb2.ModelMetadataRequest, inference.ModelMetadata),
        "/grpc.health.v1.Health/Check": (health_pb2.HealthCheckRequest, health.Check),
    }
    return {method: partial(_answer, kind, behaviour) for method, (kind, behaviour) in behaviours.items()}


def status_now(health: Health, message: bytes) -> bytes:
    """Return the present status as a reply to a message of Health.Watch. Raises InvalidRequest."""
    service: str = parse(health_pb2.HealthCheckRequest, message).service
    reply: bytes = health.current(service).SerializeToString()
    return reply


def _answer(kind: Any, behaviour: Callable[[Any, Any], Any], message: bytes) -> bytes:
    reply: bytes = behaviour(parse(kind, message), None).SerializeToString()
    return reply
