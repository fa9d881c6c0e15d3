"""A person at a terminal who waits for a log to be encoded: a bar, rows, time left."""

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tablefold.logs.encoded.engines import Engine
from tablefold.logs.read import read_splits
from tablefold.logs.splits import SplitRule, Splits
from tablefold.schema import FeatureSchema


def read_splits_with_bar(
    console: Console,
    spec: str,
    *,
    rule: SplitRule | None = None,
    seed: int = 0,
    cache: Path | None = None,
    engine: Engine | None = None,
) -> tuple[FeatureSchema, Splits]:
    """`read_splits`, with a bar on the console while a cache is made."""
    columns = (TextColumn("encoding"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("", visible=False)

        def on_rows(done: int, of: int) -> None:
            progress.update(bar, completed=done, total=of, visible=True)

        return read_splits(spec, rule=rule, seed=seed, cache=cache, engine=engine, on_rows=on_rows)
