"""Schemas and numbers of ids for a forecast, as the command line gives them."""

from collections.abc import Sequence

from tablefold.errors import UsageError
from tablefold.logs.formats import criteo, synthetic
from tablefold.logs.formats.registry import schema_of
from tablefold.schema import FeatureSchema
from tablefold.trainer.methods.builder import FeatureSize

__all__ = ["parse_sizes", "schema_named"]


def schema_named(spec: str) -> tuple[FeatureSchema, list[str]]:
    """Return the schema of a format or of a SCHEMA.toml, and its usual numbers of ids.

    Only criteo has any: those of Criteo-Kaggle. Raises UsageError for an unknown name.
    """
    schema = schema_of(spec)
    usual = zip(criteo.SCHEMA.categorical, synthetic.FIELD_SIZES, strict=True)
    return schema, [f"{feature.name}={size}" for feature, size in usual] if spec == "criteo" else []


def parse_sizes(schema: FeatureSchema, given: Sequence[str]) -> list[FeatureSize]:
    """Return the sizes that `FEATURE=DISTINCT` or `FEATURE=DISTINCT/OFTEN` give, one for each feature.

    Raises UsageError for a missing or unknown feature and for a text that is no number.
    """
    names = [feature.name for feature in schema.categorical]
    sizes = {}
    for text in given:
        name, _, numbers = text.partition("=")
        distinct, _, often = numbers.partition("/")
        if name not in names or not distinct.isdecimal() or not (often or "0").isdecimal():
            raise UsageError(
                f"--ids {text!r}: give FEATURE=DISTINCT or FEATURE=DISTINCT/OFTEN with one of the features "
                f"{', '.join(names)} and numbers of ids"
            )
        seen = int(distinct)
        sizes[name] = FeatureSize(distinct=seen, known=seen, often=min(seen, int(often or distinct)))
    missing = [name for name in names if name not in sizes]
    if missing:
        raise UsageError(f"--ids is missing for {', '.join(missing)}")
    return [sizes[name] for name in names]
