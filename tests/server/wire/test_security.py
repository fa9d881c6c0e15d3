"""Who may call: TLS, client certificates, and the tokens; health is for everybody."""

import asyncio
from pathlib import Path

import grpc.aio
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tablefold.errors import UsageError
from tablefold.protos import inference_pb2 as pb
from tablefold.protos import tablefold_pb2
from tablefold.server.app import Server
from tablefold.server.options import Options
from tests.server.conftest import Client
from tests.server.models.test_reload import served_by
from tests.server.processes.test_process import run_python

TLS = Path(__file__).parents[1] / "tls"
SERVER = {"tls_cert": TLS / "server.pem", "tls_key": TLS / "server.key"}
TOKEN = "s3cret-token"
BEARER = (("authorization", f"Bearer {TOKEN}"),)
ADMIN_TOKEN = "0ther-token"
ADMIN = (("authorization", f"Bearer {ADMIN_TOKEN}"),)


def secure(address: str, *, certificate: bool = False) -> grpc.aio.Channel:
    pair = (
        [(TLS / file).read_bytes() for file in ("client.key", "client.pem")] if certificate else [None, None]
    )
    credentials = grpc.ssl_channel_credentials((TLS / "ca.pem").read_bytes(), *pair)
    return grpc.aio.secure_channel(address, credentials)


@pytest.fixture
def token_file(tmp_path) -> Path:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    return file


@pytest.fixture
def admin_file(tmp_path) -> Path:
    file = tmp_path / "admin"
    file.write_text(ADMIN_TOKEN)
    return file


async def test_over_tls_the_same_answers_and_no_plain_connection(repository, toy):
    dense, ids = toy.rows(4)
    async with toy.here(repository, **SERVER) as plain, secure(plain.address) as channel:
        client = Client(channel, plain.address, plain.http, plain.server)
        np.testing.assert_allclose(await client.infer(dense, ids), toy.probability(dense, ids), atol=1e-6)
        assert (await toy.status(plain.infer(dense, ids, timeout=20)))[0] == "UNAVAILABLE"


async def test_with_a_client_authority_only_its_certificates_connect(repository, toy):
    dense, ids = toy.rows(2)
    async with toy.here(repository, **SERVER, tls_client_ca=TLS / "ca.pem") as plain:
        for certificate, expected in ((True, "OK"), (False, "UNAVAILABLE")):
            async with secure(plain.address, certificate=certificate) as channel:
                client = Client(channel, plain.address, plain.http, plain.server)
                assert (await toy.status(client.infer(dense, ids, timeout=20)))[0] == expected


