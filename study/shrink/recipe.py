"""A recipe: everything that is done to make one small model. And the record of one that was tried."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from tablefold.exporter.options import ExportOptions
from tablefold.model_size import Parts
from tablefold.study.shrink.interval import Interval, within
from tablefold.trainer.compression.resize import FeatureSize
from tablefold.trainer.config import TrainConfig

__all__ = ["Recipe", "Tried"]


class Recipe(BaseModel):
    """How a model is trained, what is taken away without training, and how the rest is stored."""

    model_config = ConfigDict(frozen=True)

    config: TrainConfig
    """What it is trained with. The full model's own means: no training."""
    taught: bool = False
    """Whether it learns from teachers too (see `teachers`)."""
    rank: int | None = None
    """So many values a row after training."""
    sizes: dict[str, FeatureSize] = {}
    """Known ids and rows of features after training, by name; others stay as they are."""
    tuned: bool = False
    """Whether it learns on in that size, and ids choose again which of the rows they share."""
    options: ExportOptions = ExportOptions()

    def but(self, **changes: Any) -> "Recipe":
        """Return the recipe with other values of some fields."""
        return self.model_copy(update=changes)

    def trained_with(self, **changes: Any) -> "Recipe":
        """Return the recipe with other settings of training."""
        return self.but(config=self.config.model_copy(update=changes))

    def stored_with(self, **changes: Any) -> "Recipe":
        """Return the recipe with other options of the export."""
        return self.but(options=self.options.model_copy(update=changes))

    @property
    def whole(self) -> "Recipe":
        """The recipe with every feature in full."""
        return self.but(sizes={}, tuned=False).stored_with(row_type_of={})

    @property
    def key(self) -> str:
        """The same for the same model."""
        return self.model_dump_json()

    def described(self) -> dict[str, Any]:
        """Return what makes the model, by name."""
        config, options = self.config, self.options
        made: dict[str, Any] = {"method": config.method, "dim": config.dim}
        if config.method.startswith("lhf"):
            made |= {"row_ratio": config.row_ratio, "warm_start": config.warm_start}
        made |= {"known_from": config.known_from, "network": config.network, "top": list(config.top)}
        made |= {name: True for name in ("taught", "tuned") if getattr(self, name)}
        if self.rank is not None:
            made["rank_after_training"] = self.rank
        if self.sizes:
            made["sizes"] = {name: str(size) for name, size in self.sizes.items()}
        types = {name: row_type.value for name, row_type in options.row_type_of.items()}
        return made | {
            "row_type": options.row_type.value,
            **({"row_type_of": types} if types else {}),
            "network_type": options.network_type.value,
            "lookup": options.lookup.value,
        }

    @property
    def title(self) -> str:
        """The same in a line."""
        return ", ".join(
            name.replace("_", " ") if value is True else f"{name.replace('_', ' ')} {_in_words(value)}"
            for name, value in self.described().items()
            if value is not None
        )


def _in_words(value: Any) -> str:
    if isinstance(value, list):
        return "-".join(map(str, value))
    if isinstance(value, dict):
        return "; ".join(f"{name} {part}" for name, part in value.items())
    return str(value)


class Tried(BaseModel):
    """A recipe that was tried, judged on validation examples against the full model."""

    model_config = ConfigDict(frozen=True)

    recipe: Recipe
    parts: Parts = Parts()
    auc: float | None = None
    logloss: float = 0.0
    auc_loss: Interval | None = None
    """None where all labels are the same: then the logloss alone judges."""
    logloss_increase: Interval = Interval(0.0, 0.0, 0.0)
    failed: str | None = None
    """Why there is no such model."""
    looks: int = 1
    """Of how many models this is one that might have held by luck; they share the 5 %."""

    def holds(self, limit: float) -> bool:
        """Whether, at 95 %, neither AUC nor logloss is worse than the full model's by more than `limit`."""
        loss = None if self.auc_loss is None else self.auc_loss.of_looks(self.looks)
        return self.failed is None and within(limit, loss, self.logloss_increase.of_looks(self.looks))

    def may_hold(self, limit: float) -> bool:
        """Whether no more than `limit` is lost as measured: noise may be all that is in the way."""
        measured = [self.logloss_increase, *([] if self.auc_loss is None else [self.auc_loss])]
        return self.failed is None and all(interval.value <= limit for interval in measured)

    def verdict(self, limit: float) -> str:
        """Return in words why it holds or does not."""
        if self.failed is not None:
            return f"cannot be: {self.failed}"
        if self.holds(limit):
            return "holds"
        looks = "" if self.looks == 1 else f" as one of {self.looks}"
        loss = None if self.auc_loss is None else self.auc_loss.of_looks(self.looks)
        if loss is not None and not loss.high <= limit:
            return (
                f"may lose {loss.high:.4f} AUC at 95 %{looks} ({loss.value:+.4f} measured), more than "
                f"{limit:g}"
            )
        increase = self.logloss_increase.of_looks(self.looks)
        return (
            f"may raise the logloss by {increase.high:.4f} at 95 %{looks} ({increase.value:+.4f} measured), "
            f"more than {limit:g}"
        )
