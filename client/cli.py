"""The command `predict`: options in, scores out. Imports nothing heavy until the command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tablefold.client.options import LOGS, Model, Protocol, Server, TlsCa, TlsCert, TlsKey, TokenFile
from tablefold.console import make_console, print_figures

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
            help=f"The log: {LOGS}. Of criteo:FILE and avazu:FILE all rows; of others those held out.",
            show_default=False,
        ),
    ],
    part: Annotated[
        Literal["train", "validation", "test", "all"] | None,
        typer.Option(
            help="The rows to score, split as `train` does.",
            show_default="test: the rows held out from training",
        ),
    ] = None,
    version: Annotated[
        int | None,
        typer.Option(help="The model's version.", show_default="the one labelled stable, or the newest"),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="The version's label, such as canary, in place of its number.")
    ] = None,
    protocol: Protocol = "oip",
    rows: Annotated[int, typer.Option(help="Rows a call.")] = 1000,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    token_file: TokenFile = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print rows, auc, logloss and every probability as JSON.")
    ] = False,
) -> None:
    """Score rows of a log through a server and print AUC and log loss.

    The log's features must be the model's, by name and encoding; their order does not matter.
    """
    import asyncio
    from json import dumps

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from tablefold.client.scoring.score_log import ScorePlan
    from tablefold.client.scoring.score_log import predict as score
    from tablefold.client.transport.credentials import CredentialFiles

    plan = ScorePlan(
        server=server,
        model=model,
        data=data,
        protocol=protocol,
        version=version,
        label=label,
        part=part,
        rows=rows,
        security=CredentialFiles(tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key, token_file=token_file),
    )
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=make_console(stderr=True), transient=True) as bar:
        task = bar.add_task("scoring", total=None)
        scores = asyncio.run(score(plan, lambda done, of: bar.update(task, completed=done, total=of)))
    count = len(scores.probability)
    if json:
        figures = {
            "rows": count,
            "auc": scores.auc,
            "logloss": scores.logloss,
            "part": scores.rows.part,
            "split": scores.rows.rule,
        }
        typer.echo(dumps({**figures, "probability": scores.probability.tolist()}, allow_nan=False))
    else:
        auc = "-" if scores.auc is None else f"{scores.auc:.5f}"
        logloss = "-" if scores.logloss is None else f"{scores.logloss:.5f}"
        typer.echo(f"rows {count:,}   AUC {auc}   logloss {logloss}   ({scores.rows.description})")


def show_footprint(server: str, files: dict[str, Path | None], *, json: bool) -> None:
    """Print the footprint of a running server. `files` are those of CredentialFiles. Raises UsageError."""
    from json import dumps

    from tablefold.client.client import Client
    from tablefold.client.transport.credentials import CredentialFiles
    from tablefold.errors import RequestError, UsageError

    known = CredentialFiles(**files).load()
    try:
        with Client(server, ca=known.ca, cert=known.cert, key=known.key, token=known.token) as client:
            footprint = client.footprint()
    except RequestError as error:
        raise UsageError(
            f"{server} gives no footprint: {error}; is it a Tablefold server's gRPC address?"
        ) from error
    if json:
        typer.echo(dumps(footprint.as_json()))
    else:
        print_figures(make_console(), _footprint_table(footprint))


def _footprint_table(footprint: "ServerFootprint") -> "Table":
    """Every version's parts, then what it takes, then the server."""
    from rich.table import Table

    table = Table("", caption="mapped: weights and libraries, which the kernel can drop and read again")
    on_gpu = footprint.gpu is not None or any(model.gpu is not None for model in footprint.models)
    gpu_columns = ("on the GPU", "predicted", "weights", "peak") if on_gpu else ()
    for column in ("predicted", "loaded", "anonymous", "mapped", "peak", *gpu_columns):
        table.add_column(column, justify="right")

    def add_line(name: str, *figures: int | None) -> None:
        table.add_row(name, *("" if figure is None else f"{figure:,}" for figure in figures))

    for model in footprint.models:
        for part, size in model.parts.model_dump().items():
            add_line(f"  {part}", size)
        title = f"{model.name}:{model.version}"
        gpu = model.gpu
        of_gpu = () if gpu is None else (gpu.loaded, gpu.predicted, gpu.weights, gpu.peak)
        add_line(title, model.parts.total, model.loaded, model.anonymous, model.mapped, model.peak, *of_gpu)
        table.add_section()
    several = "" if footprint.processes == 1 else f" ({footprint.processes} processes)"
    add_line(
        f"the whole server{several}",
        None,
        footprint.total,
        footprint.anonymous,
        footprint.mapped,
        footprint.peak,
        *(() if footprint.gpu is None else (footprint.gpu,)),
    )
    return table
