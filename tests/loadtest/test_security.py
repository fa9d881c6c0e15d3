"""TLS, client certificates and the token, against a plain gRPC server that asks for them."""

import subprocess
from pathlib import Path

import pytest

from tablefold.client.scoring.score_log import ScorePlan, predict
from tablefold.client.transport.credentials import CredentialFiles
from tablefold.errors import UsageError
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.target import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A certificate for 127.0.0.1 that signs itself, its key, and a token."""
    folder = tmp_path_factory.mktemp("keys")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
    command += " -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    (folder / "token").write_text("sesame\n")
    return folder


@pytest.fixture(scope="module")
def guarded(start_fake, folder):
    pair = [str(folder / "cert.pem"), str(folder / "key.pem")]
    return start_fake(token="sesame", tls=pair, client_ca=pair[0])


def plan(fake, **security: Path) -> Plan:
    return Plan(
        server=fake.address, model="ctr", rows="2", concurrency=2, duration=0.3, warmup=0.0, processes=1,
        security=CredentialFiles(**security),
    )  # fmt: skip


def everything(folder: Path) -> dict[str, Path]:
    return {
        "tls_ca": folder / "cert.pem",
        "tls_cert": folder / "cert.pem",
        "tls_key": folder / "key.pem",
        "token_file": folder / "token",
    }


async def test_a_load_test_and_predict_get_through_with_everything(guarded, folder, criteo_file):
    result = await run(plan(guarded, **everything(folder)))
    assert result.calls.ok == result.calls.due > 0
    assert "--token-file" in result.command
    assert "sesame" not in result.json_line()
    scores = await predict(
        ScorePlan(
            server=guarded.address,
            model="ctr",
            data=f"criteo:{criteo_file[0]}",
            security=CredentialFiles(**everything(folder)),
        )
    )
    assert len(scores.probability) == 2345


async def test_what_is_missing_is_named(guarded, folder):
    keys = everything(folder)
    with pytest.raises(UsageError, match=r"does not accept the token .*--token-file"):
        await run(plan(guarded, **{name: path for name, path in keys.items() if name != "token_file"}))
    with pytest.raises(UsageError, match=r"no server answers .*--tls-ca"):
        await run(plan(guarded, token_file=folder / "token"))
    with pytest.raises(UsageError, match="no server answers"):
        await run(plan(guarded, tls_ca=folder / "cert.pem", token_file=folder / "token"))


async def test_files_that_cannot_be(quick, folder):
    with pytest.raises(UsageError, match="absent cannot be read: No such file"):
        await run(plan(quick, token_file=folder / "absent"))
    with pytest.raises(UsageError, match="belong together"):
        CredentialFiles(tls_ca=folder / "cert.pem", tls_cert=folder / "cert.pem")
    with pytest.raises(UsageError, match="--tls-cert asks for TLS"):
        CredentialFiles(tls_cert=folder / "cert.pem", tls_key=folder / "key.pem")
