"""Methods by composition: row maps and a table.

The name of a row map method (`full`, `hash`, `lhf`, ...; see `fixed_row_maps` and `learned_row_maps`) stands
for a single-layer table, with `+mlet` for an MLET table, with `+fixed` for one whose projections stay as
they were drawn; `mlet` alone is `full+mlet`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

from tablefold.errors import UsageError
from tablefold.schema import FeatureSchema
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.row_map import RowMap, num_rows
from tablefold.trainer.embedding.table import MLET, FixedProjection, SingleLayer, Table
from tablefold.trainer.embedding.vocabulary import Vocabulary
from tablefold.trainer.methods import hashed as fixed
from tablefold.trainer.methods import learned
from tablefold.trainer.methods.builder import FeatureSize, RowMapBuilder, RowMapRequest, RowMapSize, VectorsOf

ROW_MAPS: dict[str, RowMapBuilder] = {
    "full": fixed.IDENTITY,
    "hash": fixed.HASH,
    "double": fixed.DOUBLE_HASH,
    "qr": fixed.QUOTIENT_REMAINDER,
    "head": fixed.PRIVATE_HEAD,
    "random": fixed.RANDOM,
    "lhf": learned.WARD,
    "lhf-f": learned.FREQUENCY,
    "lhf-e": learned.VECTOR,
    "lhf-head": learned.HEAD_THEN_WARD,
    "lhf-joint": learned.JOINT,
}
TABLES: dict[str, Callable[[Sequence[int], int, int], Table]] = {
    "single": lambda feature_rows, dim, _: SingleLayer(feature_rows, dim),
    "mlet": MLET,
    "fixed": FixedProjection,
}
"""By name: (rows of each feature, d, inner dim k) -> table."""


@dataclass(frozen=True)
class Method:
    """The names of a row map method and of a table."""

    row_map: str
    table: str

    @classmethod
    def parse(cls, name: str) -> "Method":
        """From `full`, `hash`, `mlet`, `lhf`, `lhf+mlet`, ... Raises UsageError for any other name."""
        row_map, plus, table = ("full+mlet" if name == "mlet" else name).partition("+")
        table = table if plus else "single"
        if row_map not in ROW_MAPS or table not in TABLES:
            known = ", ".join(ROW_MAPS)
            raise UsageError(
                f"--method {name!r} is not known: give one of {known}, alone or with +mlet, or mlet"
            )
        return cls(row_map, table)

    def make_table(self, row_maps: Sequence[Sequence[RowMap]], dim: int, inner_dim: int) -> Table:
        """The fused table for the rows of all features."""
        return TABLES[self.table]([num_rows(its) for its in row_maps], dim, inner_dim)


def make_row_maps(config: TrainConfig, vocabulary: Vocabulary, vectors_of: VectorsOf) -> tuple[RowMap, ...]:
    """The row maps of one feature."""
    name = vocabulary.feature.name
    request = RowMapRequest(
        vocabulary=vocabulary,
        rows=rows_of_feature(config, name, vocabulary.distinct),
        vectors_of=vectors_of,
        seed=config.seed,
    )
    return _row_map_builder(config, name, len(vocabulary)).make(request)


def row_map_sizes(config: TrainConfig, feature: str, size: FeatureSize) -> tuple[RowMapSize, ...]:
    """The sizes of one feature's row maps, before they exist."""
    rows = rows_of_feature(config, feature, size.distinct)
    return _row_map_builder(config, feature, size.known).sizes(size, rows)


def require_settings(config: TrainConfig, schema: FeatureSchema) -> None:
    """Raises UsageError for a method that is not known and for settings of a feature that is not there."""
    Method.parse(config.method)
    names = [feature.name for feature in schema.categorical]
    for option, settings in (("--method-of", config.method_of), ("--row-ratio-of", config.row_ratio_of)):
        strangers = sorted(set(settings) - set(names))
        if strangers:
            raise UsageError(
                f"{option} names {strangers[0]!r}, which is no categorical feature: there are "
                f"{', '.join(names)}"
            )
    if config.warm_start and (config.method != "lhf" or config.method_of):
        raise UsageError("--warm-start is for --method lhf, and the same one for all features")
    for feature, name in config.method_of.items():
        if name not in ROW_MAPS:
            raise UsageError(f"--method-of {feature}={name} is not known: give one of {', '.join(ROW_MAPS)}")


def rows_of_feature(config: TrainConfig, feature: str, distinct: int) -> int:
    """How many rows a feature gets when it is to have `row_ratio` times fewer than ids."""
    return max(1, ceil(distinct / config.row_ratio_of.get(feature, config.row_ratio)))


def _row_map_builder(config: TrainConfig, feature: str, known: int) -> RowMapBuilder:
    """The feature's own; else small ones keep all their rows."""
    usual = "full" if known <= config.full_below else Method.parse(config.method).row_map
    return ROW_MAPS[config.method_of.get(feature, usual)]
