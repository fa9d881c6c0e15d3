"""The options of a server, declared once: those of the command `serve` are made from them.

Imports nothing heavy: the supervisor of several processes needs them too.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_ROWS = (1 << 31) - 1
MAX_MESSAGE_BYTES = (1 << 31) - 1
"""gRPC keeps the limit in 32 bits."""
DAY_SECONDS = 86_400

GPU_ENGINE_THREADS = 2
"""While the rows of one batch are joined and copied, another one computes (docs/results/gpu.md)."""

Port = Annotated[int, Field(ge=0, le=65_535)]
Seconds = Annotated[float, Field(ge=0, le=DAY_SECONDS, allow_inf_nan=False)]
Timeout = Annotated[float, Field(ge=1, le=DAY_SECONDS, allow_inf_nan=False)]
Rows = Annotated[int, Field(ge=1, le=MAX_ROWS)]
FrontName = Literal["auto", "native", "grpcio"]


def _address(host: str) -> str:
    """Check a name, an IPv4 or an IPv6 address by its characters."""
    if not re.fullmatch(r"[A-Za-z0-9_.:%-]{1,253}", host, re.ASCII):
        raise ValueError("not an address; give one such as 127.0.0.1, 0.0.0.0 or ::1")
    return host


class ServeOptions(BaseModel):
    """All but the repository."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    host: Annotated[str, AfterValidator(_address)] = "127.0.0.1"
    """Address to listen on; 0.0.0.0: all of the machine."""
    port: Port = 8001
    """gRPC; 0: any free port."""
    http_host: Annotated[str, AfterValidator(_address)] = "127.0.0.1"
    """Address of the HTTP port, which has neither token nor TLS; 0.0.0.0: all of the machine."""
    http_port: Port = 8002
    """The status page, /metrics, /livez and /readyz; 0: any free port."""
    poll_seconds: Seconds = 2.0
    """Look for new versions this often; 0: never, they come by call."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that share the port and the cores; connections are spread over them."""
    engine_threads: Annotated[int | None, Field(ge=1, le=1024)] = None
    """Batches at once in each process; by default one a core, with several workers twice their share; on a
    GPU 2."""
    max_queue_rows: Rows = 65_536
    """Rows of a model that may wait in each process; more are refused at once."""
    max_batch_size: Rows = 65_536
    """Most rows of a batch; fewer where warm-up finds that more go no faster."""
    max_message_bytes: Annotated[int, Field(ge=1024, le=MAX_MESSAGE_BYTES)] = 16 << 20
    """Largest request or reply."""
    max_inflight_bytes: Annotated[int | None, Field(ge=1 << 20, lt=1 << 63)] = None
    """Bytes of requests and unread replies in each process; more are refused. By default a quarter of
    --memory-limit or of the machine's memory, shared by the workers."""
    max_inflight_calls: Annotated[int, Field(ge=1, le=MAX_ROWS)] = 16_384
    """Calls that wait for their answer in each process; more are refused at once."""
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 1_000
    """Connections to each process; more are closed at once."""
    max_connection_calls: Annotated[int, Field(ge=1, le=1_000_000)] = 100
    """Calls at once on a connection; a client keeps the others back."""
    max_streams: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    """Streams (ModelStreamInfer, Watch, reflection) open at once in each process; more are refused."""
    front: FrontName = "auto"
    """auto, native or grpcio: what speaks HTTP/2. auto: native where it holds every limit, else grpcio."""
    tls_cert: Path | None = None
    """The server's certificate (PEM): turns TLS on."""
    tls_key: Path | None = None
    """The private key of --tls-cert (PEM)."""
    tls_client_ca: Path | None = None
    """Clients need a certificate of this authority (PEM): mTLS."""
    token_file: Path | None = None
    """Calls must carry a token of this file, one a line (`authorization: Bearer TOKEN`), but for health."""
    admin_token_file: Path | None = None
    """Turns RepositoryModelLoad and Unload on, for calls with a token of this file; it opens every other
    call too. For one worker."""
    memory_limit: Annotated[int | None, Field(ge=1, lt=1 << 63)] = None
    """Bytes of all processes of the server together; a load beyond it is refused."""
    gpu_memory_limit: Annotated[int | None, Field(ge=1, lt=1 << 63)] = None
    """Bytes of the GPU, all processes of the server together; a load beyond it is refused."""
    trace_sample: Annotated[float | None, Field(ge=0, le=1, allow_inf_nan=False)] = None
    """Turns OpenTelemetry's traces on: the share of calls (0 to 1) that are traced where the client sends no
    trace context; where it sends one, it decides. OTEL_* of the environment say where spans go."""
    drain_seconds: Seconds = 30.0
    """After SIGTERM, time for calls in flight."""
    engine_timeout_seconds: Timeout = 10.0
    """A batch that runs longer hangs: the server drains and exits with 1."""
    load_timeout_seconds: Timeout = 30.0
    """A version that takes longer to load and warm up is refused; 20 MB add a second to this."""


class Options(ServeOptions):
    """The options of one server."""

    repository: Path
    """Folder of models, as `tablefold export` writes it."""
