"""What the command line says of a server.

Knows values and their defaults. Imports nothing heavy: the supervisor of several processes needs them too.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Port 0: the kernel chooses one."""

    repository: Path
    host: str = "127.0.0.1"
    port: int = 8001
    http_host: str | None = None
    """None: the same as `host`."""
    http_port: int = 8002
    workers: int = 1
    """Processes that share the port."""
    poll_seconds: float = 2.0
    """Between two looks at the repository; 0: none, new versions come by call."""
    device: str = "cpu"
    lanes: int | None = None
    """Of each process. None: as many as there are cores for it."""
    max_queue_rows: int = 65_536
    """Of a model, in each process."""
    max_batch_rows: int = 65_536
    """At most: where more rows at once go no faster, larger batches would only lengthen the slowest calls."""
    gather_seconds: float = 0.002
    """How long a small batch may wait for the calls that are lately in flight together."""
    max_message_bytes: int = 16 << 20
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    token_file: Path | None = None
    memory_limit: int | None = None
    """Bytes of all processes of the server together; a load beyond it is refused."""
    drain_seconds: float = 30.0
    stuck_seconds: float = 10.0
    """A batch that runs longer hangs; then the process leaves, for its supervisor to start another."""
