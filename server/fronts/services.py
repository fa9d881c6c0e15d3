"""The services of the gRPC port."""

from typing import cast

import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from tablefold.protos import inference_pb2, inference_pb2_grpc, tablefold_pb2, tablefold_pb2_grpc
from tablefold.server.fronts.grpcio_methods import GrpcioMethods
from tablefold.server.models.repository import Repository
from tablefold.server.options import Options
from tablefold.server.wire.context import AnswerBytes
from tablefold.server.wire.health import Health
from tablefold.server.wire.oip.infer import InferReader
from tablefold.server.wire.oip.service import INFER, STREAMED, InferenceOptions, InferenceService
from tablefold.server.wire.prediction import Read
from tablefold.server.wire.reflection import reflection_service
from tablefold.server.wire.tablefold_v1.service import PREDICT, PredictService, read_predict

SERVICES = (
    inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name,
    tablefold_pb2.DESCRIPTOR.services_by_name["Tablefold"].full_name,
    health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
    reflection.SERVICE_NAME,
)
FILES = (
    inference_pb2.DESCRIPTOR, tablefold_pb2.DESCRIPTOR, health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR,
)  # fmt: skip


def readers() -> dict[str, Read]:
    """Return how the messages of each prediction are read."""
    infer = InferReader()
    return {INFER: infer.read, STREAMED: infer.read, PREDICT: read_predict}


def inference_service(
    options: Options, repository: Repository, health: Health, predict: AnswerBytes
) -> InferenceService:
    """Return the Open Inference Protocol; `predict` answers its predictions."""
    inference = InferenceOptions(
        max_queue_rows=options.max_queue_rows,
        max_message_bytes=options.max_message_bytes,
        admin=options.admin_token_file is not None,
    )
    return InferenceService(repository, health, inference, predict)


def add_services(
    methods: GrpcioMethods, inference: InferenceService, predict: PredictService, health: Health
) -> None:
    """Put both protocols, health and reflection behind `methods`."""
    server = cast(grpc.aio.Server, methods)  # to the services it is the server
    inference_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(inference, server)
    tablefold_pb2_grpc.add_TablefoldServicer_to_server(predict, server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection_service(SERVICES, FILES), server)
    methods.add_prediction(INFER, inference.ModelInfer)
    methods.add_prediction(PREDICT, predict.Predict)
