"""A repository in a store: a version is seen there whole or not at all."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tablefold.bundle import GRAPH, MANIFEST, WEIGHTS, check_files, read_manifest
from tablefold.errors import TablefoldError, UsageError
from tablefold.exporter.export import export
from tablefold.exporter.repository.upload import upload
from tablefold.files.place import place_of
from tablefold.files.remote import RemotePath
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tests.stores import Store, Wire

Trained = Callable[..., tuple[Checkpoint, Path]]
STORED = Path(__file__).parents[1] / "formats/1"
BUNDLE, CHECKPOINT = STORED / "repository/dense/1", STORED / "checkpoints/dense"
"""Their own export to a store is in tests/path/test_in_a_store.py."""
FILES = {"config.pbtxt", f"1/{GRAPH}", f"1/{WEIGHTS}", f"1/{MANIFEST}"}


def test_a_version_is_in_the_store(store: Store, tmp_path: Path, refused: Callable[..., str]) -> None:
    assert str(upload(BUNDLE, RemotePath("s3://bucket/exported/m"), None)) == "s3://bucket/exported/m/1"
    assert store.names("exported/m") == FILES
    manifest = read_manifest("s3://bucket/exported/m/1")
    for name in manifest.files:
        place_of(f"s3://bucket/exported/m/1/{name}").download(tmp_path / name)
    check_files(tmp_path, manifest)
    store.put(f"exported/m/2/{GRAPH}", b"an upload that never ended")
    assert str(upload(BUNDLE, RemotePath("s3://bucket/exported/m"), None)) == "s3://bucket/exported/m/3"
    assert read_manifest("s3://bucket/exported/m/3").version == 3
    arguments = ["export", CHECKPOINT, "--repository", "s3://bucket/exported", "--name", "m"]
    assert "s3://bucket/exported/m/2 exists" in refused(*arguments, "--version=2")
    assert "web servers take no files" in refused("export", "x", "--repository", "http://h/r", "--name", "m")


def test_two_uploads_at_once_get_two_numbers(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    model = RemotePath("s3://bucket/two/m")
    first = RemotePath.upload

    def and_another(self: RemotePath, source: Path, *, new: bool = False) -> None:
        monkeypatch.setattr(RemotePath, "upload", first)
        upload(BUNDLE, model, None)
        first(self, source, new=new)

    monkeypatch.setattr(RemotePath, "upload", and_another)
    assert upload(BUNDLE, model, None).name == "2"
    assert {read_manifest(model / number).version for number in ("1", "2")} == {1, 2}


def test_an_upload_that_fails_leaves_nothing_to_see(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    model = RemotePath("s3://bucket/failed/m")
    first = RemotePath.upload

    def cut(self: RemotePath, source: Path, *, new: bool = False) -> None:
        if self.name == MANIFEST:
            raise ConnectionError(5, "the connection was cut", str(self))
        first(self, source, new=new)

    monkeypatch.setattr(RemotePath, "upload", cut)
    with pytest.raises(
        TablefoldError, match=r"^no version could be written into s3://bucket/failed/m, .* cut$"
    ):
        upload(BUNDLE, model, None)
    assert store.names("failed/m") == {"config.pbtxt"}


def test_a_wrong_key_and_a_store_that_is_away_are_noticed_before_any_work(
    trained: Trained, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = trained("hash")[0]
    store.use(monkeypatch, secret="wrong")
    with pytest.raises(UsageError, match=r"^--repository s3://bucket/x/m: access is denied") as error:
        export(checkpoint, "s3://bucket/x", "m")
    assert store.key not in str(error.value)
    wire = Wire(store)
    wire.close()
    store.use(monkeypatch, endpoint=wire.endpoint)
    with pytest.raises(UsageError, match=r"s3://bucket/x/m: the store cannot be reached"):
        export(checkpoint, "s3://bucket/x", "m")
