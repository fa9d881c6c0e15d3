"""`tablefold study`: the command and what it shows while it runs and at its end."""

from functools import partial
from json import dumps
from pathlib import Path
from typing import Annotated

import typer


def study(
    file: Annotated[Path, typer.Argument(help="What to compare (TOML), such as studies/quick.toml.")],
    out: Annotated[Path, typer.Option(help="The folder that keeps every run and result.")],
    data: Annotated[
        str | None, typer.Option(help="Another log than the file names.", show_default=False)
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="As for `train`.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One line for machines.")] = False,
) -> None:
    """Compare methods and sizes: AUC per byte over several seeds, every arm tuned on validation examples.

    A run that was stopped goes on with the same command; what is done is not done again.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tablefold.console import make_console, print_written
    from tablefold.logs.terminal import read_splits_with_bar
    from tablefold.printable import redacted
    from tablefold.report import write_text
    from tablefold.study.evaluate import evaluate
    from tablefold.study.page import HEADER, cells, page, picture
    from tablefold.study.results import lock_folder
    from tablefold.study.runner import StudyRunner
    from tablefold.study.settings import read_study
    from tablefold.study.summary import describe_collapses, summarise, verdict
    from tablefold.trainer.progress.terminal import Terminal
    from tablefold.trainer.ranks.alone import require_alone

    require_alone("study")
    settings = read_study(file)
    if data is not None:
        settings = settings.model_copy(update={"data": data})
    arms = settings.contenders()
    evaluate_stored = partial(evaluate, row_types=settings.row_types, lookup=settings.lookup)
    console = make_console(stderr=True)
    schema, splits = read_splits_with_bar(console, settings.data, cache=cache)
    log = redacted(settings.data)
    console.print(
        f"{len(arms)} arms, {settings.seeds} seeds, {len(splits.train):,} training examples of "
        f"{log}, split {splits.rule}; {out} keeps every run, and the same "
        "command goes on where this one ends",
    )
    results = []
    with lock_folder(out), Terminal(console) as terminal:
        runner = StudyRunner(settings, schema, splits, out, evaluate_stored, terminal)
        for result in runner.results():
            results.append(result)
            if result.row_type == settings.row_types[0]:
                note = "; it has collapsed and learned nothing" if result.collapsed else ""
                console.print(f"{result.arm}, seed {result.seed}: test AUC {result.auc:.4f}{note}")
    summaries = summarise(results)
    repeat = f"tablefold study {file} --out {out}" + (f" --data {log}" if data else "")
    records = [result.model_dump(mode="json") for result in results]
    write_text(out / "results.json", dumps(records, indent=1) + "\n")
    untrained = [f"Left out: {reason}" for reason in runner.untrained.values()]
    page(summaries, results, log, repeat, untrained).write(out / "study.html")
    picture(summaries).write(out / "study.svg")
    if json:
        print(dumps(records))
        return
    table = Table(title=Text(f"{log}, split {splits.rule}, {settings.seeds} seeds"))
    for column in HEADER:
        table.add_column(
            column, justify="left" if column in ("arm", "rows", "tuned", "collapsed seeds") else "right"
        )
    for summary in summaries:
        table.add_row(*cells(summary))
    Console(width=None if Console().is_terminal else 160, markup=False, emoji=False).print(table)
    print(verdict(summaries))
    for warning in [*untrained, *describe_collapses(summaries)]:
        print(warning)
    print_written(console, out / "study.html")
