"""The command `predict`: options in, scores out. Imports nothing heavy until the command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tablefold.client.options import LOGS, Model, Server, TlsCa, TlsCert, TlsKey, TokenFile
from tablefold.console import make_console

if TYPE_CHECKING:
    from rich.table import Table

    from tablefold.client.footprint import ServerFootprint


def predict(
    server: Server,
    model: Model,
    data: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help=f"The log: {LOGS}. A folder gives its held-out rows.",
            show_default=False,
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
    from json import dumps

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from tablefold.client.credentials import CredentialFiles
    from tablefold.client.score_log import predict as score

    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=make_console(stderr=True), transient=True) as bar:
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
        reply = {"rows": len(scores.probability), "auc": scores.auc, "logloss": scores.logloss}
        typer.echo(dumps({**reply, "probability": scores.probability.tolist()}, allow_nan=False))
    else:
        figures = ("AUC", scores.auc), ("logloss", scores.logloss)
        quality = (f"{name} " + ("-" if value is None else f"{value:.5f}") for name, value in figures)
        typer.echo("   ".join([f"rows {len(scores.probability):,}", *quality]))


def show_footprint(server: str, *, tls_ca: Path | None, token_file: Path | None, json: bool) -> None:
    """What `tablefold footprint --server` prints. Raises UsageError."""
    from json import dumps

    from tablefold.client.client import Client
    from tablefold.client.credentials import CredentialFiles
    from tablefold.errors import RequestError, UsageError

    token = CredentialFiles(tls_ca=tls_ca, token_file=token_file).load().token
    try:
        with Client(server, ca=tls_ca, token=token) as client:
            footprint = client.footprint()
    except RequestError as error:
        raise UsageError(
            f"{server} gives no footprint: {error}; is it a Tablefold server's gRPC address?"
        ) from error
    if json:
        typer.echo(dumps(footprint.as_json()))
    else:
        make_console().print(_footprint_table(footprint), soft_wrap=False)


def _footprint_table(footprint: "ServerFootprint") -> "Table":
    """Every version's parts, then what it takes, then the server."""
    from rich.table import Table

    table = Table("", caption="mapped: weights and libraries, which the kernel can drop and read again")
    for column in ("predicted", "loaded", "anonymous", "mapped", "peak"):
        table.add_column(column, justify="right")

    def add_line(name: str, *figures: int | None) -> None:
        table.add_row(name, *("" if figure is None else f"{figure:,}" for figure in figures))

    for model in footprint.models:
        for part, size in model.parts.model_dump().items():
            add_line(f"  {part}", size)
        title = f"{model.name}:{model.version}"
        add_line(title, model.parts.total, model.loaded, model.anonymous, model.mapped, model.peak)
        table.add_section()
    several = "" if footprint.processes == 1 else f" ({footprint.processes} processes)"
    add_line(
        f"the whole server{several}",
        None,
        footprint.total,
        footprint.anonymous,
        footprint.mapped,
        footprint.peak,
    )
    return table
