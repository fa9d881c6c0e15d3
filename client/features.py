"""A request's features against the schema of its model: every one is there, once, and has a value a row."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from tablefold.client.protocols.tablefold_v1 import Column
from tablefold.client.values import categorical_ids, dense_numbers, one_row
from tablefold.errors import InvalidRequest
from tablefold.schema import CategoricalFeature, DenseFeature, FeatureSchema


class EncodedFeatures(NamedTuple):
    """What a request holds, encoded."""

    context: list[Column]
    """One row each."""
    candidates: list[Column]
    """`rows` rows each."""
    rows: int


def encode_features(
    model: str, schema: FeatureSchema, features: Mapping[str, Any], context: Mapping[str, Any]
) -> EncodedFeatures:
    """The columns of a request in the schema's order.

    Raises InvalidRequest that names the feature, and the row where a value is at fault.
    """
    known: dict[str, DenseFeature | CategoricalFeature] = {
        **{feature.name: feature for feature in schema.dense},
        **{feature.name: feature for feature in schema.categorical},
    }
    _check_names(model, known, features, context)
    candidates = [Column(name, _column(known[name], features[name])) for name in known if name in features]
    if not candidates:
        raise InvalidRequest("every feature is in `context`: give the candidates at least one of their own")
    rows = len(candidates[0].values)
    for name, values in candidates:
        if len(values) != rows:
            raise InvalidRequest(
                f"feature {name!r} has {len(values)} rows and {candidates[0].name!r} has {rows}: give "
                "each as many; what all rows share belongs in `context`"
            )
    once = [Column(name, _context_column(known[name], context[name])) for name in known if name in context]
    return EncodedFeatures(once, candidates, rows)


def _column(feature: DenseFeature | CategoricalFeature, values: Any) -> Any:
    if isinstance(feature, DenseFeature):
        return dense_numbers(feature.name, values)
    return categorical_ids(feature, values)


def _context_column(feature: DenseFeature | CategoricalFeature, value: Any) -> Any:
    column = _column(feature, one_row(getattr(feature, "slots", 1), value))
    if len(column) != 1:
        raise InvalidRequest(
            f"context feature {feature.name!r} has {len(column)} rows: the context is the same for all rows, "
            "so it takes one; values of candidates belong in `features`"
        )
    return column


def _check_names(
    model: str,
    known: Mapping[str, DenseFeature | CategoricalFeature],
    features: Mapping[str, Any],
    context: Mapping[str, Any],
) -> None:
    """Raises InvalidRequest for a name that is unknown, given twice, or missing."""
    given = [*features, *context]
    missing = [name for name, feature in known.items() if name not in given and not feature.optional]
    for name in given:
        if name not in known:
            close = get_close_matches(str(name), [*missing, *known], n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it reads {', '.join(known)}"
            raise InvalidRequest(f"model {model!r} has no feature {name!r}; {hint}")
    for name in context:
        if name in features:
            raise InvalidRequest(f"feature {name!r} is in `features` and in `context`: give it once")
    if missing:
        raise InvalidRequest(
            f"model {model!r} also reads {', '.join(map(repr, missing))}: give every feature in `features` "
            "or `context`; None is a missing value"
        )
