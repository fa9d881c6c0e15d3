"""`tablefold shrink`: the command and what it shows while it runs and at its end."""

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tablefold.errors import UsageError
from tablefold.options import LOG_FORMS
from tablefold.trainer.compression.cli import OwnNetwork

if TYPE_CHECKING:
    from rich.console import Console

    from tablefold.study.shrink.budget import Budget
    from tablefold.study.shrink.search import OnTried
    from tablefold.study.shrink.source import Source


def shrink(
    repository: Annotated[Path, typer.Option(help="The model repository to write into.", show_default=False)],
    name: Annotated[str, typer.Option(help="The model's name in the repository.", show_default=False)],
    checkpoint: Annotated[
        Path | None,
        typer.Argument(help="The folder of a trained or adopted model, not --data.", show_default=False),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="LOG", help=f"Train on a log: {LOG_FORMS}.", show_default=False)
    ] = None,
    max_auc_loss: Annotated[
        float | None,
        typer.Option(
            help="What AUC and logloss may lose against the full model at 95 %. (default 0.001)",
            show_default=False,
        ),
    ] = None,
    max_bytes: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Instead: the best model in so many bytes, everything counted, such as 50kB or 2MB.",
            show_default=False,
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option(help="Try nothing new after this long; the full model is trained in any case.")
    ] = 20,
    seed: Annotated[int, typer.Option(min=0, max=(1 << 63) - 1, help="The same seed trains the same.")] = 0,
    fine_tune: Annotated[
        bool,
        typer.Option("--fine-tune", help="Tune merged rows of a CHECKPOINT on the log that it learned from."),
    ] = False,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the result for machines.", show_default=False)
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page about it.", show_default=False)
    ] = None,
    network: OwnNetwork = "dlrm",
) -> None:
    """Find the smallest model that is as good as you ask, and write it as a bundle.

    Row types, known ids, shared rows, widths and networks are tried, what needs no training first, and
    judged on validation examples against the full model. Test examples are read once, at the end. What was
    tried is kept in REPOSITORY.shrink: the same command goes on where it was stopped.
    """
    from json import dumps

    from tablefold.console import make_console, print_written
    from tablefold.exporter.repository.version_folder import require_destination
    from tablefold.report import check_writable, write_text
    from tablefold.study.results import lock_folder
    from tablefold.study.shrink.budget import Budget
    from tablefold.study.shrink.evaluator import Evaluator
    from tablefold.study.shrink.goal import Goal
    from tablefold.study.shrink.outcome import write_chosen
    from tablefold.study.shrink.page import page, sentence
    from tablefold.study.shrink.search import Search
    from tablefold.study.shrink.source import work_folder
    from tablefold.trainer.progress.terminal import Terminal
    from tablefold.trainer.ranks.alone import require_alone
    from tablefold.trainer.training.collapse import describe_collapse

    require_alone("shrink")
    if (checkpoint is None) == (data is None):
        raise UsageError("give either a log to train on (--data LOG) or the folder of a trained model")
    if fine_tune and checkpoint is None:
        raise UsageError("--fine-tune is for a CHECKPOINT; with --data everything is trained")
    if not (isfinite(minutes) and minutes > 0):
        raise UsageError(f"--minutes {minutes:g}: give a number of minutes above 0")
    goal = Goal.of(max_auc_loss, max_bytes)
    require_destination(repository, name, None)
    for file in filter(None, (json, html)):
        check_writable(file)
    console, budget = make_console(stderr=True), Budget(minutes)
    given = str(data if checkpoint is None else checkpoint)
    source = _open(console, data, checkpoint, seed, fine_tune, network)
    folder = work_folder(repository, name, source.identity)
    with lock_folder(folder), Terminal(console) as terminal:
        console.print(f"{folder} keeps what is tried, and the same command goes on from there")
        start = source.start(folder, budget, terminal)
        evaluator = Evaluator(start.full, start.judged_on, start.runs, folder)
        search = Search(evaluator, start.axes(evaluator, budget), budget, _shown(console, budget))
        chosen = goal.choose(search)
        outcome = write_chosen(start, evaluator, search.full, chosen, repository, name)
    tried = list(search.tried.values())
    if json is not None:
        record = outcome.to_json(tried, goal.limit, finished=search.finished)
        write_text(json, dumps(record, indent=1) + "\n")
    if html is not None:
        repeat = (
            f"tablefold shrink {'--data ' if data else ''}{given} --repository {repository} --name {name}"
        )
        page(outcome, tried, goal, given, repeat).write(html)
    print_written(console, outcome.bundle, f": {chosen.recipe.title}")
    if not search.finished:
        console.print("the time was over before the search was: the same command goes on")
    print(sentence(outcome, goal))
    if collapse := describe_collapse("the full model", start.full.description.metrics):
        print(f"{collapse}; to be as good as it says little")


def _open(
    console: "Console", data: str | None, checkpoint: Path | None, seed: int, fine_tune: bool, network: str
) -> "Source":
    """Return the log, or the model, that a search starts at."""
    from tablefold.logs.terminal import read_splits_with_bar
    from tablefold.study.shrink.source import LogSource, ModelSource
    from tablefold.trainer.checkpoint.files import load
    from tablefold.trainer.networks.registry import import_factory

    if checkpoint is not None:
        return ModelSource(load(checkpoint, import_factory(network)), fine_tune=fine_tune)
    schema, splits = read_splits_with_bar(console, str(data), seed=seed)
    return LogSource(schema, splits, str(data), seed)


def _shown(console: "Console", budget: "Budget") -> "OnTried":
    """Return what prints a line for each model that was tried."""
    from tablefold.study.shrink.recipe import Tried

    def show(tried: Tried, best: Tried, limit: float) -> None:
        size = "" if tried.failed is not None else f"{tried.parts.total:,} bytes, "
        console.print(
            f"{size}{tried.verdict(limit)}: {tried.recipe.title}\n  smallest so far {best.parts.total:,} "
            f"bytes; {budget.left:.1f} of {budget.minutes:g} minutes left"
        )

    return show
