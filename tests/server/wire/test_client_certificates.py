"""mTLS under load: others' certificates and plain connections are refused, and nobody else notices.

The files in tls/clients: an authority, two clients of it, one long expired, and one of another authority.
gRPC ends such a connection in its handshake and tells the server nothing: it is not counted.
"""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import grpc.aio
import pytest

from tests.server.conftest import Client
from tests.server.test_operations import samples
from tests.server.wire.test_rotation import replace
from tests.server.wire.test_security import SERVER, TLS

INFER = "/inference.GRPCInferenceService/ModelInfer"


def credentials(name: str | None) -> grpc.ChannelCredentials:
    files = (None, None) if name is None else (TLS / f"clients/{name}.key", TLS / f"clients/{name}.pem")
    key, chain = (file and file.read_bytes() for file in files)
    return grpc.ssl_channel_credentials((TLS / "ca.pem").read_bytes(), key, chain)


async def connect(stack: AsyncExitStack, served: Client, name: str | None, *, plain: bool = False) -> Client:
    options = [("grpc.use_local_subchannel_pool", 1)]
    channel = (
        grpc.aio.insecure_channel(served.address, options=options)
        if plain
        else grpc.aio.secure_channel(served.address, credentials(name), options=options)
    )
    return Client(await stack.enter_async_context(channel), served.address, served.http, served.server)


async def test_others_certificates_are_refused_and_nobody_else_notices(repository, toy, tmp_path: Path):
    token, shown = tmp_path / "token", "first"
    token.write_text(shown)
    options = {**SERVER, "tls_client_ca": TLS / "clients/authority.pem", "token_file": token}
    async with toy.here(repository, **options) as served, AsyncExitStack() as stack:
        valid = [await connect(stack, served, "valid") for _ in range(2)]
        rows, done, answered = toy.rows(3), asyncio.Event(), 0

        async def work(client: Client) -> None:
            nonlocal answered
            while not done.is_set():
                metadata = (("authorization", f"Bearer {shown}"),)
                assert len(await client.infer(*rows, timeout=30, metadata=metadata)) == 3
                answered += 1

        async def more(calls: int) -> None:
            enough = answered + calls
            await toy.until(lambda: answered > enough)

        working = [asyncio.create_task(work(client)) for client in valid]
        bearer = (("authorization", "Bearer first"),)
        for name, plain in (("stranger", False), ("expired", False), (None, False), (None, True)):
            client = await connect(stack, served, name, plain=plain)
            status, _ = await toy.status(client.infer(*rows, timeout=20, metadata=bearer))
            assert status == "UNAVAILABLE", name
        replace(token, "first\nsecond\n")
        await more(20)
        shown = "second"
        await more(20)
        replace(token, "second")
        await more(20)
        done.set()
        await asyncio.gather(*working)
        seen = await samples(served)
        assert seen["tablefold_calls_total", INFER, "OK"] == answered
        assert seen["tablefold_refusals_total", "unauthenticated"] == 0


@pytest.mark.parametrize("name", ["stranger", "expired", None])
async def test_a_refused_client_is_let_in_with_the_right_certificate(repository, toy, name):
    async with (
        toy.here(repository, **SERVER, tls_client_ca=TLS / "clients/authority.pem") as served,
        AsyncExitStack() as stack,
    ):
        refused = await connect(stack, served, name)
        assert (await toy.status(refused.infer(*toy.rows(1), timeout=20)))[0] == "UNAVAILABLE"
        assert len(await (await connect(stack, served, "valid")).infer(*toy.rows(1), timeout=20)) == 1
