"""`tablefold compress` and `neighbours`: what is done to a model that is there."""

from pathlib import Path
from typing import Annotated

import typer

from tablefold.console import make_console, print_written

OwnNetwork = Annotated[
    str,
    typer.Option(
        metavar="package.module:Factory",
        help="The network, if the model was trained with one of your own.",
        show_default=False,
    ),
]


def compress(
    checkpoint: Annotated[Path, typer.Argument(help="The folder of a trained or adopted model.")],
    out: Annotated[Path, typer.Option(help="The checkpoint folder to write.")],
    rank: Annotated[
        int | None, typer.Option(min=1, help="Store this many values a row and a projection a feature.")
    ] = None,
    row_ratio: Annotated[
        float, typer.Option(min=1, help="How many times fewer rows: alike ids then share one.")
    ] = 1,
    max_logloss_increase: Annotated[
        float,
        typer.Option(min=0, help="Refuse what costs more validation logloss than this."),
    ] = 1e-3,
    network: OwnNetwork = "dlrm",
) -> None:
    """Compress a trained model without training it again, and say what that cost.

    Fewer bits a row come after this: `tablefold export --row-type`.
    """
    from math import isfinite

    from rich.markup import escape
    from rich.table import Table

    from tablefold.errors import UsageError
    from tablefold.trainer.checkpoint import files as checkpoints
    from tablefold.trainer.compression.compress import compress as run
    from tablefold.trainer.networks.registry import import_factory

    if rank is None and row_ratio == 1:
        raise UsageError("nothing to do: give --rank, --row-ratio or both")
    if not isfinite(row_ratio):
        raise UsageError(f"--row-ratio {row_ratio}: give a finite number")
    if out.resolve() == checkpoint.resolve():
        raise UsageError(f"--out {out} is the checkpoint itself; give another folder")
    checkpoints.require_free(out)
    console = make_console(stderr=True)
    with console.status("reading the checkpoint") as status:
        trained = checkpoints.load(checkpoint, import_factory(network))
        done = run(
            trained,
            rank=rank,
            row_ratio=row_ratio,
            max_logloss_increase=max_logloss_increase,
            on_step=lambda step: status.update(escape(step)),
        )
        status.update("writing")
        checkpoints.save(done.checkpoint, out)
    table = Table("", title=f"{len(trained.validation):,} validation examples")
    for column in ("before", "after", "change"):
        table.add_column(column, justify="right")
    before, after = done.before, done.after
    for name, was, now in [
        ("rows", before.rows, after.rows),
        ("bytes of rows, fp32", before.row_bytes, after.row_bytes),
    ]:
        table.add_row(name, f"{was:,}", f"{now:,}", f"{was / now:.2f}x fewer")
    if before.auc is not None and after.auc is not None:
        table.add_row("AUC", f"{before.auc:.4f}", f"{after.auc:.4f}", f"{after.auc - before.auc:+.4f}")
    table.add_row(
        "logloss", f"{before.logloss:.4f}", f"{after.logloss:.4f}", f"{after.logloss - before.logloss:+.4f}"
    )
    table.add_row("largest change of a probability", "", "", f"{done.largest_change:.4f}")
    make_console().print(table, soft_wrap=False)
    print_written(console, out)


def neighbours(
    checkpoint: Annotated[Path, typer.Argument(help="The folder of a trained or adopted model.")],
    feature: Annotated[str, typer.Option(help="A categorical feature of its schema.")],
    value: Annotated[str, typer.Option(help="A raw value as it stands in a log; empty for a missing one.")],
    most: Annotated[int, typer.Option(min=1, help="List at most this many ids a row.")] = 10,
    network: OwnNetwork = "dlrm",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Say which row a raw value has, and which ids share it."""
    from dataclasses import asdict
    from json import dumps

    from rich.table import Table

    from tablefold.trainer.checkpoint import files as checkpoints
    from tablefold.trainer.compression.neighbours import neighbours as find
    from tablefold.trainer.networks.registry import import_factory

    found = find(checkpoints.load(checkpoint, import_factory(network)), feature, value, most=most)
    if json:
        typer.echo(dumps(asdict(found)))
        return
    known = f"{found.count:,} training values" if found.count else "an unknown id"
    console = make_console()
    console.print(f"{feature} {value!r} is id {found.id}: {known}")
    for shared in found.rows:
        console.print(f"row {shared.row:,}: {shared.ids:,} ids, {shared.count:,} training values")
        table = Table("id")
        table.add_column("training values", justify="right")
        for text, count in shared.most_frequent:
            table.add_row(text or "(missing)", f"{count:,}")
        if shared.most_frequent:
            console.print(table, soft_wrap=False)
