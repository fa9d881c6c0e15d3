"""The settings of a training run, with the remedy in the message where one cannot be."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tablefold.errors import UsageError


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
    full_below: Annotated[int, Field(ge=0)] = 32
    """A feature with at most this many ids keeps a row for each: there is nothing to win."""
    method_of: dict[str, str] = {}
    """Of single features: the row map method they are to have, whatever their size."""
    row_ratio_of: dict[str, Annotated[float, Field(ge=1)]] = {}
    """Of single features."""
    warm_start: bool = False
    """For `lhf`: train a full table by these settings, merge alike rows, go on gently (see `warm_start`)."""
    epochs: Annotated[int, Field(ge=1)] = 3
    patience: Annotated[int, Field(ge=1)] = 1
    """Stop after this many epochs without a better validation logloss; the best epoch is kept."""
    batch_size: Annotated[int, Field(ge=1)] = 2048
    optimizer: Literal["adam", "sgd"] = "adam"
    """Of the network and of the table's rows; of these it only ever touches those that are looked up."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """The learning rate of the network and of MLET's projections."""
    embedding_lr: Annotated[float, Field(gt=0)] = 1e-2
    """The learning rate of the rows that are looked up."""
    final_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    """What is left of both learning rates at the end; they fall in a straight line."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """Added to the loss: this times the squared length of a training row's vectors."""
    seed: int = 0
    network: str = "dlrm"
    """`dlrm`, `dcnv2`, `deepfm`, or the `package.module:Factory` of the user's own (see
    `tablefold.trainer.networks.registry`)."""
    bottom: tuple[Annotated[int, Field(ge=1)], ...] = (512, 256, 64)
    top: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (512, 256)


def config_of(
    *, method_of: Sequence[str] = (), row_ratio_of: Sequence[str] = (), **settings: object
) -> TrainConfig:
    """The settings as the command line gives them, those of single features as `FEATURE=VALUE`.

    Raises UsageError naming the option.
    """
    own = {
        "method_of": _by_feature("--method-of", method_of),
        "row_ratio_of": _by_feature("--row-ratio-of", row_ratio_of),
    }
    try:
        return TrainConfig.model_validate(settings | own)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"--{option} {first['input']}: {first['msg']}") from error


def _by_feature(option: str, given: Sequence[str]) -> dict[str, str]:
    values = {}
    for each in given:
        feature, _, value = each.rpartition("=")
        if not feature or not value:
            raise UsageError(f"{option} {each!r}: give FEATURE=VALUE")
        values[feature] = value
    return values


FIRST_STAGE_DIM = 2
FIRST_STAGE_INNER_DIM = 16
FIRST_STAGE_EPOCHS = 3
FIRST_STAGE_L2 = 1e-2
"""Without it ids that are seldom seen stay about where they were drawn, and are clustered by that."""


def cheap_stage(config: TrainConfig) -> TrainConfig:
    """The cheap low-dimensional MLET model whose vectors a learned hash clusters.

    It is the same for any method, size and learning rate of rows of the second stage, which can share it.
    """
    return TrainConfig(
        method="mlet",
        dim=FIRST_STAGE_DIM,
        inner_dim=FIRST_STAGE_INNER_DIM,
        epochs=FIRST_STAGE_EPOCHS,
        l2=FIRST_STAGE_L2,
        batch_size=config.batch_size,
        lr=config.lr,
        seed=config.seed,
        network=config.network,
        bottom=config.bottom,
        top=config.top,
    )
