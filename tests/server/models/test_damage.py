"""Files that change on disk while they are served: never a wrong answer, never a silent death."""

import asyncio
import os
import shutil
import signal
import sys

import numpy as np
import pytest

from tablefold.bundle import WEIGHTS
from tablefold.errors import LoadFailed
from tablefold.schema import Encoding
from tablefold.server.bundles import lease
from tests.server.conftest import SCHEMA, write_bundle
from tests.server.models.test_reload import damage, index, served_by

OVERWRITE = "import sys; file = open(sys.argv[1], 'r+b'); file.write(bytes(388)); file.close()"
CUT_OFF = "import os, sys; os.truncate(sys.argv[1], 0)"


@pytest.fixture
def leases(tmp_path) -> None:
    """Skips where the kernel or the file system of the tests grants none."""
    file = tmp_path / "file"
    file.touch()
    with file.open() as opened:
        try:
            lease.fcntl.fcntl(opened, lease.fcntl.F_SETLEASE, lease.fcntl.F_RDLCK)
        except (OSError, AttributeError) as error:
            pytest.skip(f"no file leases here: {error}")


@pytest.mark.parametrize("script", [OVERWRITE, CUT_OFF], ids=["overwritten", "cut off"])
async def test_whoever_changes_served_weights_waits_until_an_older_version_serves(
    tmp_path, toy, script, leases
):
    toy.write(tmp_path)
    weights = toy.write(tmp_path, version=2) / WEIGHTS
    seen, wrong = set(), []

    async def call() -> None:
        while 1 not in seen:
            try:
                seen.add(await served_by(client, toy))
            except AssertionError as error:
                wrong.append(error)

    async with toy.there(tmp_path, "--poll-seconds=0.05") as client:
        calls = [asyncio.create_task(call()) for _ in range(4)]
        await toy.until(lambda: 2 in seen)
        writer = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(weights))
        async with asyncio.timeout(30):
            await asyncio.gather(*calls)
            assert await writer.wait() == 0
        assert not wrong
        status, text = "UNAVAILABLE", ""
        async with asyncio.timeout(30):
            while status == "UNAVAILABLE":  # the server looks at what the writer has left
                status, text = await toy.status(served_by(client, toy, "2"))
        assert status == "NOT_FOUND"
        assert "damaged" in text or "being changed" in text


async def test_with_no_older_version_the_model_is_gone_and_comes_back_with_its_files(tmp_path, toy, leases):
    weights = toy.write(tmp_path) / WEIGHTS
    sound = weights.read_bytes()
    async with toy.there(tmp_path, "--poll-seconds=0.05") as client:
        assert await served_by(client, toy) == 1
        await asyncio.to_thread(os.truncate, weights, 0)
        assert (await toy.status(served_by(client, toy)))[0] == "NOT_FOUND"
        await asyncio.to_thread(weights.write_bytes, sound)
        async with asyncio.timeout(20):
            while (await toy.status(served_by(client, toy)))[0] != "OK":  # noqa: ASYNC110 (as `until`)
                await asyncio.sleep(0.02)


async def test_without_leases_the_next_look_drops_what_was_changed_in_place(tmp_path, toy, monkeypatch):
    monkeypatch.setattr(lease.Lease, "take", lambda path: None)
    toy.write(tmp_path)
    folder = toy.write(tmp_path, version=2)
    async with toy.here(tmp_path) as client:
        assert await served_by(client, toy) == 2
        damage(folder)
        await client.server.repository.update()
        assert await served_by(client, toy) == 1
        assert "damaged" in index(client)["toy", "2"][1]
        damage(folder)
        await client.server.repository.update()
        assert await served_by(client, toy) == 2


async def test_a_version_that_is_replaced_by_other_files_is_opened_again(tmp_path, toy):
    folder = toy.write(tmp_path)
    other = toy.write(tmp_path / "other")
    dense, ids = toy.rows(5)
    async with toy.here(tmp_path) as client:
        first = client.server.repository.find("toy")
        shutil.rmtree(folder)
        np.testing.assert_allclose(await client.infer(dense, ids), toy.probability(dense, ids), atol=1e-6)
        other.rename(folder)
        await client.server.repository.update()
        second = client.server.repository.find("toy")
        assert second is not first
        assert await served_by(client, toy) == 1
        (folder / "manifest.json").unlink()
        (folder / WEIGHTS).rename(folder / "moved")
        await client.server.repository.update()
        assert client.server.repository.find("toy") is second, "what it has mapped is whole"
        assert await served_by(client, toy) == 1


async def test_a_version_replaced_by_a_model_that_reads_otherwise_is_refused(tmp_path, toy, caplog):
    """A client that knows version 1 encodes by its schema: its ids would mean other things."""
    folder = toy.write(tmp_path)
    user, *others = SCHEMA.categorical
    other = write_bundle(
        tmp_path / "other",
        schema=SCHEMA.model_copy(
            update={"categorical": (user.model_copy(update={"encoding": Encoding.STRING}), *others)}
        ),
    )
    dense, ids = toy.rows(5)
    async with toy.here(tmp_path) as client:
        first = client.server.repository.find("toy")
        shutil.rmtree(folder)
        other.rename(folder)
        await client.server.repository.update()
        assert "was replaced by a model that reads other features, or reads them otherwise" in caplog.text
        assert client.server.repository.find("toy") is first
        state, reason = index(client)["toy", "1"]
        assert state == "READY"
        assert "the files that are now in its place are refused" in reason
        assert "reads other features" in reason
        np.testing.assert_allclose(await client.infer(dense, ids), toy.probability(dense, ids), atol=1e-6)
        client.server.repository.unload("toy")
        with pytest.raises(LoadFailed, match="reads other features"):
            await client.server.repository.load("toy")
        write_bundle(tmp_path, version=2, schema=SCHEMA)
        await client.server.repository.update()
        assert await served_by(client, toy) == 2


async def test_a_refusal_of_files_that_are_gone_again_is_forgotten(tmp_path, toy):
    folder, bad = toy.write(tmp_path), toy.write(tmp_path / "other")
    (bad / "manifest.json").write_text("{")
    async with toy.here(tmp_path) as client:
        folder.rename(tmp_path / "kept")
        bad.rename(folder)
        await client.server.repository.update()
        assert "manifest.json" in index(client)["toy", "1"][1]
        with pytest.raises(LoadFailed, match=r"manifest\.json"):
            await client.server.repository.load("toy")
        assert await served_by(client, toy) == 1
        shutil.rmtree(folder)
        (tmp_path / "kept").rename(folder)
        await client.server.repository.update()
        assert index(client) == {("toy", "1"): ("READY", "")}


async def test_a_bus_error_leaves_a_trace_where_weights_were_cut_off_without_a_lease(repository, toy):
    """Another's files, or a network's: there the kernel cannot hold the writer back."""
    async with toy.there(repository) as client:
        client.server.process.send_signal(signal.SIGBUS)  # as the kernel does
        code, err = await client.server.end()
    assert code == -signal.SIGBUS
    assert "Bus error" in err
    assert "engine-0" in err or "Thread" in err
