"""The manifest of a bundle whose files are written."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tablefold.bundle import GRAPH, WEIGHTS, GoldenRows, Manifest, Method, digest
from tablefold.exporter.options import ExportOptions, RowType
from tablefold.model_size import Footprint, Parts, full_table_bytes
from tablefold.reference import Reference
from tablefold.trainer.checkpoint.checkpoint import Checkpoint


def describe_bundle(
    folder: Path,
    checkpoint: Checkpoint,
    options: ExportOptions,
    *,
    name: str,
    rows: int,
    row_types: Sequence[RowType],
    false_hit_rate_of: Mapping[str, float],
    entropy: int,
    parts: Parts,
    cost: Mapping[str, float],
    reference: Reference,
    golden: GoldenRows,
) -> Manifest:
    """Return everything about a bundle but its arrays. Its version is 1 until it is published.

    `rows` are those of the folded table, `row_types` those of the features; `parts` are the bytes of the
    graph's arrays.
    """
    description = checkpoint.description
    usual = options.row_type if options.row_type in row_types else row_types[0]
    distinct, dim = description.distinct_ids, description.config.dim
    return Manifest(
        name=name,
        version=1,
        feature_schema=description.feature_schema,
        method=Method(
            name=description.config.method,
            dim=dim,
            rows=rows,
            distinct_ids=distinct,
            known_ids=sum(
                max(len(row_map.keys) for row_map in feature_maps) for feature_maps in checkpoint.row_maps
            ),
        ),
        row_type=usual.value,
        row_type_of={
            feature.name: row_type.value
            for feature, row_type in zip(description.feature_schema.categorical, row_types, strict=True)
            if row_type is not usual
        },
        network_type=options.network_type.value,
        tolerance=options.network_type.tolerance,
        lookup=options.lookup.value,
        false_hit_rate=max(false_hit_rate_of.values()),
        false_hit_rate_of={feature: rate for feature, rate in false_hit_rate_of.items() if rate},
        entropy_bytes=entropy,
        footprint=Footprint(parts=parts, baseline_fp32=full_table_bytes(distinct, dim)),
        metrics={**description.metrics, **cost},
        provenance=description.provenance | {"seed": str(description.config.seed)},
        reference=reference,
        golden=golden,
        files={file: digest(folder / file) for file in (GRAPH, WEIGHTS)},
    )
