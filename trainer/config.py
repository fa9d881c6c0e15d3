"""The settings of a training run, with the remedy in the message where one cannot be."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Width = Annotated[int, Field(ge=1, le=65_536)]
"""Values of a network's layer."""


class TrainConfig(BaseModel):
    """Everything that, with the log, decides what a run makes. Each field is an option of `train`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    method: str = "full"
    """How ids share rows: full, hash, double, qr, head, lhf, lhf-f, lhf-e, lhf-head, lhf-joint or
    package.module:Factory of your own. Add +mlet for an MLET table; mlet alone is full+mlet."""
    dim: Annotated[int, Field(ge=1, le=1024)] = 16
    """Width of a served vector, d."""
    inner_dim: Annotated[int, Field(ge=1, le=4096)] = 64
    """Width of MLET's inner table, k, folded away by export."""
    row_ratio: Annotated[float, Field(ge=1)] = 10.0
    """How many times fewer rows than ids a hash gets, learned or not."""
    full_below: Annotated[int, Field(ge=0)] = 32
    """A feature with at most this many ids keeps one row for each id."""
    method_of: dict[str, str] = {}
    """How ids of one feature share rows, such as user_id=hash, whatever its size. Repeatable."""
    row_ratio_of: dict[str, Annotated[float, Field(ge=1)]] = {}
    """The row ratio of one feature. Repeatable."""
    known_from: Annotated[int | None, Field(ge=1)] = None
    """Ids that training values are at least this often are known; rarer ones share the row of unknown ids.
    Without it, each feature's min_count in the schema says so."""
    warm_start: bool = False
    """With lhf: train a full table first, merge its similar rows, then fine-tune."""
    epochs: Annotated[int, Field(ge=1)] = 3
    """At most this many passes over the training examples."""
    patience: Annotated[int, Field(ge=1)] = 1
    """Stop after this many epochs without a better validation logloss. The best epoch is kept."""
    batch_size: Annotated[int, Field(ge=1, le=(1 << 31) - 1)] = 2048
    """Examples of a training step."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Optimizer of the network and of the table. It touches only the rows that a step looks up."""
    lr: Annotated[float, Field(gt=0, le=1e38)] = 1e-3
    """Learning rate of the network and of MLET's projections."""
    embedding_lr: Annotated[float, Field(gt=0, le=1e38)] = 1e-2
    """Learning rate of the table's rows."""
    final_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of both learning rates that is left at the end. They fall linearly."""
    l2: Annotated[float, Field(ge=0, le=1e38)] = 0.0
    """Penalty on the squared length of looked-up vectors."""
    first_stage_l2: Annotated[float, Field(ge=0, le=1e38)] = 1e-2
    """The same of a learned hash's first stage. Without it rare ids stay about where they were drawn, and are
    clustered by that."""
    seed: Annotated[int, Field(ge=0, le=(1 << 63) - 1)] = 0
    """The same seed repeats a run."""
    network: str = "dlrm"
    """dlrm, dcnv2, deepfm, or package.module:Factory of your own torch.nn.Module."""
    bottom: tuple[Width, ...] = (512, 256, 64)
    """Widths of the layers that dense values go through first; dlrm only."""
    top: Annotated[tuple[Width, ...], Field(min_length=1)] = (512, 256)
    """Widths of the layers before the logit."""
    vectors_without_dense: bool = True
    """Where there are no dense values, let dlrm read the vectors beside their products. Checkpoints of older
    formats do not."""


CHOSEN = (
    "known_from", "warm_start", "epochs", "batch_size", "embedding_lr", "l2", "first_stage_l2", "network",
    "bottom", "top",
)  # fmt: skip
"""Fields that `train` chooses for the log where they are not given (see `defaults`)."""
FIRST_STAGE_DIM = 2
FIRST_STAGE_INNER_DIM = 16
FIRST_STAGE_EPOCHS = 8


def cheap_stage(config: TrainConfig) -> TrainConfig:
    """The cheap low-dimensional MLET model whose vectors a learned hash clusters.

    It is the same for any method, size and learning rate of rows of the second stage, which can share it.
    """
    return TrainConfig(
        method="mlet",
        dim=FIRST_STAGE_DIM,
        inner_dim=FIRST_STAGE_INNER_DIM,
        epochs=FIRST_STAGE_EPOCHS,
        l2=config.first_stage_l2,
        batch_size=config.batch_size,
        lr=config.lr,
        seed=config.seed,
        network=config.network,
        known_from=config.known_from,
        bottom=config.bottom,
        top=config.top,
        vectors_without_dense=config.vectors_without_dense,
    )
