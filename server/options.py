"""The options of a server. Imports nothing heavy: the supervisor of several processes needs them too."""

import math
import re
from dataclasses import dataclass, fields
from pathlib import Path

from tablefold.errors import UsageError

MAX_MESSAGE_BYTES = (1 << 31) - 1
"""gRPC keeps the limit in 32 bits."""
ADDRESS = re.compile(r"[A-Za-z0-9_.:%-]{1,253}", re.ASCII)
"""Of a host: a name, an IPv4 or an IPv6 address."""
MAX_ROWS = (1 << 31) - 1
DAY_SECONDS = 86_400.0

LIMITS: dict[str, tuple[float, float]] = {
    "port": (0, 65_535),
    "http_port": (0, 65_535),
    "workers": (1, 256),
    "poll_seconds": (0, DAY_SECONDS),
    "engine_threads": (1, 1024),
    "max_queue_rows": (1, MAX_ROWS),
    "max_batch_size": (1, MAX_ROWS),
    "max_queue_delay_seconds": (0, 60),
    "max_message_bytes": (1024, MAX_MESSAGE_BYTES),
    "memory_limit": (1, 1 << 62),
    "drain_seconds": (0, DAY_SECONDS),
    "engine_timeout_seconds": (0.1, DAY_SECONDS),
    "load_timeout_seconds": (1, DAY_SECONDS),
}
"""The smallest and the largest value of every option that is a number."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Raises UsageError for a value that is out of its limits. Port 0: the kernel chooses one."""

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
    engine_threads: int | None = None
    """Batches at once in each process. None: as many as there are cores for it."""
    max_queue_rows: int = 65_536
    """Of a model, in each process."""
    max_batch_size: int = 65_536
    """At most, in rows: where more rows at once go no faster, batches stay smaller."""
    max_queue_delay_seconds: float = 0.002
    """How long a small batch may wait for the calls that are usually in flight together."""
    max_message_bytes: int = 16 << 20
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    token_file: Path | None = None
    memory_limit: int | None = None
    """Bytes of all processes of the server together; a load beyond it is refused."""
    drain_seconds: float = 30.0
    engine_timeout_seconds: float = 10.0
    """A batch that runs longer hangs; then the process leaves, and its supervisor starts another one."""
    load_timeout_seconds: float = 30.0
    """A version that takes longer to load and warm up is refused; its size adds to this."""

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if option.name in LIMITS and value is not None:
                smallest, largest = LIMITS[option.name]
                if not (math.isfinite(value) and smallest <= value <= largest):
                    flag = option.name.replace("_", "-")
                    raise UsageError(
                        f"--{flag} is {value}; it must lie between {smallest:,g} and {largest:,.0f}"
                    )
        for name, host in (("host", self.host), ("http-host", self.http_host)):
            if host is not None and not ADDRESS.fullmatch(host):
                raise UsageError(
                    f"--{name} {host!r} is not an address: give one such as 127.0.0.1, 0.0.0.0 or ::1"
                )
