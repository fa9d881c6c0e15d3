"""The bytes that a server's models and processes take, as the server itself counts them."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from tablefold.model_size import Parts
from tablefold.protos import tablefold_pb2 as pb


@dataclass(frozen=True, kw_only=True)
class GpuFootprint:
    """One version on a GPU, over all processes, in bytes."""

    predicted: int
    """Before it was loaded, for the largest batches that may come."""
    weights: int
    work: int
    """What batches are computed in."""
    peak: int
    """The highest sum of both so far, loading included."""

    @property
    def loaded(self) -> int:
        """What the version takes now."""
        return self.weights + self.work


@dataclass(frozen=True, kw_only=True)
class ModelFootprint:
    """One version of a model, in bytes."""

    name: str
    version: int
    parts: Parts
    """Predicted from the bundle's arrays."""
    baseline_fp32: int
    """The uncompressed fp32 table."""
    mapped: int
    """Of the weights' file, in memory now; the kernel can drop it and read it again."""
    anonymous: int
    """What the runtime took beside it."""
    peak: int
    """The highest sum of both so far, loading included."""
    gpu: GpuFootprint | None
    """None where no GPU serves, or its driver does not tell."""

    @property
    def loaded(self) -> int:
        """What the version takes now."""
        return self.mapped + self.anonymous

    @classmethod
    def of(cls, reply: pb.GetFootprintResponse.Model) -> Self:
        """From the server's message."""
        parts = {part: getattr(reply, f"{part}_bytes") for part in Parts.model_fields}
        gpu = None
        if reply.HasField("gpu_weights_bytes"):
            gpu = GpuFootprint(
                predicted=reply.gpu_predicted_bytes,
                weights=reply.gpu_weights_bytes,
                work=reply.gpu_work_bytes,
                peak=reply.gpu_peak_bytes,
            )
        return cls(
            name=reply.name,
            version=reply.version,
            parts=Parts(**parts),
            baseline_fp32=reply.baseline_fp32_bytes,
            mapped=reply.mapped_bytes,
            anonymous=reply.anonymous_bytes,
            peak=reply.peak_bytes,
            gpu=gpu,
        )


def gpu_bytes(reply: pb.GetFootprintResponse) -> list[int]:
    """Return what each process holds of the GPU that serves, of those whose figure is known."""
    return [process.gpu_bytes for process in reply.processes if process.HasField("gpu_bytes")]


@dataclass(frozen=True, kw_only=True)
class ServerFootprint:
    """Every version in memory, and all processes of the server together, in bytes."""

    models: tuple[ModelFootprint, ...]
    processes: int
    anonymous: int
    mapped: int
    peak: int
    gpu: int | None
    """What the processes hold of the GPU, CUDA itself included; None where its driver does not tell."""

    @property
    def total(self) -> int:
        """What the server takes now."""
        return self.anonymous + self.mapped

    @classmethod
    def of(cls, reply: pb.GetFootprintResponse) -> Self:
        """From the server's message; pages that processes share count once."""
        anonymous = sum(process.proportional_anonymous_bytes for process in reply.processes)
        return cls(
            models=tuple(map(ModelFootprint.of, reply.models)),
            processes=len(reply.processes),
            anonymous=anonymous,
            mapped=sum(process.proportional_bytes for process in reply.processes) - anonymous,
            peak=sum(process.resident_peak_bytes for process in reply.processes),
            gpu=sum(held) if (held := gpu_bytes(reply)) else None,
        )

    def as_json(self) -> dict[str, Any]:
        """What `tablefold footprint --server --json` prints."""
        return {
            "models": [
                {
                    "name": model.name,
                    "version": model.version,
                    "parts": model.parts.model_dump(),
                    "predicted": model.parts.total,
                    "mapped": model.mapped,
                    "anonymous": model.anonymous,
                    "loaded": model.loaded,
                    "peak": model.peak,
                    "gpu": None if model.gpu is None else {**asdict(model.gpu), "loaded": model.gpu.loaded},
                }
                for model in self.models
            ],
            "server": {
                "processes": self.processes,
                "anonymous": self.anonymous,
                "mapped": self.mapped,
                "total": self.total,
                "peak": self.peak,
                "gpu": self.gpu,
            },
        }
