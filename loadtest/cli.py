"""The command `loadtest`. It imports nothing heavy until it runs."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from tablefold.client.options import LOGS, Model, Protocol, Server, TlsCa, TlsCert, TlsKey, TokenFile

DEFAULT_ROUNDS = 5
MAX_ROUNDS = 1000


def _load(help: str, **options: Any) -> Any:
    """Return an option of the panel about the load."""
    return typer.Option(help=help, rich_help_panel="Load", **options)


def _question(*names: str, help: str, **options: Any) -> Any:
    """Return an option of the panel about what to find out."""
    return typer.Option(*names, help=help, rich_help_panel="What to find out", **options)


def _report(help: str) -> Any:
    """Return an option of the panel about reports."""
    return typer.Option(help=help, metavar="FILE", rich_help_panel="Reports")


def loadtest(
    server: Server,
    model: Model,
    protocol: Protocol = "oip",
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
        _load("Open loop: this many calls a second whatever the server does.", show_default=False),
    ] = None,
    arrivals: Annotated[
        Literal["poisson", "constant"], _load("How the open loop's calls are spread over time.")
    ] = "poisson",
    concurrency: Annotated[
        int | None,
        _load(
            "Closed loop: this many callers, who wait for their replies; 8 unless --rate is given. "
            "With --rate: the most calls in flight.",
            show_default=False,
        ),
    ] = None,
    sweep: Annotated[
        bool,
        _question("--sweep", help="Raise the rate until the server falls behind: where is its knee?"),
    ] = False,
    slo: Annotated[
        list[str] | None,
        _question(
            metavar="pN=TIME",
            help="Service level objective such as p99=20ms; with --sweep, the highest rate that holds it. "
            "Repeatable.",
        ),
    ] = None,
    versus: Annotated[
        list[str] | None,
        _question(
            metavar="HOST:PORT/MODEL[@PROTOCOL]",
            help="Another target to compare the first with; each round runs all of them. Repeatable.",
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        _question(help="Rounds of a comparison.", min=2, max=MAX_ROUNDS, show_default=str(DEFAULT_ROUNDS)),
    ] = None,
    price_per_hour: Annotated[
        float | None,
        _question(help="Price of the server's machine: prints the cost of a million predictions."),
    ] = None,
    duration: Annotated[
        float, _load("Measured seconds (of each run). From 60 on, the report looks for drift.")
    ] = 10.0,
    warmup: Annotated[float, _load("Seconds of the same load beforehand, not measured.")] = 2.0,
    timeout: Annotated[float, _load("Deadline of a call in seconds.")] = 10.0,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help=f"Rows to send: {LOGS}, or golden:BUNDLE (and check every answer). Random rows without it.",
        ),
    ] = None,
    seed: Annotated[int, _load("Seed of the rows and of the schedule.")] = 0,
    processes: Annotated[
        int | None,
        _load(
            "Client processes.",
            min=1,
            show_default="one; more, up to a core each, while they are the bottleneck in the warm-up",
        ),
    ] = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    token_file: TokenFile = None,
    json: Annotated[Path | None, _report("Write every figure as one line of JSON.")] = None,
    csv: Annotated[Path | None, _report("Write a line of CSV for each run.")] = None,
    html: Annotated[Path | None, _report("Write the report as one page without other files.")] = None,
) -> None:
    """Load a server and measure its latency and memory.

    Latency counts from when a call was due, errors are counted by code, and a run that this client could
    not keep up with is marked invalid. Ctrl-C keeps what was measured so far.
    """
    import asyncio

    from rich.console import Console

    from tablefold.client.transport.credentials import CredentialFiles
    from tablefold.errors import UsageError
    from tablefold.loadtest.measure import check_success, measure, write_reports
    from tablefold.loadtest.plan import Plan
    from tablefold.loadtest.report.terminal import print_summary
    from tablefold.loadtest.slo import LatencySlo
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
        slo=tuple(map(LatencySlo.parse, slo or ())),
        price_per_hour=price_per_hour,
    )
    files = [file for file in (json, csv, html) if file is not None]
    for file in files:
        check_writable(file)
    if len({file.absolute() for file in files}) < len(files):
        raise UsageError("two of --json, --csv and --html name one file; give each a file of its own")
    if sweep and (versus or rate is not None or concurrency is not None):
        raise UsageError(
            "--sweep finds the load itself, of one target: give it no --rate, --concurrency or --versus"
        )
    if repeats is not None and not versus:
        raise UsageError("--repeats are the rounds of a comparison: give --versus too")
    if arrivals != "poisson" and rate is None and not sweep:
        raise UsageError("--arrivals are those of the open loop: give --rate or --sweep too")
    report = asyncio.run(
        measure(plan, find_knee=sweep, others=versus or (), repeats=repeats or DEFAULT_ROUNDS)
    )
    sys.stderr.write("\n" if sys.stderr.isatty() else "")
    # On the terminal first: if the disk is full now, the figures are not lost.
    print_summary(report, Console())
    write_reports(report, json=json, csv=csv, html=html)
    check_success(report)
