"""`tablefold train`: the command and what it shows while it runs."""

from pathlib import Path
from typing import Annotated

import typer

LARGE_BATCH = 2048
"""Rows of a step where the log has enough for a hundred of them."""


def train(
    data: Annotated[
        str,
        typer.Option(help="criteo:PATH, avazu:PATH, movielens:PATH, synthetic:ROWS or a SCHEMA.toml."),
    ],
    out: Annotated[Path, typer.Option(help="The checkpoint folder to write.")],
    method: Annotated[
        str,
        typer.Option(help="full, hash, mlet, lhf, lhf+mlet or hash+mlet: a row map, with or without MLET."),
    ] = "full",
    dim: Annotated[int, typer.Option(min=1, max=1024, help="d: the width of a served vector.")] = 16,
    inner_dim: Annotated[
        int, typer.Option(min=1, max=4096, help="k: the width of MLET's inner table; folded away.")
    ] = 64,
    row_ratio: Annotated[
        float, typer.Option(min=1, help="How many times fewer rows than ids a hash gets.")
    ] = 10,
    epochs: Annotated[int, typer.Option(min=1, help="At most this many passes over the rows.")] = 3,
    seed: Annotated[int, typer.Option(help="Repeats a run.")] = 0,
    batch_rows: Annotated[
        int | None,
        typer.Option(min=1, help="Rows of a training step.  [default: 2048, or 1 % of a small log]"),
    ] = None,
    lr: Annotated[float, typer.Option(help="Learning rate of the network.")] = 1e-3,
    table_lr: Annotated[float, typer.Option(help="Learning rate of the table's rows.")] = 1e-2,
    split: Annotated[
        str | None, typer.Option(help="How one log is cut: order or random.  [default: the format's own]")
    ] = None,
) -> None:
    """Train a model on a log and write a checkpoint.

    The epoch with the best validation logloss is kept; test rows are read once, at the end.
    """
    from pydantic import ValidationError
    from rich.console import Console

    from tablefold.errors import UsageError
    from tablefold.logs import SplitRule, read_splits
    from tablefold.trainer.config import TrainConfig
    from tablefold.trainer.method import Method
    from tablefold.trainer.observer import Terminal
    from tablefold.trainer.train import train as run

    Method.parse(method)  # a wrong name is refused before the log is read
    if split not in (None, *SplitRule):
        raise UsageError(f"--split {split!r} is not known: give order or random")
    console = Console(stderr=True)
    schema, splits = read_splits(data, rule=SplitRule(split) if split else None, seed=seed)
    batch_rows = batch_rows or min(LARGE_BATCH, max(32, len(splits.train) // 100))
    try:
        config = TrainConfig(
            method=method, dim=dim, inner_dim=inner_dim, row_ratio=row_ratio, epochs=epochs, seed=seed,
            batch_rows=batch_rows, lr=lr, table_lr=table_lr,
        )  # fmt: skip
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"--{option} {first['input']}: {first['msg']}") from error
    console.print(
        f"{data}: {len(splits.train):,} training, {len(splits.validation):,} validation and "
        f"{len(splits.test):,} test rows",
        highlight=False,
    )
    with Terminal(console) as terminal:
        checkpoint = run(schema, splits, config, out, observer=terminal, data=data)
    metrics = checkpoint.description.metrics
    console.print(
        f"[green]wrote[/green] {out}: test AUC {metrics.get('test_auc', float('nan')):.4f}, "
        f"test logloss {metrics['test_logloss']:.4f}",
        highlight=False,
        soft_wrap=True,
    )
