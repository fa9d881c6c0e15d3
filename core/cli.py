"""The command `tablefold`: one thin skin over the folders' own commands.

Every folder keeps its commands in its own `cli` module, which imports nothing heavy until a command
runs: `--help` is quick, and an install without an extra still shows every command.
"""

import logging
import sys
from io import TextIOWrapper
from json import dumps
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tablefold import __version__
from tablefold.bundle import read_manifest
from tablefold.client.cli import predict, show_footprint
from tablefold.client.options import TlsCa, TlsCert, TlsKey, TokenFile
from tablefold.console import LOG_FORMAT, PlainFormatter, make_console, print_error
from tablefold.errors import TablefoldError, UsageError
from tablefold.exporter.cli import RowTypes, export, forecast_footprint, with_row_types
from tablefold.exporter.options import ExportOptions
from tablefold.loadtest.cli import loadtest
from tablefold.logs.cli import encode
from tablefold.model_size import Footprint
from tablefold.options import options_of
from tablefold.printable import redacted
from tablefold.server.cli import serve
from tablefold.study.cli import study
from tablefold.study.shrink.cli import shrink
from tablefold.trainer.adoption.cli import adopt
from tablefold.trainer.cli import train
from tablefold.trainer.compression.cli import compress, neighbours
from tablefold.trainer.config import CHOSEN, TrainConfig

app = typer.Typer(
    name="tablefold",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tablefold {__version__}")
        raise typer.Exit


@app.callback()
def tablefold(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train recommender models with compressed tables, fold them, serve them over gRPC."""


app.command()(encode)
app.command()(train)
app.command()(adopt)
app.command()(compress)
app.command()(shrink)
app.command()(study)
app.command()(neighbours)
app.command()(export)
app.command()(serve)
app.command()(predict)
app.command()(loadtest)


PREDICT = "Predict, before training"


SIZE_FIELDS = (
    "method", "dim", "inner_dim", "row_ratio", "full_below", "method_of", "row_ratio_of", "known_from",
    "network", "bottom", "top",
)  # fmt: skip
"""Fields of TrainConfig that decide how large a model is."""


@app.command()
@options_of("config", TrainConfig, only=SIZE_FIELDS, chosen=CHOSEN, panel=PREDICT)
@options_of("options", ExportOptions, only=("network_type", "lookup"), panel=PREDICT)
def footprint(
    bundle: Annotated[
        Path | None,
        typer.Argument(help="A version's folder, such as REPOSITORY/MODEL/1.", show_default=False),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Ask a running server instead.", show_default=False),
    ] = None,
    tls_ca: TlsCa = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    token_file: TokenFile = None,
    data: Annotated[
        str | None,
        typer.Option(help="A log, as for `train`: its ids are counted.", rich_help_panel=PREDICT),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="As for `train`.", rich_help_panel=PREDICT, show_default=False),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            help="criteo, avazu, movielens, frappe or a SCHEMA.toml, with --ids for each feature; criteo has "
            "those of Criteo-Kaggle.",
            rich_help_panel=PREDICT,
        ),
    ] = None,
    ids: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FEATURE=DISTINCT[/OFTEN]",
            help="Distinct ids of a feature, and how many of them occur twice or more.",
            rich_help_panel=PREDICT,
        ),
    ] = None,
    config: TrainConfig = TrainConfig(),
    row_type: RowTypes = None,
    options: ExportOptions = ExportOptions(),
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Print how many bytes each part of a model takes, beside the fp32 table and the same table in int8.

    Of a bundle: the exact bytes of its arrays. With --server: what every model in its memory takes, predicted
    and loaded, and the server as a whole. With --data or --schema: what a model will take that is not trained
    yet.
    """
    if [bundle, server, data, schema].count(None) != 3:
        raise UsageError(
            "give one of: a bundle's folder, such as REPOSITORY/MODEL/1; --server HOST:PORT; --data; --schema"
        )
    if server is not None:
        files = {"tls_ca": tls_ca, "tls_cert": tls_cert, "tls_key": tls_key, "token_file": token_file}
        show_footprint(server, files, json=json)
    elif bundle is not None:
        manifest = read_manifest(bundle)
        _show(str(bundle), manifest.footprint, manifest.method.dim, json=json)
    else:
        options = with_row_types(options, row_type)
        predicted = forecast_footprint(data, cache, schema, ids or [], config, options)
        title = f"{redacted(data or schema or '')}, {config.method}, d = {config.dim}: predicted"
        _show(title, predicted, config.dim, json=json)


def _show(title: str, footprint: Footprint, dim: int, *, json: bool) -> None:
    parts, total = footprint.parts.model_dump(), footprint.parts.total
    baselines = {"baseline_fp32": footprint.baseline_fp32, "int8_only": footprint.int8_only(dim)}
    if json:
        typer.echo(dumps({"parts": parts, "total": total, **baselines}))
        return
    table = Table("part", title=title)
    table.add_column("bytes", justify="right")
    table.add_column("share", justify="right")
    for part, size in [*parts.items(), ("total", total)]:
        table.add_row(part, f"{size:,}", f"{size / max(1, total):.1%}")
    table.add_section()
    for name, size in [
        ("full fp32 table", baselines["baseline_fp32"]),
        ("int8 only", baselines["int8_only"]),
    ]:
        table.add_row(name, f"{size:,}", f"{size / max(1, total):.2f}x")
    make_console().print(table, soft_wrap=False)
    typer.echo(
        f"full fp32 table / total: {footprint.compression:.2f}x, everything counted; the two tables below "
        "the line are bare, without dictionary or network"
    )


EXTRAS = {
    "compress": "train",
    "encode": "logs",
    "footprint": "client,export,logs",
    "neighbours": "train",
    "predict": "client,logs",
    "shrink": "study",
}
"""The extra of pip that a command needs, where it is not called like the command."""


def main() -> None:
    """Run the command line. Exit codes: 0 done, 2 wrong usage or bad input, 1 anything else."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a file's name may be no UTF-8
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter(LOG_FORMAT))
    logging.basicConfig(handlers=[handler])
    logging.getLogger("tablefold").setLevel(logging.INFO)
    try:
        app()
    except TablefoldError as error:
        _fail(str(error), code=2 if isinstance(error, UsageError) else 1)
    except UnicodeEncodeError as error:
        _fail(f"{error.object[:100]!a} is not UTF-8: it cannot be sent, nor be a name", code=2)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename is not None else str(error), code=1)
    except MemoryError as error:
        _fail(f"there is not enough memory ({error})", code=1)
    except RuntimeError as error:
        # torch's words of the processor's memory and of a GPU's
        if "can't allocate memory" not in str(error) and "out of memory" not in str(error):
            raise
        _fail(f"there is not enough memory ({error})", code=1)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "tablefold":
            raise
        extra = EXTRAS.get(sys.argv[1], sys.argv[1])
        _fail(
            f"`tablefold {sys.argv[1]}` needs {error.name}, which is not installed: "
            f"pip install 'tablefold[{extra}]'",
            code=2,
        )


def _fail(message: str, *, code: int) -> None:
    print_error(message)
    sys.exit(code)
