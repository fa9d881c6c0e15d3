"""`tablefold train`: the command and what it shows while it runs."""

from pathlib import Path
from typing import Annotated

import typer

LARGE_BATCH = 2048
"""Rows of a step where the log has enough for a hundred of them."""


def train(
    data: Annotated[
        str,
        typer.Option(
            help="criteo:PATH, avazu:PATH, movielens:PATH, frappe:PATH, synthetic:ROWS or a SCHEMA.toml."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The checkpoint folder to write.")],
    method: Annotated[
        str,
        typer.Option(
            help="How ids share rows: full, hash, double, qr, head, lhf, lhf-f, lhf-e, lhf-head, lhf-joint, "
            "alone or with +mlet for an MLET table; mlet is full+mlet."
        ),
    ] = "full",
    dim: Annotated[int, typer.Option(min=1, max=1024, help="d: the width of a served vector.")] = 16,
    inner_dim: Annotated[
        int, typer.Option(min=1, max=4096, help="k: the width of MLET's inner table; folded away.")
    ] = 64,
    row_ratio: Annotated[
        float, typer.Option(min=1, help="How many times fewer rows than ids a hash gets.")
    ] = 10,
    full_below: Annotated[
        int, typer.Option(min=0, help="A feature with at most this many ids keeps a row for each.")
    ] = 32,
    method_of: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FEATURE=METHOD",
            help="How ids of one feature share rows, such as user_id=hash; repeat it for others.",
        ),
    ] = None,
    row_ratio_of: Annotated[
        list[str] | None,
        typer.Option(metavar="FEATURE=RATIO", help="The row ratio of one feature; repeat it for others."),
    ] = None,
    warm_start: Annotated[
        bool,
        typer.Option(
            "--warm-start", help="With lhf: train a full table first, merge its alike rows, go on gently."
        ),
    ] = False,
    epochs: Annotated[int, typer.Option(min=1, help="At most this many passes over the rows.")] = 3,
    patience: Annotated[
        int, typer.Option(min=1, help="Stop after this many epochs without a better validation logloss.")
    ] = 1,
    network: Annotated[
        str,
        typer.Option(help="dlrm, dcnv2, deepfm, or package.module:Factory of your own torch.nn.Module."),
    ] = "dlrm",
    seed: Annotated[int, typer.Option(help="Repeats a run.")] = 0,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Rows of a training step.  [default: 2048, or 1 % of a small log]"),
    ] = None,
    lr: Annotated[float, typer.Option(help="Learning rate of the network.")] = 1e-3,
    embedding_lr: Annotated[float, typer.Option(help="Learning rate of the table's rows.")] = 1e-2,
    l2: Annotated[
        float, typer.Option(min=0, help="Penalty on looked-up vectors; 1e-2 is worth a try on small logs.")
    ] = 0,
    split: Annotated[
        str | None, typer.Option(help="How one log is cut: order or random.  [default: the format's own]")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the same command was stopped.")
    ] = False,
    checkpoint_every: Annotated[
        float, typer.Option(min=0, metavar="MINUTES", help="How often to keep what --resume goes on from.")
    ] = 10,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Encode the log's files there once, on disk, and read them from there: for logs larger than "
            "memory, and for many runs of one log.",
        ),
    ] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write TensorBoard's event files there too.")
    ] = None,
) -> None:
    """Train a model on a log and write a checkpoint.

    The epoch with the best validation logloss is kept; test rows are read once, at the end. What is measured
    on the way goes to OUT.metrics.jsonl, what --resume needs to OUT.state until the run is done.
    """
    from contextlib import ExitStack

    from rich.console import Console

    from tablefold.errors import UsageError
    from tablefold.logs import SplitRule
    from tablefold.logs.terminal import read_splits_with_bar
    from tablefold.trainer.checkpoint.files import require_free
    from tablefold.trainer.config import config_of
    from tablefold.trainer.methods.registry import Method
    from tablefold.trainer.networks.registry import import_factory
    from tablefold.trainer.progress.metrics_log import JsonLines, TensorBoard
    from tablefold.trainer.progress.terminal import Terminal
    from tablefold.trainer.training.callbacks import Callback, Callbacks
    from tablefold.trainer.training.run import train as run

    Method.parse(method)  # a wrong name is refused before the log is read
    import_factory(network)
    require_free(out)
    if split not in (None, *SplitRule):
        raise UsageError(f"--split {split!r} is not known: give order or random")
    console = Console(stderr=True, emoji=False)  # or synthetic:100: would show a picture
    rule = SplitRule(split) if split else None
    schema, splits = read_splits_with_bar(console, data, rule=rule, seed=seed, cache=cache)
    batch_size = batch_size or min(LARGE_BATCH, max(32, len(splits.train) // 100))
    config = config_of(
        method=method, dim=dim, inner_dim=inner_dim, row_ratio=row_ratio, full_below=full_below,
        method_of=method_of or (), row_ratio_of=row_ratio_of or (), warm_start=warm_start,
        epochs=epochs, patience=patience, seed=seed, batch_size=batch_size, lr=lr,
        embedding_lr=embedding_lr, l2=l2, network=network,
    )  # fmt: skip
    console.print(
        f"{data}: {len(splits.train):,} training, {len(splits.validation):,} validation and "
        f"{len(splits.test):,} test rows",
        highlight=False,
    )
    with ExitStack() as stack:
        callbacks: list[Callback] = [JsonLines(out, resume=resume)]
        if tensorboard is not None:
            callbacks.append(stack.enter_context(TensorBoard(tensorboard)))
        callbacks.append(stack.enter_context(Terminal(console)))
        run(
            schema, splits, config, out, callback=Callbacks(callbacks), data=data, resume=resume,
            state_minutes=checkpoint_every,
        )  # fmt: skip
    console.print(f"[green]wrote[/green] {out}", highlight=False, soft_wrap=True)


def compress(
    checkpoint: Annotated[Path, typer.Argument(help="The folder of a trained or adopted model.")],
    out: Annotated[Path, typer.Option(help="The checkpoint folder to write.")],
    rank: Annotated[
        int | None, typer.Option(min=1, help="Store this many values a row and a projection a feature.")
    ] = None,
    row_ratio: Annotated[
        float, typer.Option(min=1, help="How many times fewer rows: alike ids then share one.")
    ] = 1,
    network: Annotated[
        str,
        typer.Option(help="package.module:Factory, if the model was trained with a network of your own."),
    ] = "dlrm",
) -> None:
    """Compress a trained model without training it again, and say what that cost.

    Fewer bits a row come after this: `tablefold export --row-type`.
    """
    from rich.console import Console
    from rich.table import Table

    from tablefold.errors import UsageError
    from tablefold.trainer.checkpoint import files as checkpoints
    from tablefold.trainer.compression.compress import compress as run
    from tablefold.trainer.networks.registry import import_factory

    if rank is None and row_ratio == 1:
        raise UsageError("nothing to do: give --rank, --row-ratio or both")
    if out.resolve() == checkpoint.resolve():
        raise UsageError(f"--out {out} is the checkpoint itself; give another folder")
    checkpoints.require_free(out)
    console = Console(stderr=True)
    with console.status("reading the checkpoint") as status:
        trained = checkpoints.load(checkpoint, import_factory(network))
        done = run(trained, rank=rank, row_ratio=row_ratio, on_step=status.update)
        status.update("writing")
        checkpoints.save(done.checkpoint, out)
    table = Table("", title=f"{len(trained.validation):,} validation rows")
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
    Console().print(table)
    console.print(f"[green]wrote[/green] {out}", highlight=False, soft_wrap=True)


def neighbours(
    checkpoint: Annotated[Path, typer.Argument(help="The folder of a trained or adopted model.")],
    feature: Annotated[str, typer.Option(help="A categorical feature of its schema.")],
    value: Annotated[str, typer.Option(help="A raw value as it stands in a log; empty for a missing one.")],
    most: Annotated[int, typer.Option(min=1, help="List at most this many ids a row.")] = 10,
    network: Annotated[
        str,
        typer.Option(help="package.module:Factory, if the model was trained with a network of your own."),
    ] = "dlrm",
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Say which row a raw value has, and which ids share it."""
    from dataclasses import asdict
    from json import dumps

    from rich.console import Console
    from rich.table import Table

    from tablefold.trainer.checkpoint import files as checkpoints
    from tablefold.trainer.compression.neighbours import neighbours as find
    from tablefold.trainer.networks.registry import import_factory

    found = find(checkpoints.load(checkpoint, import_factory(network)), feature, value, most=most)
    if json:
        typer.echo(dumps(asdict(found)))
        return
    known = f"{found.count:,} training values" if found.count else "an unknown id"
    console = Console()
    console.print(
        f"{feature} {value!r} is id {found.id}: {known}", highlight=False, markup=False, soft_wrap=True
    )
    for shared in found.rows:
        console.print(
            f"row {shared.row:,}: {shared.ids:,} ids, {shared.count:,} training values", highlight=False
        )
        table = Table("id")
        table.add_column("training values", justify="right")
        for text, count in shared.most_frequent:
            table.add_row(text or "(missing)", f"{count:,}")
        console.print(table)
