"""The services of the gRPC port."""

from typing import cast

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from tablefold.protos import inference_pb2, inference_pb2_grpc, tablefold_pb2, tablefold_pb2_grpc
from tablefold.server.models.footprint import ServerMemory
from tablefold.server.models.repository import Repository
from tablefold.server.options import Options
from tablefold.server.telemetry.metrics import Metrics
from tablefold.server.wire.health import Health
from tablefold.server.wire.interceptor import CallInterceptor
from tablefold.server.wire.oip import InferenceOptions, InferenceService
from tablefold.server.wire.reflection import reflection_service
from tablefold.server.wire.tablefold_v1 import PredictService

SERVICES = (
    inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name,
    tablefold_pb2.DESCRIPTOR.services_by_name["Tablefold"].full_name,
    health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
    reflection.SERVICE_NAME,
)
FILES = (
    inference_pb2.DESCRIPTOR, tablefold_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR,
)  # fmt: skip


def add_services(
    interceptor: CallInterceptor,
    options: Options,
    repository: Repository,
    memory: ServerMemory,
    health: Health,
    metrics: Metrics,
) -> None:
    """Put both protocols, health and reflection behind the interceptor."""
    server = cast(grpc.aio.Server, interceptor)  # to the services it is the server
    inference = InferenceOptions(
        max_queue_rows=options.max_queue_rows,
        max_message_bytes=options.max_message_bytes,
        # With several workers the call would reach one process only.
        admin=options.token_file is not None and options.workers == 1,
    )
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(
        InferenceService(repository, health, metrics, inference), server
    )
    tablefold_pb2_grpc.add_TablefoldServicer_to_server(PredictService(repository, memory), server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection_service(SERVICES, FILES), server)
