"""The client behind `tablefold footprint --server`: asks, and shows what it is told.

Knows GetFootprint. Does not know how a server measures.
"""

from pathlib import Path
from typing import Any

import grpc
from rich.table import Table

from tablefold.client.credentials import CredentialFiles
from tablefold.errors import UsageError
from tablefold.protos import tablefold_pb2 as pb
from tablefold.protos.tablefold_pb2_grpc import TablefoldStub

SECONDS = 10.0
PARTS = ("tables", "scales", "row_maps", "vocabulary", "network")


def fetch_footprint(server: str, tls_ca: Path | None, token_file: Path | None) -> dict[str, Any]:
    """Bytes of every version and of the server. Raises UsageError in plain words."""
    credentials = CredentialFiles(tls_ca=tls_ca, token_file=token_file).load()
    tls = credentials.channel_credentials
    try:
        with grpc.insecure_channel(server) if tls is None else grpc.secure_channel(server, tls) as channel:
            reply: pb.GetFootprintResponse = TablefoldStub(channel).GetFootprint(
                pb.GetFootprintRequest(), timeout=SECONDS, metadata=credentials.metadata
            )
    except grpc.RpcError as error:
        raise UsageError(
            f"{server} gives no footprint: {error.code().name}: {error.details()}; "
            "is it a Tablefold server's gRPC address?"
        ) from error
    anonymous = sum(each.proportional_anonymous_bytes for each in reply.processes)
    total = sum(each.proportional_bytes for each in reply.processes)
    return {
        "models": [_model(each) for each in reply.models],
        "server": {
            "processes": len(reply.processes),
            "anonymous": anonymous,
            "mapped": total - anonymous,
            "total": total,
            "peak": sum(each.resident_peak_bytes for each in reply.processes),
        },
    }


def _model(told: pb.GetFootprintResponse.Model) -> dict[str, Any]:
    parts = {part: getattr(told, f"{part}_bytes") for part in PARTS}
    return {
        "name": told.name,
        "version": told.version,
        "parts": parts,
        "predicted": sum(parts.values()),
        "mapped": told.mapped_bytes,
        "anonymous": told.anonymous_bytes,
        "loaded": told.mapped_bytes + told.anonymous_bytes,
        "peak": told.peak_bytes,
    }


def footprint_table(footprint: dict[str, Any]) -> Table:
    """Every version's parts, then what it takes, then the server; in bytes."""
    table = Table("", caption="mapped: weights and libraries, which the kernel can drop and read again")
    for column in ("predicted", "loaded", "anonymous", "mapped", "peak"):
        table.add_column(column, justify="right")

    def line(name: str, predicted: int | None, of: dict[str, int], loaded: int) -> None:
        figures = (predicted, loaded, of["anonymous"], of["mapped"], of["peak"])
        table.add_row(name, *("" if figure is None else f"{figure:,}" for figure in figures))

    for model in footprint["models"]:
        for part, size in model["parts"].items():
            table.add_row(f"  {part}", f"{size:,}")
        line(f"{model['name']}:{model['version']}", model["predicted"], model, model["loaded"])
        table.add_section()
    server = footprint["server"]
    several = "" if server["processes"] == 1 else f" ({server['processes']} processes)"
    line(f"the whole server{several}", None, server, server["total"])
    return table
