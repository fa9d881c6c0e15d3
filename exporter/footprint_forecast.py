"""The footprint of a model that is not trained yet: from its schema, its numbers of ids and its options.

Sizes of dictionaries, rows and networks are those that the export itself uses.
"""

from collections.abc import Mapping, Sequence

import torch

from tablefold.errors import UsageError
from tablefold.exporter.byte_counts import network_bytes
from tablefold.exporter.dictionaries.false_hits import allowed_false_hits
from tablefold.exporter.options import ExportOptions, NetworkType, RowType
from tablefold.exporter.passes.lookup import DICTIONARIES
from tablefold.exporter.tables.waste import table_bytes, without_waste
from tablefold.model_size import Footprint, Parts, full_table_bytes
from tablefold.schema import FeatureSchema
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.methods.builder import FeatureSize, RowMapSize
from tablefold.trainer.methods.registry import Method, require_settings, row_map_sizes
from tablefold.trainer.networks.registry import OURS

__all__ = ["footprint", "forecast_footprint"]


def forecast_footprint(
    schema: FeatureSchema, sizes: Sequence[FeatureSize], config: TrainConfig, options: ExportOptions
) -> Footprint:
    """Return the bytes by part, within a percent and a few thousand bytes of constants.

    `sizes` are those of the categorical features, in the schema's order. Raises UsageError for settings that
    do not fit the schema, and for a network that is not one of ours.
    """
    require_settings(config, schema)
    row_types = options.row_types(schema)
    row_maps = [
        row_map_sizes(config, feature.name, size)
        for feature, size in zip(schema.categorical, sizes, strict=True)
    ]
    tables, scales = _table_bytes(schema, config, row_maps, row_types)
    every = [row_map for feature_maps in row_maps for row_map in feature_maps]
    unknown = [size.unknown for size, feature_maps in zip(sizes, row_maps, strict=True) for _ in feature_maps]
    vocabulary, row_map_bytes = 0, 0
    if any(row_map.known for row_map in every):
        vocabulary, row_map_bytes = DICTIONARIES[options.lookup].forecast_bytes(
            [row_map.known for row_map in every],
            [row_map.rows for row_map in every],
            allowed_false_hits(unknown),
        )
    return Footprint(
        parts=Parts(
            tables=tables,
            scales=scales,
            vocabulary=vocabulary,
            row_maps=row_map_bytes,
            network=_network_bytes(schema, config, options.network_type),
        ),
        baseline_fp32=full_table_bytes(sum(size.distinct for size in sizes), config.dim),
    )


def footprint(
    schema: FeatureSchema,
    ids: Mapping[str, int],
    config: TrainConfig | None = None,
    options: ExportOptions | None = None,
) -> Footprint:
    """Return the bytes by part of a model before it is trained, within a percent.

    `ids` are the numbers of distinct ids that training examples show, by categorical feature. A bundle's own
    footprint is `read_manifest(folder).footprint`.

    Raises UsageError for a feature that is missing or unknown, for settings that do not fit the schema, and
    for a network that is not one of ours.
    """
    names = [feature.name for feature in schema.categorical]
    if sorted(ids) != sorted(names) or not all(number > 0 for number in ids.values()):
        raise UsageError(f"give a number of ids, at least 1, for each of {', '.join(names)}, and no others")
    sizes = [FeatureSize(distinct=ids[name], known=ids[name], often=ids[name]) for name in names]
    return forecast_footprint(schema, sizes, config or TrainConfig(), options or ExportOptions())


def _table_bytes(
    schema: FeatureSchema,
    config: TrainConfig,
    row_maps: Sequence[Sequence[RowMapSize]],
    row_types: Sequence[RowType],
) -> tuple[int, int]:
    """Return the bytes of rows, projections and pooling matrix, and those of the scales."""
    width, projection = config.dim, 0
    if Method.parse(config.method).table != "single" and config.inner_dim < config.dim:
        width, projection = config.inner_dim, 4 * len(row_maps) * config.inner_dim * config.dim
    rows = [sum(size.rows + size.hashed_rows for size in feature_maps) for feature_maps in row_maps]
    row_types = without_waste(row_types, rows, width)
    stored, scales = 0, 0
    for row_type in set(row_types):
        own = [n for n, given in zip(rows, row_types, strict=True) if given is row_type]
        stored += table_bytes(row_type, own, width)
        scales += sum(n * row_type.scales_of_row(width) + row_type.scales_of_feature(width) for n in own)
    lookups = sum(
        feature.slots * len(feature_maps)
        for feature, feature_maps in zip(schema.categorical, row_maps, strict=True)
    )
    pools = 4 * lookups * len(row_maps) if lookups > len(row_maps) else 0
    return stored - scales + projection + pools, scales


def _network_bytes(schema: FeatureSchema, config: TrainConfig, network_type: NetworkType) -> int:
    if config.network not in OURS:
        raise UsageError(f"--network {config.network!r}: the bytes are known of {', '.join(OURS)} only")
    with torch.device("meta"):
        network = OURS[config.network](config)(len(schema.dense), len(schema.categorical), config.dim)
    return network_bytes(network, network_type)
