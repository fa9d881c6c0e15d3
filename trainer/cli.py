"""`tablefold train`: the command and what it shows while it runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tablefold.console import make_console, print_written
from tablefold.files.place import local_path
from tablefold.options import Cache, Data, options_of
from tablefold.trainer.config import CHOSEN, TrainConfig

if TYPE_CHECKING:
    from rich.console import Console

    from tablefold.trainer.checkpoint.checkpoint import Checkpoint

OwnNetwork = Annotated[
    str,
    typer.Option(
        metavar="package.module:Factory",
        help="The network, if the model was trained with one of your own.",
        show_default=False,
    ),
]


@options_of("config", TrainConfig, leave_out=("vectors_without_dense",), chosen=CHOSEN)
def train(
    data: Data,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", parser=local_path, help="The checkpoint folder to write.", show_default=False
        ),
    ],
    config: TrainConfig = TrainConfig(),
    split: Annotated[
        Literal["order", "random"] | None,
        typer.Option(help="How one log is cut. (default: the format's own)"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the same command was stopped.")
    ] = False,
    checkpoint_every: Annotated[
        float, typer.Option(min=0, metavar="MINUTES", help="How often to keep what --resume goes on from.")
    ] = 10,
    cache: Cache = None,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write TensorBoard's event files there too.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where the model trains: cpu, cuda or cuda:N.")] = "cpu",
) -> None:
    """Train a model on a log and write a checkpoint.

    Settings that are not given are chosen for the log: by its schema and size, then by a few short trials.
    The epoch with the best validation logloss is kept; test rows are read once, at the end. What is measured
    on the way goes to OUT.metrics.jsonl, what --resume needs to OUT.state until the run is done. Started by
    torchrun, all its processes train the one model.
    """
    from contextlib import ExitStack
    from math import isnan

    from tablefold.errors import UsageError
    from tablefold.logs import SplitRule, read_splits
    from tablefold.logs.terminal import read_splits_with_bar
    from tablefold.printable import redacted
    from tablefold.trainer.checkpoint.files import require_free
    from tablefold.trainer.defaults.by_log import describe_chosen, with_open
    from tablefold.trainer.defaults.trials import choose_settings
    from tablefold.trainer.device import open_device
    from tablefold.trainer.methods.registry import Method
    from tablefold.trainer.networks.registry import import_factory
    from tablefold.trainer.progress.metrics_log import JsonLines, TensorBoard
    from tablefold.trainer.progress.terminal import Terminal
    from tablefold.trainer.ranks.gloo import GlooRanks, join
    from tablefold.trainer.training.callbacks import Callback, Callbacks
    from tablefold.trainer.training.follow import follow
    from tablefold.trainer.training.resume import settings_of_run
    from tablefold.trainer.training.run import train as run

    if isnan(checkpoint_every):
        raise UsageError("--checkpoint-every nan: give a number of minutes")
    Method.parse(config.method)  # a wrong name is refused before the log is read
    import_factory(config.network)
    place = open_device(device)
    console = make_console(stderr=True)
    rule = SplitRule(split) if split else None
    with ExitStack() as stack:
        ranks = stack.enter_context(join())
        if ranks.world_size > 1 and place.type != "cpu":
            raise UsageError(f"--device {device} is for one process; several ranks train on the CPU")
        if isinstance(ranks, GlooRanks) and not ranks.lead:
            follow(ranks, lambda: read_splits(data, rule=rule, seed=config.seed, cache=cache))
            return
        require_free(out)
        schema, splits = read_splits_with_bar(console, data, rule=rule, seed=config.seed, cache=cache)
        console.print(
            f"{redacted(data)}: {len(splits.train):,} training, {len(splits.validation):,} validation and "
            f"{len(splits.test):,} test examples, split {splits.rule}",
        )
        callbacks: list[Callback] = [JsonLines(out, resume=resume)]
        if tensorboard is not None:
            callbacks.append(stack.enter_context(TensorBoard(tensorboard)))
        terminal = stack.enter_context(Terminal(console))
        callbacks.append(terminal)
        begun = settings_of_run(out) if resume else None
        if begun is None:
            config = choose_settings(schema, splits, config, out.parent, callback=terminal, device=place)
        else:
            config = with_open(config, {name: getattr(begun, name) for name in CHOSEN})
        console.print(f"chosen: {describe_chosen(config)}", soft_wrap=True)
        trained = run(
            schema, splits, config, out, callback=Callbacks(callbacks), data=data, resume=resume,
            state_minutes=checkpoint_every, ranks=ranks, device=place,
        )  # fmt: skip
    print_written(console, out)
    _advise(console, trained)


def _advise(console: "Console", trained: "Checkpoint") -> None:
    from tablefold.trainer.defaults.outweighed import advice_if_outweighed
    from tablefold.trainer.training.collapse import describe_collapse

    if (advice := advice_if_outweighed(trained)) is not None:
        console.print(advice, soft_wrap=True)
    if collapse := describe_collapse("it", trained.description.metrics):
        console.print(collapse, style="yellow", soft_wrap=True)


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
