"""The settings of a training run, with the remedy in the message where one cannot be."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class TrainConfig(BaseModel):
    """Everything that, with the data, decides what a run makes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str = "full"
    dim: Annotated[int, Field(ge=1, le=1024)] = 16
    """d: the width of a served vector."""
    inner_dim: Annotated[int, Field(ge=1, le=4096)] = 64
    """k: the width of MLET's inner table, which is folded away."""
    row_ratio: Annotated[float, Field(ge=1)] = 10.0
    """How many times fewer rows than ids a hash, learned or not, gets."""
    epochs: Annotated[int, Field(ge=1)] = 3
    patience: Annotated[int, Field(ge=1)] = 1
    """Stop after this many epochs without a better validation logloss; the best epoch is kept."""
    batch_rows: Annotated[int, Field(ge=1)] = 2048
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Adam's learning rate of the network; falls to a tenth over the run."""
    table_lr: Annotated[float, Field(gt=0)] = 1e-2
    """Sparse Adam's learning rate of the rows that are looked up; falls alike."""
    seed: int = 0
    network: str = "dlrm"
    """`dlrm`, or the `package.module:Factory` of the user's own (see `tablefold.trainer.network`)."""
    bottom: tuple[Annotated[int, Field(ge=1)], ...] = (512, 256, 64)
    top: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (512, 256)


FIRST_STAGE_DIM = 4
FIRST_STAGE_INNER_DIM = 16


def first_stage(config: TrainConfig) -> TrainConfig:
    """The cheap low-dimensional MLET model whose vectors a learned hash clusters; one epoch is enough."""
    return config.model_copy(
        update={
            "method": "mlet",
            "dim": FIRST_STAGE_DIM,
            "inner_dim": FIRST_STAGE_INNER_DIM,
            "epochs": 1,
        }
    )
