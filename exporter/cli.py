"""`tablefold export`: the command and what it shows while it runs."""

import re
from pathlib import Path
from typing import Annotated

import typer


def export(
    checkpoint: Annotated[Path, typer.Argument(help="The folder that `tablefold train` wrote.")],
    repository: Annotated[Path, typer.Option(help="The model repository to write into.")],
    name: Annotated[str, typer.Option(help="The model's name in the repository.")],
    version: Annotated[
        int | None, typer.Option(min=1, help="The version to write.  [default: the next free one]")
    ] = None,
    row_type: Annotated[str, typer.Option(help="How rows are stored: fp32, fp16, int8 or int4.")] = "fp32",
    lookup: Annotated[
        str,
        typer.Option(
            help="exact: ids with their keys. compact: without, in a fifth of the bytes; now and then an "
            "unknown id then passes for a known one, at the rate the manifest states."
        ),
    ] = "exact",
) -> None:
    """Fold a checkpoint into an ONNX graph that takes raw ids, prove it equal, write the bundle."""
    from rich.console import Console

    from tablefold.bundle import read_manifest
    from tablefold.errors import UsageError
    from tablefold.exporter.dictionary import DictionaryKind
    from tablefold.exporter.export import ExportOptions
    from tablefold.exporter.export import export as run
    from tablefold.exporter.row_types import RowType
    from tablefold.trainer.checkpoint import load

    if row_type not in list(RowType):
        raise UsageError(f"--row-type {row_type!r} is not known: give {', '.join(RowType)}")
    if lookup not in list(DictionaryKind):
        raise UsageError(f"--lookup {lookup!r} is not known: give {', '.join(DictionaryKind)}")
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", name):
        raise UsageError(f"--name {name!r}: use letters, digits, '_', '.' and '-'")
    console = Console(stderr=True)
    with console.status("reading the checkpoint") as status:
        folder = run(
            load(checkpoint),
            repository,
            name,
            version=version,
            options=ExportOptions(row_type=RowType(row_type), lookup=DictionaryKind(lookup)),
            on_step=status.update,
        )
    footprint = read_manifest(folder).footprint
    console.print(
        f"[green]wrote[/green] {folder}: verified equal to the checkpoint; "
        f"{footprint.parts.total:,} bytes, everything counted, where the bare fp32 table alone takes "
        f"{footprint.baseline_fp32:,} ({footprint.compression:.2f}x)",
        highlight=False,
        soft_wrap=True,
    )
