"""`tablefold export`: the command and what it shows while it runs."""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from tablefold.exporter.export import ExportOptions
    from tablefold.model_size import Footprint


def export(
    checkpoint: Annotated[Path, typer.Argument(help="The folder that `tablefold train` wrote.")],
    repository: Annotated[Path, typer.Option(help="The model repository to write into.")],
    name: Annotated[str, typer.Option(help="The model's name in the repository.")],
    version: Annotated[
        int | None, typer.Option(min=1, help="The version to write.  [default: the next free one]")
    ] = None,
    row_type: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[FEATURE=]TYPE",
            help="How rows are stored: fp32, fp16, int8 or int4. Give it again as FEATURE=TYPE for a feature "
            "that is to be stored otherwise.  [default: fp32]",
        ),
    ] = None,
    network_type: Annotated[
        str,
        typer.Option(help="What the network computes in: fp32, fp16 (for GPUs) or int8 (for CPUs)."),
    ] = "fp32",
    lookup: Annotated[
        str,
        typer.Option(
            help="exact: ids with their keys. compact: without, in a fifth of the bytes; now and then an "
            "unknown id then passes for a known one, at the rate the manifest states."
        ),
    ] = "exact",
    max_logloss_increase: Annotated[
        float,
        typer.Option(min=0, help="Write nothing if fewer bits cost more logloss on the validation rows."),
    ] = 1e-3,
    network: Annotated[
        str,
        typer.Option(help="package.module:Factory, if the model was trained with a network of your own."),
    ] = "dlrm",
) -> None:
    """Fold a checkpoint into an ONNX graph that takes raw ids, prove it equal, write the bundle."""
    from rich.console import Console

    from tablefold.bundle import read_manifest
    from tablefold.errors import UsageError
    from tablefold.exporter.export import export as run
    from tablefold.trainer.checkpoint.files import load
    from tablefold.trainer.networks.registry import import_factory

    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", name):
        raise UsageError(f"--name {name!r}: use letters, digits, '_', '.' and '-'")
    options = export_options(row_type, network_type, lookup, max_logloss_increase)
    console = Console(stderr=True)
    with console.status("reading the checkpoint") as status:
        trained = load(checkpoint, import_factory(network))
        folder = run(trained, repository, name, version=version, options=options, on_step=status.update)
    manifest = read_manifest(folder)
    footprint, metrics = manifest.footprint, manifest.metrics
    console.print(
        f"[green]wrote[/green] {folder}: verified equal to the checkpoint; "
        f"{footprint.parts.total:,} bytes, everything counted, where the bare fp32 table alone takes "
        f"{footprint.baseline_fp32:,} ({footprint.compression:.2f}x); on validation rows logloss "
        f"{metrics['export_logloss_increase']:+.5f}, no probability changed by more than "
        f"{metrics['export_largest_change']:.4f}",
        highlight=False,
        soft_wrap=True,
    )


def export_options(
    row_type: list[str] | None, network_type: str, lookup: str, max_logloss_increase: float = 1e-3
) -> "ExportOptions":
    """The options as the command line gives them. Raises UsageError for a type that is not known."""
    from tablefold.exporter.dictionaries.dictionary import DictionaryKind
    from tablefold.exporter.export import ExportOptions
    from tablefold.exporter.passes.quantise_network import NetworkType
    from tablefold.exporter.passes.row_types import RowType

    given = [each.rpartition("=") for each in row_type or []]
    types = {feature: one_of(RowType, "--row-type", value) for feature, _, value in given}
    return ExportOptions(
        row_type=types.pop("", RowType.FP32),
        row_type_of=types,
        network_type=one_of(NetworkType, "--network-type", network_type),
        lookup=one_of(DictionaryKind, "--lookup", lookup),
        max_logloss_increase=max_logloss_increase,
    )


def predict_footprint(
    data: str | None,
    cache: Path | None,
    schema: str | None,
    ids: Sequence[str],
    config: Mapping[str, Any],
    options: "ExportOptions",
) -> "Footprint":
    """The footprint of a model that is not trained yet: of a log whose ids are counted, or of a schema and
    numbers of ids. Raises UsageError."""
    from rich.console import Console

    from tablefold.exporter.prediction import parse_sizes, predict, schema_named
    from tablefold.logs.terminal import read_splits_with_bar
    from tablefold.trainer.config import config_of
    from tablefold.trainer.embedding.vocabulary import count_vocabularies
    from tablefold.trainer.methods.builder import FeatureSize

    if data is not None:
        described, splits = read_splits_with_bar(Console(stderr=True), data, cache=cache)
        sizes = [FeatureSize.of(vocabulary) for vocabulary in count_vocabularies(described, splits.train)]
    else:
        described, usual = schema_named(str(schema))
        sizes = parse_sizes(described, ids or usual)
    return predict(described, sizes, config_of(**config), options)


Choice = TypeVar("Choice", bound=StrEnum)


def one_of(choices: type[Choice], option: str, value: str) -> Choice:
    """The choice of that name. Raises UsageError listing all of them."""
    from tablefold.errors import UsageError

    if value not in list(choices):
        raise UsageError(f"{option} {value!r} is not known: give {', '.join(choices)}")
    return choices(value)
