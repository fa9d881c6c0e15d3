"""Methods by composition: row maps and a table.

The name of a row map builder (`full`, `hash`, `lhf`, ...; see `hashed` and `learned`), or the
`package.module:Factory` of the user's own, stands for a single-layer table. With `+mlet` it has an MLET
table, with `+fixed` one whose projections stay as they were drawn. `mlet` alone is `full+mlet`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from tablefold.errors import UsageError
from tablefold.schema import FeatureSchema
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.row_map import RowMap, num_rows
from tablefold.trainer.embedding.table import (
    MLET,
    FixedProjection,
    FusedRows,
    MakeRows,
    SingleLayer,
    Table,
)
from tablefold.trainer.embedding.vocabulary import Vocabulary
from tablefold.trainer.imports import import_object, is_import_name
from tablefold.trainer.methods import learned
from tablefold.trainer.methods.builder import FeatureSize, RowMapBuilder, RowMapRequest, RowMapSize
from tablefold.trainer.methods.hashed import (
    DoubleHash,
    Hash,
    Identity,
    PrivateHead,
    QuotientRemainder,
    Random,
)

ROW_MAPS: dict[str, RowMapBuilder] = {
    "full": Identity(),
    "hash": Hash(),
    "double": DoubleHash(),
    "qr": QuotientRemainder(),
    "head": PrivateHead(),
    "random": Random(),
    "lhf": learned.LearnedHash(learned.ward),
    "lhf-f": learned.LearnedHash(learned.by_frequency, reads_vectors=False),
    "lhf-e": learned.LearnedHash(learned.by_vector),
    "lhf-head": learned.LearnedHash(learned.head_then_ward),
    "lhf-joint": learned.LearnedHash(learned.jointly),
}
TABLES: dict[str, Callable[[Sequence[int], int, int, MakeRows], Table]] = {
    "single": lambda feature_rows, dim, _, make_rows: SingleLayer(feature_rows, dim, make_rows),
    "mlet": MLET,
    "fixed": FixedProjection,
}
"""By name: (rows of each feature, d, inner dim k, what holds the rows) -> table."""


@dataclass(frozen=True)
class Method:
    """The name of a row map builder and that of a table."""

    row_map: str
    table: str

    @classmethod
    def parse(cls, name: str) -> "Method":
        """Parse `full`, `hash`, `mlet`, `lhf+mlet`, `package.module:Factory+mlet`, ...; nothing is imported.

        Raises UsageError for any other name.
        """
        row_map, plus, table = ("full+mlet" if name == "mlet" else name).partition("+")
        table = table if plus else "single"
        if table not in TABLES or not (row_map in ROW_MAPS or is_import_name(row_map)):
            raise UsageError(
                f"--method {name!r} is not known: give one of {', '.join(ROW_MAPS)} or "
                "package.module:Factory, alone or with +mlet, or mlet"
            )
        return cls(row_map, table)

    def make_table(
        self,
        row_maps: Sequence[Sequence[RowMap]],
        dim: int,
        inner_dim: int,
        make_rows: MakeRows = FusedRows,
    ) -> Table:
        """Return the fused table, untrained, for the rows of all features."""
        return TABLES[self.table]([num_rows(maps) for maps in row_maps], dim, inner_dim, make_rows)


def builder_named(option: str, name: str) -> RowMapBuilder:
    """Return a row map builder of ours, or import the user's own and call it without arguments.

    Raises UsageError for a name that leads nowhere and for what is no row map builder.
    """
    if name in ROW_MAPS:
        return ROW_MAPS[name]
    factory = import_object(option, name, ROW_MAPS)
    try:
        builder = factory() if callable(factory) else factory
    except TypeError as error:  # it needs arguments, or has no `build`
        raise UsageError(f"{option} {name} cannot be called without arguments: {error}") from error
    if not isinstance(builder, RowMapBuilder):
        raise UsageError(
            f"{option} {name} gives {type(builder).__name__}, and must give a "
            "tablefold.trainer.methods.RowMapBuilder"
        )
    return builder


def make_row_maps(
    config: TrainConfig, vocabulary: Vocabulary, vectors: np.ndarray | None = None
) -> tuple[RowMap, ...]:
    """Build the row maps of one feature; `vectors` are for builders that need them (see `RowMapRequest`).

    Raises UsageError where a builder of the user's own returns anything else.
    """
    name = vocabulary.feature.name
    builder = _builder_of(config, name, len(vocabulary))
    rows = rows_of_feature(config, name, vocabulary.distinct)
    row_maps = builder.build(
        RowMapRequest(vocabulary=vocabulary, rows=rows, seed=config.seed, vectors=vectors)
    )
    if not (isinstance(row_maps, tuple) and row_maps and all(isinstance(m, RowMap) for m in row_maps)):
        raise UsageError(
            f"{type(builder).__name__}.build must return a tuple of row maps, and returned "
            f"{type(row_maps).__name__} for the feature {name!r}"
        )
    return row_maps


def row_map_sizes(config: TrainConfig, feature: str, size: FeatureSize) -> tuple[RowMapSize, ...]:
    """Return the sizes of one feature's row maps before they are built."""
    rows = rows_of_feature(config, feature, size.distinct)
    return _builder_of(config, feature, size.known).sizes(size, rows)


def needs_vectors(config: TrainConfig, vocabulary: Vocabulary) -> bool:
    """Return whether one feature's row maps are built from first-stage vectors."""
    name = vocabulary.feature.name
    rows = rows_of_feature(config, name, vocabulary.distinct)
    builder = _builder_of(config, name, len(vocabulary))
    return builder.needs_vectors(FeatureSize.of(vocabulary), rows)


def require_settings(config: TrainConfig, schema: FeatureSchema) -> None:
    """Raise UsageError for a method that is not known and for settings of a feature that is not there."""
    builder_named("--method", Method.parse(config.method).row_map)
    names = [feature.name for feature in schema.categorical]
    for option, settings in (("--method-of", config.method_of), ("--row-ratio-of", config.row_ratio_of)):
        unknown = sorted(set(settings) - set(names))
        if unknown:
            raise UsageError(
                f"{option} names {unknown[0]!r}, which is no categorical feature: there are "
                f"{', '.join(names)}"
            )
    if config.warm_start and (config.method != "lhf" or config.method_of):
        raise UsageError("--warm-start is for --method lhf, and the same one for all features")
    for feature, name in config.method_of.items():
        builder_named(f"--method-of {feature}", name)


def rows_of_feature(config: TrainConfig, feature: str, distinct: int) -> int:
    """Return how many rows a feature gets if it is to have `row_ratio` times fewer than ids."""
    return max(1, ceil(distinct / config.row_ratio_of.get(feature, config.row_ratio)))


def _builder_of(config: TrainConfig, feature: str, known: int) -> RowMapBuilder:
    """Return the feature's own builder; else small features keep all their rows."""
    if feature in config.method_of:
        return builder_named(f"--method-of {feature}", config.method_of[feature])
    if known <= config.full_below:
        return ROW_MAPS["full"]
    return builder_named("--method", Method.parse(config.method).row_map)
