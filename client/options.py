"""Options of every command that reaches a server. Imports nothing heavy."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Server = Annotated[
    str, typer.Option(metavar="HOST:PORT", help="The server's gRPC address.", show_default=False)
]
Model = Annotated[str, typer.Option(metavar="NAME", help="The model's name.", show_default=False)]
Protocol = Annotated[
    Literal["oip", "tablefold"],
    typer.Option(help="Open Inference Protocol (any server of it) or Tablefold's own service."),
]
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
LOGS = "criteo:PATH, avazu:PATH, movielens:PATH, frappe:PATH, synthetic:ROWS or SCHEMA.toml"
"""What `--data` may be."""
