"""Servers that are not what the client expects: each is an error of its own class, in words, and in time."""

import asyncio
import http.server
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest

from tablefold.client import AsyncClient, Client
from tablefold.errors import BadReply, InvalidRequest, RequestError, Unavailable, Unimplemented, UsageError
from tablefold.protos import tablefold_pb2 as pb
from tablefold.protos.tablefold_pb2_grpc import TablefoldServicer, add_TablefoldServicer_to_server
from tests.client.conftest import Server
from tests.loadtest.fake_server import Habits, Own
from tests.server.conftest import write_bundle

ROW = {f"I{i}": [0.5] for i in range(1, 14)} | {f"C{i}": ["5"] for i in range(1, 27)}


class Odd(Own):
    """Answers Predict with whatever it is given."""

    def __init__(self, reply: pb.PredictResponse, manifest: str | None = None) -> None:
        super().__init__(Habits())
        self.reply, self.manifest = reply, manifest

    async def Predict(self, request: Any, context: Any) -> pb.PredictResponse:  # noqa: N802
        return self.reply

    async def GetModel(self, request: Any, context: Any) -> pb.GetModelResponse:  # noqa: N802
        reply: pb.GetModelResponse = await super().GetModel(request, context)
        if self.manifest is not None:
            reply.manifest_json = self.manifest
        return reply


@asynccontextmanager
async def serving(servicer: TablefoldServicer, address: str) -> AsyncIterator[str]:
    """A server in this process; gives the address to call."""
    server = grpc.aio.server()
    add_TablefoldServicer_to_server(servicer, server)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield address if address.startswith("unix:") else address.rpartition(":")[0] + f":{port}"
    finally:
        await server.stop(0)


async def test_unix_sockets_and_ipv6(tmp_path: Path) -> None:
    for listening in (f"unix:{tmp_path}/socket", "[::1]:0"):
        async with serving(Own(Habits()), listening) as address, AsyncClient(address) as client:
            assert await client.predict("ctr", ROW) == [np.float32(0.005)]


@pytest.mark.parametrize(
    ("probability", "says"),
    [
        ([0.5, 0.5], "2 probabilities for 1 rows"),
        ([], "0 probabilities for 1 rows"),
        ([float("nan")], "not a finite number"),
        ([float("inf")], "not a finite number"),
        ([1.5], "outside 0"),
    ],
)
async def test_a_reply_that_is_not_a_probability_a_row(probability: list[float], says: str) -> None:
    odd = Odd(pb.PredictResponse(probability=probability, version=10))
    async with serving(odd, "127.0.0.1:0") as address, AsyncClient(address) as client:
        with pytest.raises(BadReply, match=says):
            await client.predict("ctr", ROW)


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"format": 99}', "null", '{"name": "\\ud800"}'])
async def test_a_manifest_that_cannot_be_read(manifest: str) -> None:
    odd = Odd(pb.PredictResponse(), manifest)
    async with serving(odd, "127.0.0.1:0") as address, AsyncClient(address) as client:
        with pytest.raises(BadReply, match="manifest of 'ctr' cannot be read"):
            await client.predict("ctr", ROW)


async def test_a_model_whose_version_never_stays() -> None:
    odd = Odd(pb.PredictResponse(probability=[0.5], version=11))
    async with serving(odd, "127.0.0.1:0") as address, AsyncClient(address) as client:
        with pytest.raises(Unavailable, match="changes its version with every call"):
            await client.predict("ctr", ROW)


async def test_a_server_of_the_open_protocol_only(start_fake: Callable[..., Any]) -> None:
    async with AsyncClient(start_fake(speaks=["oip"]).address) as client:
        with pytest.raises(Unimplemented):
            await client.predict("ctr", ROW)


@pytest.fixture
def http_server() -> Iterator[str]:
    """Speaks HTTP/1 only."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    server.RequestHandlerClass.log_message = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["http_server", "silent_server"])
def test_a_server_of_another_protocol_is_told_within_the_timeout(
    kind: str, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue(kind)
    started = time.monotonic()
    with Client(address, timeout=2) as client:
        with pytest.raises(RequestError, match=address):
            client.predict("ctr", ROW)
        assert not client.ready(timeout=1)
    assert time.monotonic() - started < 10


def test_a_message_beyond_the_servers_limit_says_the_limit(
    tmp_path: Path, start_server: Callable[..., Server], refused: Callable[..., str]
) -> None:
    write_bundle(tmp_path)
    server = start_server(tmp_path, "--max-message-bytes", "8000")
    rows = 2000
    features = {
        "age": np.zeros(rows), "price": np.zeros(rows), "user": np.arange(rows), "item": ["1"] * rows,
        "tags": ["a"] * rows,
    }  # fmt: skip
    with Client(server.address) as client:
        with pytest.raises(
            InvalidRequest, match=r"takes 8\d,\d{3} bytes and the server .* allows 8,000: send fewer"
        ):
            client.predict("toy", features)
        assert len(client.predict("toy", {name: values[:9] for name, values in features.items()})) == 9


@pytest.mark.parametrize(
    "address",
    [
        "",
        "host",
        ":8001",
        "host:",
        "host:port",
        "host:0",
        "host:65536",
        "http://host:80",
        "::1:80",
        "[::1]",
        "unix:",
        "a b:80",
        "a\0b:80",
        "\ud800:80",
        None,
        8001,
    ],
)
def test_an_address_that_is_none(address: Any) -> None:
    with pytest.raises(UsageError, match=r"is not HOST:PORT"):
        Client(address)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e300, "1", [1]])
def test_a_timeout_that_is_none(timeout: Any) -> None:
    with pytest.raises(UsageError, match="timeout must be above 0"):
        Client("127.0.0.1:1", timeout=timeout)


@pytest.mark.parametrize("version", [0, -1, 2**64, "1", 1.0, True])
def test_a_version_that_is_none(version: Any, nobody: str) -> None:
    with Client(nobody) as client, pytest.raises(InvalidRequest, match="is no version"):
        client.predict("toy", {"a": [1]}, version=version)


@pytest.mark.parametrize(
    "question",
    [
        {"features": [1]},
        {"features": None},
        {"features": "user"},
        {"context": ["user"]},
        {"model": None},
        {"model": 5},
        {"model": "\ud800"},
        {"label": 5},
        {"label": "\udcff"},
    ],
)
def test_a_question_that_is_none_is_refused_before_it_is_sent(question: Any, nobody: str) -> None:
    with Client(nobody) as client, pytest.raises(InvalidRequest, match=r"is no \w+'s name|give a dictionary"):
        client.predict(**({"model": "toy", "features": {"user": [1]}} | question))


async def test_a_call_may_be_given_up(start_fake: Callable[..., Any]) -> None:
    async with AsyncClient(start_fake(delay=[5.0, 5.0]).address) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await client.predict("ctr", ROW)
        assert (await client.model_info("ctr")).version == 10
