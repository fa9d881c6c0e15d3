"""The command `loadtest`: options in, figures out.

Knows options, where output goes and how progress looks. Imports nothing heavy until a command runs.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from tablefold.client.options import LOGS, Model, Server, TlsCa, TlsCert, TlsKey, TokenFile

ROUNDS = 5
LOAD, QUESTIONS, REPORTS = "Load", "What to find out", "Reports"
"""Headings of `loadtest --help`."""


def loadtest(
    server: Server,
    model: Model,
    protocol: Annotated[
        Literal["oip", "tablefold"],
        typer.Option(help="Open Inference Protocol (any server of it) or Tablefold's own service."),
    ] = "oip",
    rows: Annotated[
        str,
        typer.Option(help="Rows a call: a number, a range such as 100-700, or mlperf (100-700, mean 270)."),
    ] = "270",
    context: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="Features given once a call, the same for all its rows; --protocol tablefold only.",
        ),
    ] = "",
    rate: Annotated[
        float | None,
        typer.Option(
            help="Open loop: this many calls a second whatever the server does.",
            show_default=False,
            rich_help_panel=LOAD,
        ),
    ] = None,
    arrivals: Annotated[
        Literal["poisson", "constant"],
        typer.Option(help="How the open loop's calls are spread.", rich_help_panel=LOAD),
    ] = "poisson",
    concurrency: Annotated[
        int | None,
        typer.Option(
            help="Closed loop: this many callers who wait for their replies; 8 unless --rate is given. "
            "With --rate: the most calls in flight.",
            show_default=False,
            rich_help_panel=LOAD,
        ),
    ] = None,
    sweep: Annotated[
        bool,
        typer.Option(
            "--sweep",
            help="Raise the rate until the server gives in: where is its knee?",
            rich_help_panel=QUESTIONS,
        ),
    ] = False,
    slo: Annotated[
        list[str] | None,
        typer.Option(
            metavar="pN=TIME",
            help="An objective such as p99=20ms; with --sweep, the highest rate that holds it. Repeatable.",
            rich_help_panel=QUESTIONS,
        ),
    ] = None,
    versus: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT/MODEL[@PROTOCOL]",
            help="Another target, loaded in turns with the first and compared with it. Repeatable.",
            rich_help_panel=QUESTIONS,
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            min=2, help="Rounds of a comparison.", show_default=str(ROUNDS), rich_help_panel=QUESTIONS
        ),
    ] = None,
    price_per_hour: Annotated[
        float | None,
        typer.Option(
            help="Of the server's machine: prints the cost of a million predictions.",
            rich_help_panel=QUESTIONS,
        ),
    ] = None,
    duration: Annotated[
        float,
        typer.Option(
            help="Measured seconds (of each run). From 60 on, drift is looked for.", rich_help_panel=LOAD
        ),
    ] = 10.0,
    warmup: Annotated[
        float, typer.Option(help="Seconds of the same load beforehand, not measured.", rich_help_panel=LOAD)
    ] = 2.0,
    timeout: Annotated[
        float, typer.Option(help="Deadline of a call in seconds.", rich_help_panel=LOAD)
    ] = 10.0,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help=f"Rows to send: {LOGS}, or golden:BUNDLE (and check every answer). Random rows without it.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the rows and of the schedule.", rich_help_panel=LOAD)] = 0,
    processes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Client processes.",
            show_default="one; more, up to a core each, while they are the bottleneck in the warm-up",
            rich_help_panel=LOAD,
        ),
    ] = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    token_file: TokenFile = None,
    json: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write every figure as one line of JSON.", rich_help_panel=REPORTS),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a line of CSV for each run.", rich_help_panel=REPORTS),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the report: one page, no other files.", rich_help_panel=REPORTS
        ),
    ] = None,
) -> None:
    """Load a server and tell the truth about its latency and memory.

    Latency counts from the moment a call was due, errors are counted by code, and a run that this
    client could not keep up with is marked invalid. Ctrl-C keeps what was measured so far.
    """
    import asyncio

    from rich.console import Console

    from tablefold.client.credentials import CredentialFiles
    from tablefold.errors import UsageError
    from tablefold.loadtest.measure import measure, write
    from tablefold.loadtest.plan import Plan
    from tablefold.loadtest.report.terminal import print_card
    from tablefold.loadtest.slo import Objective
    from tablefold.report import check_writable

    plan = Plan(
        server=server,
        model=model,
        protocol=protocol,
        security=CredentialFiles(tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key, token_file=token_file),
        rows=rows,
        context=tuple(name.strip() for name in context.split(",") if name.strip()),
        rate=rate,
        arrivals=arrivals,
        concurrency=concurrency,
        duration=duration,
        warmup=warmup,
        timeout=timeout,
        data=data,
        seed=seed,
        processes=processes,
        slo=tuple(map(Objective.parse, slo or ())),
        price_per_hour=price_per_hour,
    )
    for file in (json, csv, html):
        if file is not None:
            check_writable(file)
    if sweep and (versus or rate is not None or concurrency is not None):
        raise UsageError(
            "--sweep finds the load itself, of one target: give it no --rate, --concurrency or --versus"
        )
    if repeats is not None and not versus:
        raise UsageError("--repeats are the rounds of a comparison: give --versus too")
    if arrivals != "poisson" and rate is None and not sweep:
        raise UsageError("--arrivals are those of the open loop: give --rate or --sweep too")
    report = asyncio.run(measure(plan, find_knee=sweep, others=versus or (), repeats=repeats or ROUNDS))
    sys.stderr.write("\n" if sys.stderr.isatty() else "")
    # The card first: should the disk be full now, the figures are not lost.
    print_card(report, Console())
    write(report, json=json, csv=csv, html=html)
