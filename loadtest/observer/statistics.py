"""How the server batches, by its own count: ModelStatistics, Triton's extension of the open protocol.

Knows the counters. Does not know what was sent.
"""

import grpc.aio

from tablefold.client.connection import Connection
from tablefold.loadtest.figures import Batches
from tablefold.protos import inference_pb2 as pb

MODEL_STATISTICS = "/inference.GRPCInferenceService/ModelStatistics"
SECONDS = 5.0


async def count(connection: Connection, model: str) -> list[int] | None:
    """Batches, rows, requests queued, their ns, requests computed, their ns; all versions together, since the
    server started. None where it does not tell."""
    request = pb.ModelStatisticsRequest(name=model)
    try:
        reply = await connection.exchange(MODEL_STATISTICS, request, pb.ModelStatisticsResponse, SECONDS)
    except grpc.aio.AioRpcError:
        return None
    counts = [
        (
            each.execution_count,
            each.inference_count,
            each.inference_stats.queue.count,
            each.inference_stats.queue.ns,
            each.inference_stats.compute_infer.count,
            each.inference_stats.compute_infer.ns,
        )
        for each in reply.model_stats
    ]
    return [sum(column) for column in zip(*counts, strict=True)] if counts else None


async def batches_since(before: list[int] | None, connection: Connection, model: str) -> Batches | None:
    """What was added since `before`; None where the server does not tell, ran none, or began anew."""
    now = await count(connection, model) if before is not None else None
    if before is None or now is None:
        return None
    batches, rows, queued, queue_ns, computed, compute_ns = (b - a for a, b in zip(before, now, strict=True))
    if batches <= 0 or rows < 0:
        return None
    return Batches(
        batches=batches,
        rows=rows,
        mean_rows=round(rows / batches, 2),
        queue_ms_mean=round(queue_ns / queued / 1e6, 4) if queued > 0 else None,
        compute_ms_mean=round(compute_ns / computed / 1e6, 4) if computed > 0 else None,
    )
