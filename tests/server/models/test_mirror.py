"""A repository in a store is pulled whole, checked and served; whatever goes wrong, the old version stays."""

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tablefold.bundle import GRAPH, MANIFEST, WEIGHTS, check_files, read_manifest
from tablefold.errors import UsageError
from tablefold.files.remote import RemotePath
from tablefold.server.models import mirror as mirrors
from tablefold.server.models.mirror import Mirror
from tablefold.server.processes.mirror import look
from tests.stores import Store, Wire, wait_until

ORDER = (GRAPH, WEIGHTS, MANIFEST)


def put(store: Store, toy, tmp_path: Path, repository: str, version: int, files=ORDER) -> None:
    folder = tmp_path / repository / "toy" / str(version)
    if not folder.exists():
        toy.write(tmp_path / repository, version=version)
    for name in files:
        store.put(f"{repository}/toy/{version}/{name}", (folder / name).read_bytes())


def versions(cache: Path, model: str = "toy") -> set[str]:
    return {path.name for path in (cache / model).glob("*") if path.name.isdecimal()}


@pytest.fixture
def pulled(
    store: Store, toy, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[Mirror, Path, str]]:
    """A mirror of version 1, its folder, and the repository's name."""
    name, cache = request.node.name.replace("[", "-").replace("]", ""), tmp_path / "cache"
    put(store, toy, tmp_path, name, 1)
    mirror = Mirror(RemotePath(f"s3://bucket/{name}"), cache)
    mirror.update()
    assert versions(cache) == {"1"}
    check_files(cache / "toy/1", read_manifest(cache / "toy/1"))
    yield mirror, cache, name
    mirror.close()


def test_a_version_is_pulled_once_its_manifest_is_there(pulled, store: Store, toy, tmp_path: Path) -> None:
    mirror, cache, name = pulled
    put(store, toy, tmp_path, name, 2, (GRAPH, WEIGHTS))
    store.put(f"{name}/toy/notes/x", "")
    store.put(f"{name}/..hidden/1/{MANIFEST}", "{}")
    mirror.update()
    assert versions(cache) == {"1"}
    put(store, toy, tmp_path, name, 2, (MANIFEST,))
    mirror.update()
    assert versions(cache) == {"1", "2"}
    put(store, toy, tmp_path, name, 3)
    mirror.update()
    assert versions(cache) == {"2", "3"}, "the one before the latest stays"
    assert {path.name for path in cache.iterdir() if path.name[0] != "."} == {"toy", "mirror.json"}


def test_a_folder_that_would_pass_for_a_version_is_said_once_not_to_be_pulled(
    pulled, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    mirror, cache, name = pulled
    for folder in ("toy/v2", "toy/007", "toy/1.0", "a model/1", "toy/.draft", ".old/1"):
        store.put(f"{name}/{folder}/{MANIFEST}", "{}")
    mirror.update()
    mirror.update()
    assert versions(cache) == {"1"}
    said = [
        record.getMessage() for record in caplog.records if "is not pulled: name it" in record.getMessage()
    ]
    assert [line.split(" is not")[0].split(f"{name}/")[1] for line in said] == [
        "a model/1", "toy/007", "toy/1.0", "toy/v2",
    ]  # fmt: skip


def test_a_policy_in_the_store_is_followed(pulled, store: Store, toy, tmp_path: Path) -> None:
    mirror, cache, name = pulled
    for version in (2, 3):
        put(store, toy, tmp_path, name, version)
    store.put(f"{name}/toy/serving.toml", "[labels]\nstable = 1\n")
    mirror.update()
    assert versions(cache) == {"1", "3"}
    store.put(f"{name}/toy/serving.toml", 'versions = "all"\n')
    mirror.update()
    assert versions(cache) == {"1", "2", "3"}
    RemotePath(f"s3://bucket/{name}/toy/serving.toml").remove()
    mirror.update()
    assert not (cache / "toy/serving.toml").exists()
    assert versions(cache) == {"2", "3"}


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        (WEIGHTS, b"cut", "has 3 bytes there, not"),
        (WEIGHTS, None, "is damaged: its SHA-256 is not the one"),
        (MANIFEST, b"{}", "the manifest is damaged"),
        (MANIFEST, "of another", "its manifest says it is toy version 1"),
    ],
)
def test_a_damaged_version_is_not_pulled_and_the_old_one_stays(
    pulled, store: Store, toy, tmp_path: Path, caplog: pytest.LogCaptureFixture, file, content, says: str
) -> None:
    mirror, cache, name = pulled
    put(store, toy, tmp_path, name, 2)
    whole = (tmp_path / name / "toy/2" / file).read_bytes()
    if content == "of another":
        content = (tmp_path / name / "toy/1" / MANIFEST).read_bytes()
    store.put(f"{name}/toy/2/{file}", content or whole[:-1] + bytes([whole[-1] ^ 1]))
    mirror.update()
    mirror.update()  # not at once again
    assert versions(cache) == {"1"}
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith(f"s3://bucket/{name}/toy/2 is not pulled, what is served stays")
    assert says in line
    assert "\n" not in line


