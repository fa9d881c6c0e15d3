"""The memory of the GPU in a footprint; what its driver does not tell is left out."""

from collections.abc import Sequence

from tablefold.protos import tablefold_pb2 as pb
from tablefold.server.models.gpu_footprint import GpuFootprint
from tablefold.server.models.model import Model


def add_gpu(
    reply: pb.GetFootprintResponse, gpu: GpuFootprint, models: Sequence[Model], workers: Sequence[int]
) -> None:
    """Fill in the GPU, what each process holds of it, and each of `models`, which are those of the reply."""
    now = gpu.read()
    if now is None:
        return
    reply.gpu.name, reply.gpu.total_bytes, reply.gpu.free_bytes = gpu.use.name, now.total, now.free
    if gpu.use.limit is not None:
        reply.gpu.limit_bytes = gpu.use.limit
    for process in reply.processes:
        if process.pid in now.by_process:
            process.gpu_bytes = now.by_process[process.pid]
    shares = gpu.of_models(models, workers)
    for model, message in zip(models, reply.models, strict=True):
        if (share := shares.get(model)) is not None:
            message.gpu_predicted_bytes, message.gpu_peak_bytes = share.predicted, share.peak
            message.gpu_weights_bytes, message.gpu_work_bytes = share.weights, share.work
