"""`tablefold study`: what the command shows while it runs and at its end."""

import json as lines
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tablefold.study.study import Weigh


def run_study(
    file: Path,
    out: Path,
    data: str | None,
    weigher: "Callable[[Sequence[str], str], Weigh]",
    *,
    cache: Path | None = None,
    json: bool,
) -> None:
    """Run what is not done yet, print the table, write `results.json`, `study.html` and `study.svg`.

    `weigher` makes the scales for row types and a kind of dictionary. Raises UsageError for a study that
    cannot be, TrainingError for an arm that cannot be trained.
    """
    from rich.console import Console
    from rich.table import Table

    from tablefold.logs.terminal import read_splits_with_bar
    from tablefold.report import write_text
    from tablefold.study.page import HEADER, cells, page, picture
    from tablefold.study.study import StudyRun, read_study
    from tablefold.study.summary import summarise, verdict
    from tablefold.trainer.progress.terminal import Terminal

    study = read_study(file)
    if data is not None:
        study = study.model_copy(update={"data": data})
    arms, weigh = study.contenders(), weigher(study.row_types, study.lookup)
    console = Console(stderr=True)
    schema, splits = read_splits_with_bar(console, study.data, cache=cache)
    console.print(
        f"{len(arms)} arms, {study.seeds} seeds, {len(splits.train):,} training rows of {study.data}; "
        f"{out} keeps every run, and the same command goes on where this one ends",
        highlight=False,
        soft_wrap=True,
    )
    results = []
    with Terminal(console) as terminal:
        for result in StudyRun(study, schema, splits, out, weigh, terminal).results():
            results.append(result)
            if result.row_type == study.row_types[0]:
                console.print(
                    f"[green]{result.arm}[/green], seed {result.seed}: test AUC {result.auc:.4f}",
                    highlight=False,
                )
    summaries = summarise(results)
    repeat = f"tablefold study {file} --out {out}" + (f" --data {data}" if data else "")
    write_text(out / "results.json", lines.dumps([each.model_dump() for each in results], indent=1) + "\n")
    page(summaries, results, study.data, repeat).write(out / "study.html")
    picture(summaries).write(out / "study.svg")
    if json:
        print(lines.dumps([each.model_dump() for each in results]))
        return
    table = Table(title=f"{study.data}, {study.seeds} seeds")
    for column in HEADER:
        table.add_column(column, justify="left" if column in ("arm", "rows", "tuned") else "right")
    for summary in summaries:
        table.add_row(*cells(summary))
    Console(width=None if Console().is_terminal else 160).print(table)
    print(verdict(summaries))
    console.print(f"[green]wrote[/green] {out / 'study.html'}", highlight=False, soft_wrap=True)
