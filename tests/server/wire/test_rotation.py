"""Certificates and tokens change while the server runs; no call fails for it."""

import asyncio
import os
import shutil
import ssl
from pathlib import Path

import grpc.aio
import pytest

from tablefold.errors import UsageError
from tablefold.server.security import TlsFiles
from tests.server.conftest import Client
from tests.server.wire.test_security import TLS


def replace(path: Path, text: str | bytes) -> None:
    """As tools that rotate secrets do it: whole, in one step."""
    new = path.with_suffix(".new")
    new.write_bytes(text if isinstance(text, bytes) else text.encode())
    new.rename(path)


def subject(address: str) -> bytes:
    host, _, port = address.rpartition(":")
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, int(port))))


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    folder = tmp_path / "tls"
    folder.mkdir()
    for name in ("server.pem", "server.key", "ca.pem"):
        shutil.copy(TLS / name, folder)
    return {"tls_cert": folder / "server.pem", "tls_key": folder / "server.key"}


def connect(address: str) -> grpc.aio.Channel:
    """A connection of its own."""
    credentials = grpc.ssl_channel_credentials((TLS / "ca.pem").read_bytes())
    return grpc.aio.secure_channel(address, credentials, options=[("grpc.use_local_subchannel_pool", 1)])


async def test_new_certificates_are_taken_up_and_no_call_under_load_fails(repository, toy, files, caplog):
    async with toy.here(repository, **files) as served:
        rows, done, answered = toy.rows(3), asyncio.Event(), 0

        async def work() -> None:
            nonlocal answered
            while not done.is_set():
                async with connect(served.address) as channel:
                    client = Client(channel, served.address, served.http, served.server)
                    for _ in range(10):
                        assert len(await client.infer(*rows, timeout=30)) == 3
                        answered += 1

        working = [asyncio.create_task(work()) for _ in range(4)]
        old = await asyncio.to_thread(subject, served.address)
        replace(files["tls_key"], "half a key")
        assert await asyncio.to_thread(subject, served.address) == old
        assert "the old ones stay" in caplog.text
        replace(files["tls_cert"], (TLS / "client.pem").read_bytes())
        assert await asyncio.to_thread(subject, served.address) == old, "a new certificate beside no key"
        replace(files["tls_key"], (TLS / "client.key").read_bytes())
        new = await asyncio.to_thread(subject, served.address)
        assert new == ssl.PEM_cert_to_DER_cert((TLS / "client.pem").read_text())
        files["tls_cert"].unlink()
        assert await asyncio.to_thread(subject, served.address) == new
        before = answered
        await toy.until(lambda: answered > before + 40)
        done.set()
        await asyncio.gather(*working)


async def test_the_new_key_beside_the_old_certificate_and_then_the_old_files_again(
    repository, toy, files, caplog
):
    """In place, as by `cp -p`: the same files, sizes and times of modification as before."""
    old_files = {path: path.read_bytes() for path in files.values()}
    times = {path: path.stat().st_mtime_ns for path in files.values()}

    def write(path: Path, content: bytes) -> None:
        path.write_bytes(content)
        os.utime(path, ns=(times[path], times[path]))

    async with toy.here(repository, **files) as served:
        old = await asyncio.to_thread(subject, served.address)
        write(files["tls_key"], (TLS / "client.key").read_bytes())
        for _ in range(2):
            assert await asyncio.to_thread(subject, served.address) == old
        assert caplog.text.count("cannot be used, the old ones stay") == 1, "once a change"
        for path, content in old_files.items():
            write(path, content)
        assert await asyncio.to_thread(subject, served.address) == old
        async with connect(served.address) as channel:
            client = Client(channel, served.address, served.http, served.server)
            assert len(await client.infer(*toy.rows(3), timeout=30)) == 3
        write(files["tls_key"], (TLS / "client.key").read_bytes())
        write(files["tls_cert"], (TLS / "client.pem").read_bytes())
        new = ssl.PEM_cert_to_DER_cert((TLS / "client.pem").read_text())
        assert await asyncio.to_thread(subject, served.address) == new


def test_files_that_change_while_they_are_read_are_read_again(files, monkeypatch):
    tls = TlsFiles.of(files["tls_cert"], files["tls_key"], None)
    check = ssl.SSLContext.load_cert_chain

    def change(self, *arguments, **named):
        check(self, *arguments, **named)
        replace(files["tls_cert"], (TLS / "client.pem").read_bytes())
        replace(files["tls_key"], (TLS / "client.key").read_bytes())

    with monkeypatch.context() as patch:
        patch.setattr(ssl.SSLContext, "load_cert_chain", change)
        with pytest.raises(UsageError, match="the files change while they are read"):
            tls.credentials()
    assert tls._read_again() is not None


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked_for_it(files):
    shutil.copy(TLS / "locked.key", files["tls_key"])
    with pytest.raises(UsageError, match="the key has a passphrase: give one without"):
        TlsFiles.of(files["tls_cert"], files["tls_key"], None).credentials()


async def test_a_new_token_is_valid_at_once_and_the_old_one_soon_is_not(repository, toy, tmp_path):
    file = tmp_path / "token"
    file.write_text("first")

    async with toy.here(repository, token_file=file) as client:

        async def status(token: str) -> str:
            metadata = (("authorization", f"Bearer {token}"),)
            return (await toy.status(client.infer(*toy.rows(1), metadata=metadata)))[0]

        assert await status("first") == "OK"
        replace(file, "second")
        assert await status("second") == "OK"
        assert await status("first") == "UNAUTHENTICATED"
        replace(file, "third")
        async with asyncio.timeout(10):  # though nobody has shown the new one yet
            while await status("second") == "OK":  # noqa: ASYNC110 (the server sets no event for its clients)
                await asyncio.sleep(0.1)
        assert await status("third") == "OK"
        for broken in ("", "two words", "\x00"):
            replace(file, broken)
            assert await status("second") == "UNAUTHENTICATED"
            assert await status("third") == "OK"
        os.unlink(file)  # noqa: PTH108
        os.mkfifo(file)
        assert await status("x") == "UNAUTHENTICATED"
        assert await status("third") == "OK"


async def test_a_client_may_ask_every_second_whether_the_server_is_there(repository, toy):
    """By default gRPC closes the connection after the third such ping: "Too many pings"."""
    async with toy.here(repository) as served:
        options = [
            ("grpc.keepalive_time_ms", 1_100),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        async with grpc.aio.insecure_channel(served.address, options=options) as channel:
            client = Client(channel, served.address, served.http, served.server)
            stream = client.oip.ModelStreamInfer()
            request = toy.request(*toy.rows(2))
            await stream.write(request)
            assert not (await stream.read()).error_message
            await asyncio.sleep(8)
            await stream.write(request)
            assert not (await stream.read()).error_message
            await stream.done_writing()
