"""ModelVersions come and go while the server answers: swapped at one moment, never for a worse one."""

import asyncio
import gc
import json
import shutil
import threading
import weakref

import numpy as np
import pytest

from tablefold.bundle import MANIFEST, WEIGHTS
from tablefold.errors import BundleError
from tablefold.protos import tablefold_pb2 as pb


async def served_by(client, toy, version: str = "", **model) -> int:
    """The version that answers, which is checked to be the one it says."""
    dense, ids = toy.rows(5)
    response = await client.oip.ModelInfer(toy.request(dense, ids, model_version=version, **model))
    number = int(response.model_version)
    np.testing.assert_allclose(toy.probability_in(response), toy.probability(dense, ids, number), atol=1e-6)
    return number


def index(client) -> dict[tuple[str, str], tuple[str, str]]:
    return {(name, e.version): (e.state, e.reason) for name, e in client.server.repository.index()}


def damage(folder) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[40] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def say(folder, text: str) -> None:
    (folder.parent / "serving.toml").write_text(text)


async def test_a_new_version_on_disk_takes_over_and_the_old_one_is_given_back(tmp_path, toy):
    models = tmp_path / "models"
    toy.write(models)
    new = toy.write(tmp_path / "elsewhere", version=2)
    async with toy.here(models, poll_seconds=0.01) as client:
        assert await served_by(client, toy) == 1
        old = weakref.ref(client.server.repository.find("toy").batcher.engine)
        gc.disable()  # the count of references alone must do it
        try:
            new.rename(models / "toy/2")  # at once, as an export does: a file that grows is a changed one
            await toy.until(lambda: client.server.repository.find("toy").version == 2)
            await toy.until(lambda: old() is None)
        finally:
            gc.enable()
        assert await served_by(client, toy) == 2
        assert index(client) == {("toy", "2"): ("READY", "")}
        assert (await toy.status(served_by(client, toy, "1")))[0] == "NOT_FOUND"


async def test_a_new_model_on_disk_is_served(tmp_path, toy):
    toy.write(tmp_path)
    async with toy.here(tmp_path) as client:
        toy.write(tmp_path, name="other", version=3)
        await client.server.repository.update()
        assert await served_by(client, toy, model_name="other") == 3


async def test_a_call_in_flight_is_answered_by_the_version_it_reached(tmp_path, toy):
    gates = {1: threading.Event(), 2: threading.Event()}
    entered = threading.Event()

    class Slow:
        def __init__(self, folder, manifest) -> None:
            self.version = manifest.version

        def run(self, dense, ids):
            if self.version == 1 and len(ids) == 3:
                entered.set()
                assert gates[1].wait(30)
            return toy.probability(dense, ids, self.version)

    toy.write(tmp_path)
    dense, ids = toy.rows(3)
    async with toy.here(tmp_path, open_engine=Slow, engine_threads=2) as client:
        call = asyncio.ensure_future(client.infer(dense, ids))
        await asyncio.to_thread(entered.wait, 30)
        toy.write(tmp_path, version=2)
        await client.server.repository.update()
        assert await served_by(client, toy) == 2
        assert index(client)["toy", "1"][0] == "UNLOADING"
        gates[1].set()
        np.testing.assert_allclose(await call, toy.probability(dense, ids, 1), atol=1e-6)
        await toy.until(lambda: set(index(client)) == {("toy", "2")})


async def test_a_bad_version_is_refused_with_its_reason_while_the_old_one_serves_on(tmp_path, toy, caplog):
    toy.write(tmp_path)
    async with toy.here(tmp_path) as client:
        bad = toy.write(tmp_path, version=2)
        damage(bad)
        for _ in range(3):
            await client.server.repository.update()
        assert await served_by(client, toy) == 1
        state, reason = index(client)["toy", "2"]
        assert state == "UNAVAILABLE"
        assert WEIGHTS in reason
        assert "damaged" in reason
        assert caplog.text.count("version 2 is not served") == 1, "once, not at every look"
        damage(bad)  # the same byte once more: now it is sound
        await client.server.repository.update()
        assert await served_by(client, toy) == 2


async def test_a_version_copied_into_place_file_by_file_is_served_once_it_is_whole(tmp_path, toy):
    toy.write(tmp_path / "served")
    source = toy.write(tmp_path / "source", version=2)
    target = tmp_path / "served" / "toy" / "2"
    target.mkdir()
    async with toy.here(tmp_path / "served") as client:
        for file in (MANIFEST, WEIGHTS, "model.onnx"):
            await client.server.repository.update()
            assert await served_by(client, toy) == 1
            shutil.copy(source / file, target)
        await client.server.repository.update()
        assert await served_by(client, toy) == 2


@pytest.mark.parametrize(
    ("policy", "versions"),
    [
        ('versions = "latest"', {3}),
        ('versions = "all"', {1, 2, 3}),
        ("versions = [1, 2]", {1, 2}),
        ("[labels]\nstable = 2", {2, 3}),
        ("versions = [1]\n[labels]\ncanary = 3", {1, 3}),
    ],
)
async def test_the_policy_says_which_versions_are_served(tmp_path, toy, policy, versions):
    for version in (1, 2, 3):
        folder = toy.write(tmp_path, version=version)
    say(folder, policy)
    async with toy.here(tmp_path) as client:
        for version in (1, 2, 3):
            if version in versions:
                assert await served_by(client, toy, str(version)) == version
            else:
                assert (await toy.status(served_by(client, toy, str(version))))[0] == "NOT_FOUND"


