"""The footprint of a model that does not exist yet: from its schema, its numbers of ids and its options."""

from collections.abc import Sequence

import torch
from torch import nn

from tablefold.errors import UsageError
from tablefold.exporter.options import ExportOptions, NetworkType
from tablefold.exporter.passes.lookup import DICTIONARIES
from tablefold.logs.formats import criteo, synthetic
from tablefold.logs.formats.registry import schema_of
from tablefold.model_size import Footprint, Parts
from tablefold.schema import FeatureSchema
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.table import PADDING_ROWS
from tablefold.trainer.methods.builder import FeatureSize
from tablefold.trainer.methods.registry import Method, require_settings, row_map_sizes
from tablefold.trainer.networks.registry import OURS


def predict(
    schema: FeatureSchema, sizes: Sequence[FeatureSize], config: TrainConfig, options: ExportOptions
) -> Footprint:
    """Bytes by part, within a percent and a few thousand bytes of constants.

    `sizes` are the categorical features' in the schema's order.
    """
    require_settings(config, schema)
    method = Method.parse(config.method)
    maps = [
        row_map_sizes(config, feature.name, size)
        for feature, size in zip(schema.categorical, sizes, strict=True)
    ]
    rows = [sum(each.rows + each.hashed_rows for each in its) for its in maps]
    known = [each.known for its in maps for each in its]
    width, projection = config.dim, 0
    if method.table != "single" and config.inner_dim < config.dim:
        width, projection = config.inner_dim, 4 * len(sizes) * config.inner_dim * config.dim
    row_types = [options.row_type_of.get(feature.name, options.row_type) for feature in schema.categorical]
    stored = sum(n * row_type.bytes_of_row(width) for n, row_type in zip(rows, row_types, strict=True))
    lookups = sum(feature.slots * len(its) for feature, its in zip(schema.categorical, maps, strict=True))
    pools = 4 * lookups * len(maps) if lookups > len(maps) else 0
    stored += PADDING_ROWS * sum(row_type.bytes_of_row(width) for row_type in set(row_types))
    scales = sum(n * row_type.bytes_of_scales for n, row_type in zip(rows, row_types, strict=True))
    vocabulary, row_maps = 0, 0
    if any(known):
        vocabulary, row_maps = DICTIONARIES[options.lookup].predicted_bytes(
            known, [each.rows for its in maps for each in its]
        )
    return Footprint(
        parts=Parts(
            tables=stored - scales + projection + pools,
            scales=scales,
            vocabulary=vocabulary,
            row_maps=row_maps,
            network=_network_bytes(schema, config, options.network_type),
        ),
        baseline_fp32=sum(size.distinct for size in sizes) * config.dim * 4,
    )


def schema_named(spec: str) -> tuple[FeatureSchema, list[str]]:
    """The schema of a format or of a SCHEMA.toml, and its usual numbers of ids: Criteo-Kaggle's, or none.

    Raises UsageError for a name that is not known.
    """
    schema = schema_of(spec)
    usual = zip(criteo.SCHEMA.categorical, synthetic.FIELD_SIZES, strict=True)
    return schema, [f"{feature.name}={size}" for feature, size in usual] if spec == "criteo" else []


def parse_sizes(schema: FeatureSchema, given: Sequence[str]) -> list[FeatureSize]:
    """Numbers of ids from `FEATURE=DISTINCT` or `FEATURE=DISTINCT/OFTEN`, one for each feature.

    Raises UsageError for a feature that is missing or unknown, and for what is no number.
    """
    names = [feature.name for feature in schema.categorical]
    sizes = {}
    for each in given:
        name, _, numbers = each.partition("=")
        distinct, _, often = numbers.partition("/")
        if name not in names or not distinct.isdecimal() or not (often or "0").isdecimal():
            raise UsageError(
                f"--ids {each!r}: give FEATURE=DISTINCT or FEATURE=DISTINCT/OFTEN with one of the features "
                f"{', '.join(names)} and numbers of ids"
            )
        seen = int(distinct)
        sizes[name] = FeatureSize(distinct=seen, known=seen, often=min(seen, int(often or distinct)))
    missing = [name for name in names if name not in sizes]
    if missing:
        raise UsageError(f"--ids is missing for {', '.join(missing)}")
    return [sizes[name] for name in names]


def _network_bytes(schema: FeatureSchema, config: TrainConfig, network_type: NetworkType) -> int:
    if config.network not in OURS:
        raise UsageError(f"--network {config.network!r}: bytes are predicted of {', '.join(OURS)} only")
    with torch.device("meta"):
        network = OURS[config.network](config)(len(schema.dense), len(schema.categorical), config.dim)
    size = {NetworkType.FP32: 4, NetworkType.FP16: 2, NetworkType.INT8: 4}[network_type]
    total = 4 * sum(buffer.numel() for buffer in network.buffers())
    total += size * sum(parameter.numel() for parameter in network.parameters())
    if network_type is NetworkType.INT8:  # the weights of products, but for the one that makes the logit
        layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
        total -= (size - 1) * sum(layer.weight.numel() for layer in layers if layer.out_features > 1)
    return total
