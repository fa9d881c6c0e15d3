"""The native front is chosen where it holds every limit; whatever is wrong with it, the server serves."""

import builtins
import logging
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import grpc.aio
import pytest

from tablefold.errors import UsageError
from tablefold.server.fronts import probe
from tablefold.server.fronts.choice import choose_front
from tablefold.server.options import ServeOptions


def options(front: str, **others: object) -> ServeOptions:
    return ServeOptions.model_validate({"front": front, **others})


@pytest.fixture
async def sound() -> AsyncIterator[int]:
    """The port of a server that holds the probe's limit."""

    async def answer(request: bytes, context: object) -> bytes:
        return request

    service, name = probe.METHOD[1:].split("/")
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", probe.PROBE_BYTES)])
    handlers = {name: grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(None)


def test_the_installed_version_takes_messages_of_any_size_and_inflates_them() -> None:
    from tablefold.server.fronts.native import open_native

    assert probe.missing_limit(options("auto")) == "it takes messages of any size"
    native = open_native("127.0.0.1:0", [probe.METHOD], options("auto"))
    try:
        native.start()
        assert not probe.refuses_announced(native.bound_port)
        assert not probe.refuses_inflating(native.bound_port)
        messages = [message for _, _, _, message, _ in native.recv_batch(2, 1000)]  # perhaps its cancel too
        assert bytes(2 * probe.PROBE_BYTES) in messages  # it was whole, so it was not refused as cut off
    finally:
        native.close()


async def test_a_server_that_holds_the_limit_refuses_both(sound: int) -> None:
    import asyncio

    assert await asyncio.to_thread(probe.refuses_announced, sound)
    assert await asyncio.to_thread(probe.refuses_inflating, sound)


@pytest.mark.parametrize(
    ("announced", "inflating", "name", "reason"),
    [
        (True, True, "native", "it holds every limit"),
        (False, True, "grpcio", "any size"),
        (True, False, "grpcio", "inflates"),
    ],
)
def test_auto_takes_the_native_front_where_it_holds_both_limits(
    monkeypatch: pytest.MonkeyPatch, announced: bool, inflating: bool, name: str, reason: str
) -> None:
    monkeypatch.setattr(probe, "refuses_announced", lambda port: announced)
    monkeypatch.setattr(probe, "refuses_inflating", lambda port: inflating)
    choice = choose_front(options("auto"))
    assert choice.name == name
    assert reason in choice.reason


def test_native_is_taken_when_asked_for_and_says_what_is_not_bounded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert choose_front(options("native")).name == "native"
    assert "any size" in caplog.text


def without(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    real = builtins.__import__

    def imports(name: str, *arguments: object, **others: object) -> ModuleType:
        if name == "pygrpc_native":
            raise error
        return real(name, *arguments, **others)

    monkeypatch.delitem(sys.modules, "tablefold.server.fronts.native", raising=False)
    monkeypatch.setattr(builtins, "__import__", imports)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModuleNotFoundError("No module named 'pygrpc_native'"), "not installed"),
        (ImportError("undefined symbol"), "undefined symbol"),
        (RuntimeError("panicked"), "panicked"),
    ],
)
def test_without_the_package_or_with_a_broken_one_grpcio_serves(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    without(monkeypatch, error)
    choice = choose_front(options("auto"))
    assert choice.name == "grpcio"
    assert reason in choice.reason
    with pytest.raises(UsageError, match="serve-native"):
        choose_front(options("native"))


def test_a_front_that_delivers_nothing_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf:
        bound_port = 1

        def __getattr__(self, name: str) -> object:
            return lambda *arguments: None

    monkeypatch.setattr("tablefold.server.fronts.native.open_native", lambda *arguments: Deaf())
    monkeypatch.setattr(probe.socket, "create_connection", lambda *arguments: Silent())
    assert choose_front(options("auto")) == ("grpcio", "pygrpc-native fails: a call does not arrive")


class Silent:
    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *arguments: object) -> None:
        pass

    def sendall(self, frames: bytes) -> None:
        pass


def test_with_tls_grpcio_serves(tmp_path: Path) -> None:
    given = {"tls_cert": tmp_path / "cert", "tls_key": tmp_path / "key"}
    assert choose_front(options("auto", **given)).name == "grpcio"
    with pytest.raises(UsageError, match="no TLS"):
        choose_front(options("native", **given))
