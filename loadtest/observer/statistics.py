"""How the server batches, by its own counters (ModelStatistics, Triton's extension of the open protocol)."""

import grpc.aio

from tablefold.client.transport.connection import Connection
from tablefold.loadtest.figures import Batches
from tablefold.protos import inference_pb2 as pb

MODEL_STATISTICS = "/inference.GRPCInferenceService/ModelStatistics"
STATISTICS_SECONDS = 5.0


async def read_counters(connection: Connection, model: str) -> list[int] | None:
    """Return batches, rows, requests queued, their ns, requests computed, their ns.

    Of all versions together, since the server started; None where it does not tell.
    """
    request = pb.ModelStatisticsRequest(name=model)
    try:
        reply = await connection.exchange(
            MODEL_STATISTICS, request, pb.ModelStatisticsResponse, STATISTICS_SECONDS
        )
    except grpc.aio.AioRpcError:
        return None
    counters = [
        (
            version.execution_count,
            version.inference_count,
            version.inference_stats.queue.count,
            version.inference_stats.queue.ns,
            version.inference_stats.compute_infer.count,
            version.inference_stats.compute_infer.ns,
        )
        for version in reply.model_stats
    ]
    return [sum(column) for column in zip(*counters, strict=True)] if counters else None


async def batches_since(before: list[int] | None, connection: Connection, model: str) -> Batches | None:
    """Return what was added since `before`; None where the server does not tell, ran none, or restarted."""
    after = await read_counters(connection, model) if before is not None else None
    if before is None or after is None:
        return None
    batches, rows, queued, queue_ns, computed, compute_ns = (
        end - start for start, end in zip(before, after, strict=True)
    )
    if batches <= 0 or rows < 0:
        return None
    return Batches(
        batches=batches,
        rows=rows,
        mean_rows=round(rows / batches, 2),
        queue_ms_mean=round(queue_ns / queued / 1e6, 4) if queued > 0 else None,
        compute_ms_mean=round(compute_ns / computed / 1e6, 4) if computed > 0 else None,
    )