async def test_a_request_may_name_a_label_and_without_one_it_gets_stable(tmp_path, toy):
    for version in (1, 2, 3):
        folder = toy.write(tmp_path, version=version)
    say(folder, "[labels]\nstable = 1\ncanary = 2")
    row = [pb.Feature(name="user", ids=pb.Ids(values=[7]))]
    async with toy.here(tmp_path) as client:
        for label, version in {"": 1, "stable": 1, "canary": 2, "3": 3}.items():
            assert await served_by(client, toy, label) == version
        for fields, version in (({}, 1), ({"label": "canary"}, 2), ({"version": 3}, 3)):
            reply = await client.tablefold.Predict(pb.PredictRequest(model="toy", candidates=row, **fields))
            assert reply.version == version
            assert (
                await client.tablefold.GetModel(pb.GetModelRequest(model="toy", **fields))
            ).version == version
        both = pb.PredictRequest(model="toy", candidates=row, version=3, label="canary")
        assert (await toy.status(client.tablefold.Predict(both)))[0] == "INVALID_ARGUMENT"
        status, text = await toy.status(served_by(client, toy, "beta"))
        assert status == "NOT_FOUND"
        assert "canary" in text
        say(folder, "[labels]\nstable = 3")
        await client.server.repository.update()
        assert await served_by(client, toy) == 3
        assert (await toy.status(served_by(client, toy, "canary")))[0] == "NOT_FOUND"


async def test_a_label_stays_where_it_is_until_the_version_it_moves_to_is_sound(tmp_path, toy):
    toy.write(tmp_path)
    folder = toy.write(tmp_path, version=2)
    say(folder, "versions = [1]\n[labels]\nstable = 1")
    async with toy.here(tmp_path) as client:
        damage(folder)
        say(folder, "versions = [2]\n[labels]\nstable = 2")
        await client.server.repository.update()
        assert await served_by(client, toy, "stable") == 1
        assert index(client)["toy", "2"][0] == "UNAVAILABLE"
        damage(folder)
        await client.server.repository.update()
        assert await served_by(client, toy, "stable") == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("versions = ", ["not TOML"]),
        ('versions = "newest"', ["versions", "latest"]),
        ("[labels]\n7 = 1", ["labels"]),
        ("version = 3", ["version"]),
    ],
)
async def test_a_policy_that_cannot_be_read_changes_nothing_and_is_said(tmp_path, toy, text, words):
    folder = toy.write(tmp_path)
    async with toy.here(tmp_path) as client:
        toy.write(tmp_path, version=2)
        say(folder, text)
        await client.server.repository.update()
        assert await served_by(client, toy) == 1
        for word in ["serving.toml", *words]:
            assert word in index(client)["toy", ""][1]
    with pytest.raises(BundleError, match=r"serving\.toml"):
        async with toy.here(tmp_path):
            pass


async def test_a_version_taken_off_the_disk_gives_way_to_another_but_never_to_nothing(tmp_path, toy):
    toy.write(tmp_path)
    folder = toy.write(tmp_path, version=2)
    async with toy.here(tmp_path) as client:
        shutil.rmtree(folder)
        await client.server.repository.update()
        assert await served_by(client, toy) == 1
        shutil.rmtree(folder.parent)
        await client.server.repository.update()
        assert await served_by(client, toy) == 1
        shutil.rmtree(tmp_path)
        with pytest.raises(BundleError, match="not a folder"):
            await client.server.repository.update()
        assert await served_by(client, toy) == 1


async def test_looking_goes_on_after_a_look_that_failed(tmp_path, toy, caplog):
    root = tmp_path / "repository"
    toy.write(root)
    async with toy.here(root, poll_seconds=0.01) as client:
        root.rename(tmp_path / "away")
        await toy.until(lambda: "cannot be updated" in caplog.text)
        toy.write(tmp_path / "away", version=2)
        (tmp_path / "away").rename(root)
        await toy.until(lambda: client.server.repository.find("toy").version == 2)


async def test_a_file_a_manifest_does_not_fit_is_refused_at_its_size_before_its_digest(tmp_path, toy):
    folder = toy.write(tmp_path)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][WEIGHTS]["bytes"] += 1
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="damaged"):
        async with toy.here(tmp_path):
            pass


async def test_swaps_under_load_fail_no_call_and_give_every_call_one_whole_version(tmp_path, toy):
    """`bench/serving/reload.py` does the same three hundred times, as a process, with its memory watched."""
    swaps = 15
    toy.write(tmp_path)
    seen: dict[int, int] = {}

    async def work(client, seed: int) -> None:
        while len(seen) <= swaps:
            rows = toy.rows(1 + seed * 40, seed=seed)
            response = await client.oip.ModelInfer(toy.request(*rows), timeout=30)
            version = int(response.model_version)
            np.testing.assert_allclose(
                toy.probability_in(response), toy.probability(*rows, version), atol=1e-6
            )
            seen[version] = seen.get(version, 0) + 1

    async with toy.here(tmp_path, poll_seconds=0.01) as client:
        working = [asyncio.create_task(work(client, seed)) for seed in range(8)]
        for version in range(2, swaps + 2):
            folder = toy.write(tmp_path / "new", version=version)
            folder.rename(tmp_path / "toy" / str(version))
            await toy.until(lambda version=version: version in seen)
        await asyncio.gather(*working)
        await toy.until(lambda: len(index(client)) == 1)
