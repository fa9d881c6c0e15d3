"""A Tablefold server's own account: of its memory (GetFootprint) and of the model (GetModel)."""

from typing import Literal

import grpc.aio

from tablefold.bundle import Manifest
from tablefold.client.protocols.tablefold_v1 import GET_FOOTPRINT, GET_MODEL
from tablefold.client.scoring.served_model import SETUP_SECONDS
from tablefold.client.transport.connection import Connection
from tablefold.errors import BundleError
from tablefold.loadtest.figures import Bundle
from tablefold.loadtest.observer.processes import ProcessMemory
from tablefold.protos import tablefold_pb2 as pb

FOOTPRINT_SECONDS = 2.0


class FootprintCall:
    """Asks a server that speaks tablefold.v1 for the memory of its processes."""

    source: Literal["kernel", "server"] = "server"
    period = 1.0

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def read(self) -> list[ProcessMemory]:
        """Return the server's processes; empty if it does not answer."""
        try:
            reply = await self._connection.exchange(
                GET_FOOTPRINT, pb.GetFootprintRequest(), pb.GetFootprintResponse, FOOTPRINT_SECONDS
            )
        except grpc.aio.AioRpcError:
            return []
        return [
            ProcessMemory(
                pid=process.pid,
                resident=process.resident_bytes,
                resident_peak=process.resident_peak_bytes,
                anonymous=process.anonymous_bytes,
                file_backed=process.file_backed_bytes,
                proportional=process.proportional_bytes or None,
                gpu=process.gpu_bytes if process.HasField("gpu_bytes") else None,
            )
            for process in reply.processes
        ]


async def read_bundle(connection: Connection, model: str) -> Bundle | None:
    """Return the model's size and quality; None where the server does not tell."""
    request = pb.GetModelRequest(model=model)
    try:
        reply = await connection.exchange(GET_MODEL, request, pb.GetModelResponse, SETUP_SECONDS)
        manifest = Manifest.parse(reply.manifest_json)
    except (grpc.aio.AioRpcError, BundleError):
        return None
    footprint = manifest.footprint
    return Bundle(
        method=manifest.method.name,
        row_type=manifest.row_type,
        parts=footprint.parts.model_dump(),
        total=footprint.parts.total,
        baseline_fp32=footprint.baseline_fp32,
        auc=manifest.metrics.get("test_auc", manifest.metrics.get("auc")),
    )
