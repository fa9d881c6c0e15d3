"""The commands `loadtest` and `predict`: options in, figures out.

Knows options, where output goes and how progress looks. Imports nothing heavy until a command runs.
"""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

if TYPE_CHECKING:
    from tablefold.loadtest.recorder import Recorder

Outcome = TypeVar("Outcome")

Server = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="The server's gRPC address.", show_default=False)
]
Model = Annotated[str, typer.Option(metavar="NAME", help="The model's name.", show_default=False)]
SPEC = "criteo:PATH, avazu:PATH, movielens:PATH, synthetic:ROWS or SCHEMA.toml"


def loadtest(
    server: Server,
    model: Model,
    protocol: Annotated[
        Literal["oip", "tablefold"],
        typer.Option(help="Open Inference Protocol (any server of it) or Tablefold's own service."),
    ] = "oip",
    rows: Annotated[int, typer.Option(help="Rows a call.")] = 270,
    rate: Annotated[
        float | None,
        typer.Option(
            help="Open loop: this many calls a second whatever the server does (Poisson).", show_default=False
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            help="Closed loop: this many callers who wait for their replies; 8 unless --rate is given.",
            show_default=False,
        ),
    ] = None,
    duration: Annotated[float, typer.Option(help="Measured seconds.")] = 10.0,
    warmup: Annotated[float, typer.Option(help="Seconds of the same load beforehand, not measured.")] = 2.0,
    timeout: Annotated[float, typer.Option(help="Deadline of a call in seconds.")] = 10.0,
    data: Annotated[
        str | None,
        typer.Option(metavar="SPEC", help=f"Log that rows are drawn from: {SPEC}. Random rows without it."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the rows and of the schedule.")] = 0,
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every figure as one line of JSON.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report: one page, no other files.")
    ] = None,
) -> None:
    """Load a server and tell the truth about its latency and memory.

    Latency counts from the moment a call was due, errors are counted by code, and a run that this
    client could not keep up with is marked invalid. Ctrl-C keeps what was measured so far.
    """
    from rich.console import Console

    from tablefold.loadtest.card import print_card
    from tablefold.loadtest.page import write_page
    from tablefold.loadtest.plan import Plan
    from tablefold.loadtest.run import run
    from tablefold.report import check_writable, write_text

    plan = Plan(
        server=server,
        model=model,
        protocol=protocol,
        rows=rows,
        rate=rate,
        concurrency=concurrency,
        duration=duration,
        warmup=warmup,
        timeout=timeout,
        data=data,
        seed=seed,
    )
    for file in (json, html):
        if file is not None:
            check_writable(file)
    result = _run(run(plan, _show_progress))
    sys.stderr.write("\n" if sys.stderr.isatty() else "")
    # The card first: should the disk be full now, the figures are not lost.
    print_card(result, Console())
    if json is not None:
        write_text(json, result.json_line() + "\n")
    if html is not None:
        write_page(result, html)


def predict(
    server: Server,
    model: Model,
    data: Annotated[
        str,
        typer.Option(
            metavar="SPEC", help=f"The log: {SPEC}. A folder gives its held-out rows.", show_default=False
        ),
    ],
    rows: Annotated[int, typer.Option(help="Rows a call.")] = 1000,
    json: Annotated[
        bool, typer.Option("--json", help="Print rows, auc, logloss and every probability as JSON.")
    ] = False,
) -> None:
    """Score a log's rows through a server (Open Inference Protocol) and print AUC and log loss."""
    import json as codec

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from tablefold.loadtest.card import number
    from tablefold.loadtest.predict import predict as score

    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("scoring", total=None)
        scores = _run(
            score(
                server,
                model,
                data,
                rows=rows,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        )
    if json:
        figures = {"rows": len(scores.probability), "auc": scores.auc, "logloss": scores.logloss}
        typer.echo(codec.dumps({**figures, "probability": scores.probability.tolist()}, allow_nan=False))
    else:
        typer.echo(
            f"rows {len(scores.probability):,}   AUC {number(scores.auc, digits=5)}   "
            f"logloss {number(scores.logloss, digits=5)}"
        )


def _run(work: Coroutine[None, None, Outcome]) -> Outcome:
    """On uvloop where there is one: it sends about a fifth more calls a second."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def _show_progress(second: float, recorder: "Recorder") -> None:
    """One line that rewrites itself, by hand: a drawn progress bar would delay calls by milliseconds."""
    if not sys.stderr.isatty():
        return
    phase = f"warm-up {second:6.1f} s" if second < 0 else f"{second:6.1f} s"
    failed = sum(recorder.errors.values())
    sys.stderr.write(f"\r{phase}   {recorder.due:,} calls, {failed:,} failed   ")
    sys.stderr.flush()
