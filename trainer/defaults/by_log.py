"""Settings by the schema and by the log's size. How each was chosen: docs/results/defaults.md."""

from collections.abc import Mapping
from typing import Any

from tablefold.options import option_name
from tablefold.schema import FeatureSchema
from tablefold.trainer.config import CHOSEN, TrainConfig

SMALLEST_BATCH, LARGEST_BATCH = 32, 2048
STEPS = 100
"""An epoch of a small log has at least about this many steps."""
SMALL_LOG = 1_000_000
"""Training examples; of fewer, a small network learns as much as a large one."""
SMALL_LAYERS = (64, 32)
KNOWN_FROM = 10
"""Ids seen less often are noise, and the unknown row must learn from some ids."""
EXAMPLES_PER_COUNT = 5_000
"""A log of fewer than `KNOWN_FROM` times as many examples cannot spare that many ids."""


def by_log(config: TrainConfig, schema: FeatureSchema, examples: int) -> TrainConfig:
    """Return the settings, those that the user left open chosen for a log of so many training examples."""
    chosen: dict[str, Any] = {
        "batch_size": min(LARGEST_BATCH, max(SMALLEST_BATCH, examples // STEPS)),
        # Products of vectors alone are slow to learn from; with dense values DLRM is as good as any.
        "network": "dlrm" if schema.dense else "deepfm",
    }
    if examples < SMALL_LOG:
        chosen |= {"top": SMALL_LAYERS, "bottom": SMALL_LAYERS}
    if not any("min_count" in feature.model_fields_set for feature in schema.categorical):
        chosen["known_from"] = min(KNOWN_FROM, max(1, examples // EXAMPLES_PER_COUNT))
    return with_open(config, chosen)


def with_open(config: TrainConfig, chosen: Mapping[str, Any]) -> TrainConfig:
    """Return the settings with the values chosen for those that were not given."""
    given = config.model_fields_set
    return config.model_copy(update={name: chosen[name] for name in chosen if name not in given})


def describe_chosen(config: TrainConfig) -> str:
    """Return the options that give these settings: those that are chosen where they are open."""
    values = {name: getattr(config, name) for name in CHOSEN}
    if config.network != "dlrm":
        del values["bottom"]
    if not config.method.startswith("lhf") or config.warm_start:
        del values["first_stage_l2"]
    return " ".join(
        option_name(name) if value is True else f"{option_name(name)} {_text(value)}"
        for name, value in values.items()
        if value is not None and value is not False
    )


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