def test_a_cut_connection_costs_nothing_and_the_pull_is_tried_again(
    pulled, store: Store, toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    mirror, cache, name = pulled
    put(store, toy, tmp_path, name, 2, (GRAPH, WEIGHTS))
    monkeypatch.setattr(mirrors, "RETRY_SECONDS", 0.0)
    wire = Wire(store)
    store.use(monkeypatch, endpoint=wire.endpoint)
    mirror.update()
    put(store, toy, tmp_path, name, 2, (MANIFEST,))
    wire.left = wire.passed + 2000  # the listing passes, and some of the rest
    mirror.update()
    assert versions(cache) == {"1"}
    assert "the connection was cut" in caplog.text
    wire.left = 1 << 60
    mirror.update()
    assert versions(cache) == {"1", "2"}
    wire.close()
    with pytest.raises(OSError, match="cannot be reached"):
        mirror.update()
    assert versions(cache) == {"1", "2"}


def test_a_version_that_was_replaced_or_removed_is_so_here(pulled, store: Store, toy, tmp_path: Path) -> None:
    mirror, cache, name = pulled
    manifest = json.loads((tmp_path / name / "toy/1" / MANIFEST).read_text()) | {"provenance": {"new": "yes"}}
    store.put(f"{name}/toy/1/{MANIFEST}", json.dumps(manifest))
    mirror.update()
    assert read_manifest(cache / "toy/1").provenance == {"new": "yes"}
    put(store, toy, tmp_path, name, 2)
    mirror.update()
    for file in ORDER:
        RemotePath(f"s3://bucket/{name}/toy/2/{file}").remove()
    mirror.update()
    assert versions(cache) == {"1"}
    for file in ORDER:
        RemotePath(f"s3://bucket/{name}/toy/1/{file}").remove()
    store.put(f"{name}/other", "")
    mirror.update()
    assert mirror.empty
    assert not (cache / "toy").exists()


def test_a_start_needs_the_store_only_where_nothing_was_pulled(
    pulled, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    mirror, cache, name = pulled
    with pytest.raises(UsageError, match="s3://bucket/nothing holds no whole version of a model; export one"):
        look(RemotePath("s3://bucket/nothing"), tmp_path / "nothing")
    mirror.close()
    wire = Wire(store)
    wire.close()
    store.use(monkeypatch, endpoint=wire.endpoint)
    again, _ = look(RemotePath(f"s3://bucket/{name}"), cache)
    assert not again.empty
    again.close()
    assert "the store cannot be asked, what was pulled before is served" in caplog.text
    with pytest.raises(UsageError, match=f"--repository s3://bucket/{name}: the store cannot be reached"):
        look(RemotePath(f"s3://bucket/{name}"), tmp_path / "empty")


def test_a_folder_mirrors_one_repository_for_one_server(pulled, tmp_path: Path) -> None:
    _, cache, name = pulled
    with pytest.raises(UsageError, match="another server mirrors into"):
        Mirror(RemotePath(f"s3://bucket/{name}"), cache)
    with pytest.raises(UsageError, match=f"mirrors s3://bucket/{name}; give s3://bucket/x another"):
        Mirror(RemotePath("s3://bucket/x"), cache)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").touch()
    with pytest.raises(UsageError, match="is not empty and mirrors nothing"):
        Mirror(RemotePath("s3://bucket/x"), tmp_path / "mine")


async def test_a_server_serves_a_repository_in_a_store(
    store: Store, toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, toy, tmp_path, "served", 1)
    wire = Wire(store)
    store.use(monkeypatch, endpoint=wire.endpoint)
    cache, url = tmp_path / "cache", "s3://bucket/served"
    arguments = ("--repository-cache", str(cache), "--poll-seconds", "0.1")
    dense, ids = toy.rows(5)

    async def answers(client, version: int) -> bool:
        reply = await client.oip.ModelInfer(toy.request(dense, ids))
        return reply.model_version == str(version)

    async with toy.there(url, *arguments) as client:
        assert await answers(client, 1)
        put(store, toy, tmp_path, "served", 2, (GRAPH, WEIGHTS))
        (mirror,) = psutil.Process(client.server.process.pid).children()[:1]
        os.kill(mirror.pid, signal.SIGKILL)  # another one starts
        put(store, toy, tmp_path, "served", 2, (MANIFEST,))
        while not await answers(client, 2):
            assert await answers(client, 1) or await answers(client, 2)
            await asyncio.sleep(0.05)
        wire.close()
        assert await answers(client, 2)
        mirrors_now = psutil.Process(client.server.process.pid).children()
    wait_until(lambda: not any(child.is_running() for child in mirrors_now))


async def test_a_server_with_a_wrong_key_says_so_in_one_line(
    store: Store, toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.use(monkeypatch, secret="wrong")
    refused = await toy.launch("--repository", "s3://bucket/served", "--port", "0", "--http-port", "0")
    code, err = await refused.end()
    assert code == 2
    says = "access is denied: check the credentials and what they may do"
    assert err == f"error: --repository s3://bucket/served: {says}\n"
