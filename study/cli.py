"""`tablefold study`: the command and what it shows while it runs and at its end."""

import json as lines
from functools import partial
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
    """Compare methods and sizes: AUC per byte over several seeds, every arm tuned on validation rows.

    A run that was stopped goes on with the same command; what is done is not done again.
    """
    from rich.console import Console
    from rich.table import Table

    from tablefold.logs.terminal import read_splits_with_bar
    from tablefold.report import write_text
    from tablefold.study.evaluate import weigh
    from tablefold.study.page import HEADER, cells, page, picture
    from tablefold.study.study import StudyRun, read_study
    from tablefold.study.summary import summarise, verdict
    from tablefold.trainer.progress.terminal import Terminal

    settings = read_study(file)
    if data is not None:
        settings = settings.model_copy(update={"data": data})
    arms, weigh = settings.contenders(), partial(weigh, row_types=settings.row_types, lookup=settings.lookup)
    console = Console(stderr=True)
    schema, splits = read_splits_with_bar(console, settings.data, cache=cache)
    console.print(
        f"{len(arms)} arms, {settings.seeds} seeds, {len(splits.train):,} training rows of {settings.data}; "
        f"{out} keeps every run, and the same command goes on where this one ends",
        highlight=False,
        soft_wrap=True,
    )
    results = []
    with Terminal(console) as terminal:
        for result in StudyRun(settings, schema, splits, out, weigh, terminal).results():
            results.append(result)
            if result.row_type == settings.row_types[0]:
                console.print(
                    f"[green]{result.arm}[/green], seed {result.seed}: test AUC {result.auc:.4f}",
                    highlight=False,
                )
    summaries = summarise(results)
    repeat = f"tablefold study {file} --out {out}" + (f" --data {data}" if data else "")
    write_text(out / "results.json", lines.dumps([each.model_dump() for each in results], indent=1) + "\n")
    page(summaries, results, settings.data, repeat).write(out / "study.html")
    picture(summaries).write(out / "study.svg")
    if json:
        print(lines.dumps([each.model_dump() for each in results]))
        return
    table = Table(title=f"{settings.data}, {settings.seeds} seeds")
    for column in HEADER:
        table.add_column(column, justify="left" if column in ("arm", "rows", "tuned") else "right")
    for summary in summaries:
        table.add_row(*cells(summary))
    Console(width=None if Console().is_terminal else 160).print(table)
    print(verdict(summaries))
    console.print(f"[green]wrote[/green] {out / 'study.html'}", highlight=False, soft_wrap=True)
