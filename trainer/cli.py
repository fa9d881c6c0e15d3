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
    shard_tables: Annotated[
        bool, typer.Option("--shard-tables", help="Share each table's rows out among the ranks of torchrun.")
    ] = False,
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write TensorBoard's event files there too.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where the model trains: cpu, cuda or cuda:N.")] = "cpu",
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="What clusters the ids of a learned hash.")
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="A Ray cluster, such as auto. (default: one is started)"),
    ] = None,
) -> None:
    """Train a model on a log and write a checkpoint.

    Settings that are not given are chosen for the log: by its schema and size, then by a few short trials.
    The epoch with the best validation logloss is kept; test rows are read once, at the end. What is measured
    on the way goes to OUT.metrics.jsonl, what --resume needs to OUT.state until the run is done. Started by
    torchrun, all its processes train the one model; with --shard-tables each holds only its part of the
    tables' rows. With --engine ray, Ray's workers cluster ids into rows, where they are many; every worker
    must see the folder of OUT. The rows are the same.
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
    from tablefold.trainer.methods.engine import clustering_engine
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
        ranks = stack.enter_context(join(shard_tables=shard_tables))
        if ranks.world_size > 1 and place.type != "cpu":
            raise UsageError(f"--device {device} is for one process; several ranks train on the CPU")
        if isinstance(ranks, GlooRanks) and not ranks.lead:
            follow(ranks, lambda: read_splits(data, rule=rule, seed=config.seed, cache=cache))
            return
        require_free(out)
        stack.enter_context(clustering_engine(engine, ray_address, out))
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
        if resume and (begun := settings_of_run(out)) is not None:
            config = with_open(config, {name: getattr(begun, name) for name in CHOSEN})
        else:
            config = choose_settings(schema, splits, config, out.parent, callback=terminal, device=place)
        console.print(f"chosen: {describe_chosen(config)}", soft_wrap=True)
        trained = run(
            schema, splits, config, out, callback=Callbacks(callbacks), data=data, resume=resume,
            state_minutes=checkpoint_every, ranks=ranks, device=place,
        )  # fmt: skip
    _conclude(console, out, trained)


def _conclude(console: "Console", out: Path, trained: "Checkpoint") -> None:
    from tablefold.trainer.defaults.outweighed import advice_if_outweighed
    from tablefold.trainer.training.collapse import describe_collapse

    print_written(console, out)
    if (advice := advice_if_outweighed(trained)) is not None:
        console.print(advice, soft_wrap=True)
    if collapse := describe_collapse("it", trained.description.metrics):
        console.print(collapse, style="yellow", soft_wrap=True)