async def test_without_the_token_every_call_but_health_is_unauthenticated(repository, toy, token_file):
    async with toy.here(repository, token_file=token_file) as client:
        request = toy.request(*toy.rows(1))
        wrong = [
            None,
            (("authorization", "Bearer wrong"),),
            (("authorization", TOKEN),),
            (("authorization", "Bearer "),),
            (*BEARER, *BEARER),
        ]
        calls = [
            (client.oip.ModelInfer, request),
            (client.oip.ModelMetadata, pb.ModelMetadataRequest(name="toy")),
            (client.oip.RepositoryModelUnload, pb.RepositoryModelUnloadRequest(model_name="toy")),
            (client.tablefold.Predict, tablefold_pb2.PredictRequest(model="toy")),
            (client.tablefold.GetFootprint, tablefold_pb2.GetFootprintRequest()),
        ]
        for metadata in wrong:
            for call, message in calls:
                status, text = await toy.status(call(message, metadata=metadata))
                assert status == "UNAUTHENTICATED"
                assert "Bearer TOKEN" in text
                assert TOKEN not in text
        stream = client.oip.ModelStreamInfer()
        assert (await toy.status(stream.read()))[0] == "UNAUTHENTICATED"
        assert (await client.oip.ServerReady(pb.ServerReadyRequest())).ready
        assert (await client.oip.ServerLive(pb.ServerLiveRequest())).live
        health = health_pb2_grpc.HealthStub(client.channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == 1
        watch.cancel()
        assert len(await client.infer(*toy.rows(3), metadata=BEARER)) == 3
        stream = client.oip.ModelStreamInfer(metadata=BEARER)
        await stream.write(request)
        await stream.done_writing()
        assert not (await stream.read()).error_message


async def test_refused_calls_are_counted_by_their_reason(repository, toy, token_file):
    async with toy.here(repository, token_file=token_file) as client:
        for _ in range(3):
            await toy.status(client.infer(*toy.rows(1)))
        registry = client.server._metrics.registry
        assert registry.get_sample_value("tablefold_refusals_total", {"reason": "unauthenticated"}) == 3


def admin_calls(client, metadata=None):
    """Load and unload, in the order in which the model is there at the end."""
    unload, load = pb.RepositoryModelUnloadRequest, pb.RepositoryModelLoadRequest
    yield client.oip.RepositoryModelUnload(unload(model_name="toy"), metadata=metadata)
    yield client.oip.RepositoryModelLoad(load(model_name="toy"), metadata=metadata)


@pytest.mark.parametrize("front", ["grpcio", "native"])
async def test_load_and_unload_want_the_admin_token_which_opens_every_other_call_too(
    repository, toy, token_file, admin_file, front
):
    options = {"token_file": token_file, "admin_token_file": admin_file, "front": front}
    async with toy.here(repository, **options) as client:
        for metadata, expected in (
            (None, "UNAUTHENTICATED"),
            ((("authorization", "Bearer wrong"),), "UNAUTHENTICATED"),
            (BEARER, "PERMISSION_DENIED"),
            ((*ADMIN, *ADMIN), "UNAUTHENTICATED"),
            (ADMIN, "OK"),
        ):
            for call in admin_calls(client, metadata):
                status, text = await toy.status(call)
                assert status == expected
                assert TOKEN not in text
                assert ADMIN_TOKEN not in text
        for metadata in (BEARER, ADMIN):
            assert len(await client.infer(*toy.rows(2), metadata=metadata)) == 2
        assert (await toy.status(client.infer(*toy.rows(1))))[0] == "UNAUTHENTICATED"
        value = client.server._metrics.registry.get_sample_value
        assert value("tablefold_refusals_total", {"reason": "not_allowed"}) == 2
        assert value("tablefold_refusals_total", {"reason": "unauthenticated"}) == 7


async def test_without_an_admin_token_load_and_unload_are_off_for_the_token_of_predictions_too(
    repository, toy, token_file
):
    async with toy.here(repository, token_file=token_file) as client:
        for call in admin_calls(client, BEARER):
            status, text = await toy.status(call)
            assert status == "UNIMPLEMENTED"
            assert "--admin-token-file" in text
        assert len(await client.infer(*toy.rows(2), metadata=BEARER)) == 2


async def test_an_admin_token_alone_leaves_predictions_open(repository, toy, admin_file):
    async with toy.here(repository, admin_token_file=admin_file) as client:
        assert len(await client.infer(*toy.rows(2))) == 2
        for metadata, expected in ((None, "UNAUTHENTICATED"), (BEARER, "UNAUTHENTICATED"), (ADMIN, "OK")):
            for call in admin_calls(client, metadata):
                assert (await toy.status(call))[0] == expected


async def test_a_token_in_both_files_is_none_of_an_admin(repository, toy, token_file, admin_file):
    async with toy.here(repository, token_file=token_file, admin_token_file=admin_file) as client:
        admin_file.write_text(TOKEN)
        for call in admin_calls(client, BEARER):
            assert (await toy.status(call))[0] == "PERMISSION_DENIED"
        assert len(await client.infer(*toy.rows(2), metadata=BEARER)) == 2


async def test_with_the_admin_token_models_are_loaded_and_unloaded_by_call(tmp_path, toy, admin_file):
    root = tmp_path / "repository"
    toy.write(root)
    async with toy.here(root, admin_token_file=admin_file) as client:

        def load(name: str = "toy", **fields):
            request = pb.RepositoryModelLoadRequest(model_name=name, **fields)
            return client.oip.RepositoryModelLoad(request, metadata=ADMIN)

        async def version() -> str:
            reply = await client.oip.ModelInfer(toy.request(*toy.rows(1)))
            return reply.model_version

        await load()
        assert await version() == "1"
        bad = toy.write(root, version=2)
        weights = bad / "model.onnx.data"
        sound = weights.read_bytes()
        weights.write_bytes(b"\0" * len(sound))
        status, text = await toy.status(load())
        assert status == "FAILED_PRECONDITION"
        assert "damaged" in text
        assert await version() == "1"
        weights.write_bytes(sound)
        await load()
        assert await version() == "2"
        assert (await toy.status(load("other")))[0] == "NOT_FOUND"
        odd = {"config": pb.ModelRepositoryParameter(string_param="{}")}
        assert (await toy.status(load(parameters=odd)))[0] == "INVALID_ARGUMENT"

        unload = pb.RepositoryModelUnloadRequest(
            model_name="toy", parameters={"unload_dependents": pb.ModelRepositoryParameter(bool_param=False)}
        )
        await client.oip.RepositoryModelUnload(unload, metadata=ADMIN)
        status, text = await toy.status(version())
        assert status == "NOT_FOUND"
        assert "unloaded" in text
        await client.server.repository.update()  # looking at the disk does not bring it back
        assert (await toy.status(version()))[0] == "NOT_FOUND"
        await load()
        assert await version() == "2"


async def test_a_version_that_is_loading_is_unavailable(tmp_path, toy, token_file):
    root = tmp_path / "repository"
    toy.write(root)
    gate = asyncio.Event()
    async with toy.here(root) as client:
        repository = client.server.repository
        repository.unload("toy")
        versions, load = repository.models["toy"], repository.models["toy"]._load

        async def slow(*arguments):
            await gate.wait()
            return await load(*arguments)

        versions._load = slow
        loading = asyncio.create_task(repository.load("toy"))
        await toy.until(lambda: versions.loading == 1)
        status, text = await toy.status(client.infer(*toy.rows(1)))
        assert status == "UNAVAILABLE"
        assert "loading" in text
        gate.set()
        await loading
        assert await served_by(client, toy) == 1


async def test_tritonclient_reaches_it_with_tls_and_the_token(repository, toy, admin_file):
    script = """
        import sys
        import tritonclient.grpc as triton

        address, ca, token = sys.argv[1:]
        client = triton.InferenceServerClient(address, ssl=True, root_certificates=ca)
        headers = {"authorization": "Bearer " + token}
        client.load_model("toy", headers=headers)
        assert client.is_model_ready("toy", headers=headers)
        client.unload_model("toy", headers=headers)
        lines = client.get_model_repository_index(headers=headers).models
        assert any("unloaded" in line.reason for line in lines), lines
        client.close()
    """
    options = [f"--{name.replace('_', '-')}={file}" for name, file in SERVER.items()]
    async with toy.there(
        repository, *options, f"--admin-token-file={admin_file}", "--poll-seconds=0.05"
    ) as client:
        await run_python(script, client.address, str(TLS / "ca.pem"), ADMIN_TOKEN)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tls_cert": TLS / "server.pem"}, "both --tls-cert and --tls-key"),
        ({"tls_client_ca": TLS / "ca.pem"}, "both --tls-cert and --tls-key"),
        ({**SERVER, "tls_key": TLS / "client.key"}, "client.key"),
        ({**SERVER, "tls_cert": TLS / "nowhere.pem"}, "nowhere.pem"),
        ({**SERVER, "tls_client_ca": TLS / "server.key"}, "cannot be used for TLS"),
        ({"token_file": TLS / "nowhere"}, "nowhere"),
        ({"token_file": TLS / "ca.pem"}, "one token"),
        ({"admin_token_file": TLS / "nowhere"}, "admin-token-file .*nowhere"),
        ({"admin_token_file": TLS / "ca.pem", "workers": 2}, "one worker"),
    ],
)
async def test_files_that_cannot_be_used_are_named_at_the_start(repository, options, words):
    with pytest.raises(UsageError, match=words):
        Server(Options(repository=repository, **options))
