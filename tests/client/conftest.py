"""Real Tablefold servers as a user starts them, and the load tester's fake ones, whose habits are known."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.loadtest.conftest import criteo_file, nobody, quick, start_fake
from tests.server.conftest import SCHEMA, write_bundle

__all__ = ["criteo_file", "nobody", "quick", "start_fake"]

STRICT = SCHEMA.model_copy(
    update={
        "dense": tuple(feature.model_copy(update={"optional": False}) for feature in SCHEMA.dense),
        "categorical": tuple(
            feature.model_copy(update={"optional": False}) for feature in SCHEMA.categorical
        ),
    }
)
TLS = Path(__file__).parents[1] / "server/tls"


class Server:
    """`tablefold serve` of a repository, on a free port or the given one."""

    def __init__(self, repository: Path, *options: str, port: int = 0) -> None:
        command = [sys.executable, "-m", "tablefold", "serve", "--repository", str(repository)]
        self.process = subprocess.Popen(
            [*command, "--port", str(port), "--http-port", "0", *options],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        ready = re.search(r"ready on (\S+) ", self.process.stdout.readline())
        assert ready is not None
        self.address = ready[1]

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def kill(self) -> None:
        """At once, as a machine that fails."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="session")
def start_server() -> Iterator[Callable[..., Server]]:
    """Starts a server; all are gone at the end."""
    servers: list[Server] = []

    def start(repository: Path, *options: str, port: int = 0) -> Server:
        servers.append(Server(repository, *options, port=port))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.kill()


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory, start_server: Callable[..., Server]) -> Server:
    """A server of the toy model (see tests/server/conftest.py), version 1, and of `strict`: the same model,
    but no feature of it is optional."""
    repository = tmp_path_factory.mktemp("toy")
    write_bundle(repository)
    write_bundle(repository, name="strict", schema=STRICT)
    return start_server(repository)
