"""`tablefold export`: the command and what it shows while it runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tablefold.errors import UsageError
from tablefold.exporter.options import ExportOptions, RowType
from tablefold.options import options_of
from tablefold.trainer.compression.cli import OwnNetwork
from tablefold.trainer.config import TrainConfig

if TYPE_CHECKING:
    from tablefold.model_size import Footprint


RowTypes = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[FEATURE=]TYPE",
        help="How rows are stored: fp32, fp16, int8 or int4; FEATURE=TYPE for one feature. Repeatable. "
        "(default fp32)",
        show_default=False,
    ),
]
OTHER_OPTIONS = ("network_type", "lookup", "max_logloss_increase")
"""Fields of ExportOptions but for those that RowTypes gives."""


@options_of("options", ExportOptions, only=OTHER_OPTIONS)
def export(
    checkpoint: Annotated[Path, typer.Argument(help="The folder that `tablefold train` wrote.")],
    repository: Annotated[
        str,
        typer.Option(
            help="The model repository to write into: a folder, or a URL (s3://, gs://, az://).",
            show_default=False,
        ),
    ],
    name: Annotated[str, typer.Option(help="The model's name in the repository.", show_default=False)],
    version: Annotated[
        str | None, typer.Option(metavar="N", help="The version to write. (default: the next free one)")
    ] = None,
    row_type: RowTypes = None,
    options: ExportOptions = ExportOptions(),
    network: OwnNetwork = "dlrm",
) -> None:
    """Fold a checkpoint into an ONNX graph that takes raw ids, prove it equal, write the bundle."""
    from tablefold.bundle import read_manifest
    from tablefold.console import make_console, print_written
    from tablefold.exporter.export import export as run
    from tablefold.exporter.export import require_place
    from tablefold.exporter.proof.quality import describe_cost
    from tablefold.exporter.repository.version_folder import parse_version
    from tablefold.exporter.tables.waste import describe_waste
    from tablefold.files.place import place_of
    from tablefold.trainer.checkpoint.files import load
    from tablefold.trainer.networks.registry import import_factory

    number = None if version is None else parse_version(version)
    require_place(place_of(repository), name, number)
    options = with_row_types(options, row_type)
    console = make_console(stderr=True)
    with console.status("reading the checkpoint") as status:
        trained = load(checkpoint, import_factory(network))
        folder = run(trained, repository, name, version=number, options=options, on_step=status.update)
    manifest = read_manifest(folder)
    footprint = manifest.footprint
    names = [feature.name for feature in manifest.feature_schema.categorical]
    asked = options.row_types(manifest.feature_schema)
    stored = [manifest.row_type_of.get(feature, manifest.row_type) for feature in names]
    print_written(console, folder, ": verified equal to the checkpoint")
    for line in (
        f"{footprint.parts.total:,} bytes, everything counted; the bare fp32 table alone takes "
        f"{footprint.baseline_fp32:,} ({footprint.compression:.2f}x)",
        f"dictionary and row maps: {footprint.parts.vocabulary + footprint.parts.row_maps:,} bytes; "
        f"{manifest.entropy_bytes:,} at the least, by the entropy of their rows",
        *describe_cost(manifest.metrics).split("; "),
        *describe_waste(names, asked, stored),
    ):
        console.print(f"  {line}")


def with_row_types(options: ExportOptions, given: list[str] | None) -> ExportOptions:
    """Return the options with row types as RowTypes gives them. Raises UsageError for an unknown type."""
    types = {}
    for text in given or []:
        feature, _, row_type = text.rpartition("=")
        if row_type not in list(RowType):
            raise UsageError(f"--row-type {text!r} is not known: give {', '.join(RowType)}")
        types[feature] = RowType(row_type)
    usual = types.pop("", options.row_type)
    return options.model_copy(update={"row_type": usual, "row_type_of": types})


def forecast_footprint(
    data: str | None,
    cache: Path | None,
    schema: str | None,
    ids: Sequence[str],
    config: TrainConfig,
    options: ExportOptions,
) -> "Footprint":
    """Return the footprint of a model that is not trained yet.

    Ids are those of a log, which are counted, or numbers of ids for a schema. Raises UsageError.
    """
    from rich.console import Console

    from tablefold.exporter import footprint_forecast
    from tablefold.exporter.dictionaries.false_hits import unknown_share
    from tablefold.exporter.id_counts import parse_sizes, schema_named
    from tablefold.logs.terminal import read_splits_with_bar
    from tablefold.trainer.defaults.by_log import by_log
    from tablefold.trainer.embedding.vocabulary import count_vocabularies, with_known_from
    from tablefold.trainer.methods.builder import FeatureSize

    if data is not None:
        described, splits = read_splits_with_bar(Console(stderr=True), data, cache=cache)
        config = by_log(config, described, len(splits.train))
        described = with_known_from(described, config.known_from)
        sizes = [
            FeatureSize.of(
                vocabulary,
                unknown_share(vocabulary.ids, splits.validation.ids[:, described.feature_of_column == index]),
            )
            for index, vocabulary in enumerate(count_vocabularies(described, splits.train))
        ]
    else:
        described, usual = schema_named(str(schema))
        sizes = parse_sizes(described, ids or usual)
    return footprint_forecast.forecast_footprint(described, sizes, config, options)
