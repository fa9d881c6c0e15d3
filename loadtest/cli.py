"""The commands `loadtest` and `predict`: options in, figures out.

Knows options, where output goes and how progress looks. Imports nothing heavy until a command runs.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

Server = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="The server's gRPC address.", show_default=False)
]
Model = Annotated[str, typer.Option(metavar="NAME", help="The model's name.", show_default=False)]
TlsCa = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Speak TLS; trust servers that these certificates signed.")
]
TlsCert = Annotated[
    Path | None, typer.Option(metavar="FILE", help="This client's certificate, for a server that asks.")
]
TlsKey = Annotated[Path | None, typer.Option(metavar="FILE", help="Its key.")]
TokenFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Holds the bearer token to send with every call.")
]
ROUNDS = 5
LOAD, QUESTIONS, REPORTS = "Load", "What to find out", "Reports"
"""Headings of `loadtest --help`."""
SPEC = "criteo:PATH, avazu:PATH, movielens:PATH, frappe:PATH, synthetic:ROWS or SCHEMA.toml"


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
            help=f"Rows to send: {SPEC}, or golden:BUNDLE (and check every answer). Random rows without it.",
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
    from tablefold.loadtest.objective import Objective
    from tablefold.loadtest.plan import Plan
    from tablefold.loadtest.report.card import print_card
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
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    token_file: TokenFile = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print rows, auc, logloss and every probability as JSON.")
    ] = False,
) -> None:
    """Score a log's rows through a server (Open Inference Protocol) and print AUC and log loss."""
    import asyncio
    import json as codec

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from tablefold.client.credentials import CredentialFiles
    from tablefold.client.score_log import predict as score
    from tablefold.loadtest.report.card import number

    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("scoring", total=None)
        scores = asyncio.run(
            score(
                server,
                model,
                data,
                security=CredentialFiles(
                    tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key, token_file=token_file
                ),
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
