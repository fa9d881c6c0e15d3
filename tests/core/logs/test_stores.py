"""Logs in object stores and on web servers are read as those on disk are, and no message holds a secret."""

import gzip
import http.server
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tablefold.errors import CacheError, LogError, UsageError
from tablefold.logs import read_rows, read_splits
from tablefold.printable import redacted
from tests.core.logs.reading import SCHEMA, read_both
from tests.stores import Store, Wire

USER = '[[categorical]]\nname = "user"\nencoding = "int"\n'


def rows(first: int, count: int = 20) -> str:
    return "\n".join(["click,user", *(f"{i % 2},{i}" for i in range(first, first + count))]) + "\n"


def parquet(tmp_path: Path, first: int) -> bytes:
    frame = pl.DataFrame({"click": [0, 1] * 10, "user": range(first, first + 20)})
    frame.write_parquet(tmp_path / "part")
    return (tmp_path / "part").read_bytes()


def described(path: str, kind: str = "csv") -> str:
    return SCHEMA.format(format=kind, path="PATH", settings="").replace('"PATH"', path) + USER


def test_a_schema_in_a_store_names_files_beside_it_lists_and_folders_of_parts(
    store: Store, tmp_path: Path
) -> None:
    store.put("csv/parts/part-1", rows(20))
    store.put("csv/parts/part-0.gz", gzip.compress(rows(0).encode()))
    for mark in ("_SUCCESS", "_temporary", ".part-0.crc", "empty"):
        store.put(f"csv/parts/{mark}", "")
    other = store.put("other/more.csv", rows(40))
    spec = store.put("csv/schema.toml", described(f'["parts", "{other}"]'))
    assert read_both(spec).ids[:, 0].tolist() == list(range(60))
    store.put("parquet/parts/b.parquet", parquet(tmp_path, 20))
    store.put("parquet/parts/a.parquet", parquet(tmp_path, 0))
    (tmp_path / "here.toml").write_text(described('"s3://bucket/parquet/parts"', "parquet"))
    assert read_both(str(tmp_path / "here.toml")).ids[:, 0].tolist() == list(range(40))


def test_a_public_data_set_in_a_store(store: Store, real_data: Callable[[str], Path]) -> None:
    folder = real_data("movielens-1m-partial")
    for path in folder.iterdir():
        if path.name.endswith((".dat", ".dat.gz", ".tsv", ".tsv.gz")):
            store.put(f"movielens/{path.name}", path.read_bytes())
    far, here = read_rows("movielens:s3://bucket/movielens"), read_rows(f"movielens:{folder}")
    np.testing.assert_array_equal(far[1].ids, here[1].ids)


def test_a_cache_of_a_file_in_a_store_is_refused_once_that_has_changed(store: Store, tmp_path: Path) -> None:
    store.put("changing/log.csv", rows(0))
    spec = store.put("changing/schema.toml", described('"log.csv"'))
    read_splits(spec, cache=tmp_path / "cache")
    read_splits(spec, cache=tmp_path / "cache")
    store.put("changing/log.csv", rows(0).replace("\n0,0\n", "\n1,0\n"))
    with pytest.raises(CacheError, match=r"before log.csv was last changed"):
        read_splits(spec, cache=tmp_path / "cache")


def test_what_a_store_refuses_is_one_plain_line(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "schema.toml").write_text(described(f'"{store.put("plain/log.csv", rows(0, 5000))}"'))
    url = store.put("plain/log.parquet", rows(0))
    (tmp_path / "parquet.toml").write_text(described(f'"{url}"', "parquet"))
    (tmp_path / "none.toml").write_text(described('"s3://bucket/plain/none.csv"'))
    with pytest.raises(LogError, match=r"^s3://bucket/plain/none.csv: there is no such file$"):
        read_splits(str(tmp_path / "none.toml"))
    with pytest.raises(LogError, match=r"^s3://bucket/none: there is no such file or folder$"):
        read_splits("criteo:s3://bucket/none")
    with pytest.raises(LogError, match=r"^s3://bucket/plain/log.parquet: is no Parquet file, is cut off"):
        read_splits(str(tmp_path / "parquet.toml"))
    wire = Wire(store)
    store.use(monkeypatch, endpoint=wire.endpoint)
    wire.left = 15_000  # headers go through
    with pytest.raises(LogError, match=r"the connection was cut") as cut:
        read_splits(str(tmp_path / "schema.toml"))
    wire.close()
    store.use(monkeypatch, secret="wrong")
    with pytest.raises(LogError, match=r"access is denied: check the credentials") as wrong:
        read_splits(str(tmp_path / "schema.toml"))
    for error in (cut, wrong):
        text = str(error.value)
        assert "\n" not in text
        assert store.key not in text
        assert store.secret not in text


def test_a_checkpoint_and_a_cache_are_on_this_machine(refused: Callable[..., str], tmp_path: Path) -> None:
    train = ("train", "--data", "synthetic:1000", "--out")
    assert "s3://b/model is in a store; give a folder on this machine" in refused(*train, "s3://b/model")
    assert "s3://b/c is in a store" in refused(*train, tmp_path / "model", "--cache", "s3://b/c")


@pytest.mark.parametrize(("url", "package"), [("gs://b/x", "gcsfs"), ("az://c/x", "adlfs")])
def test_a_store_whose_package_is_absent(url: str, package: str) -> None:
    with pytest.raises(UsageError, match=f"pip install '{package}'"):
        read_splits(f"criteo:{url}")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_files_of_a_web_server_and_the_secrets_of_their_urls(web: str, tmp_path: Path, store: Store) -> None:
    (tmp_path / "log.csv").write_text(rows(0))
    (tmp_path / "schema.toml").write_text(described('"log.csv"'))
    assert read_both(f"http://{web}/schema.toml").ids[:, 0].tolist() == list(range(20))
    secret = f"http://me:password@{web}/none.csv?Signature=secret"
    (tmp_path / "schema.toml").write_text(described(f'"{secret}"'))
    with pytest.raises(LogError) as error:
        read_splits(str(tmp_path / "schema.toml"))
    assert str(error.value) == f"http://{web}/none.csv?...: there is no such file"
    (tmp_path / "log.parquet").write_bytes(parquet(tmp_path, 0))
    signed = f"http://{web}/log.parquet?X-Amz-Signature=secret"
    (tmp_path / "schema.toml").write_text(described(f'"{signed}"', "parquet"))
    assert read_both(str(tmp_path / "schema.toml")).ids[:, 0].tolist() == list(range(20))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("criteo:https://a:b@host/x", "criteo:https://host/x"),
        (
            "cannot get 'https://host/x?X-Amz-Signature=1&b=2', sorry",
            "cannot get 'https://host/x?...', sorry",
        ),
        ("https://a:p@ss@host/x", "https://host/x"),
        ("what? no=thing", "what? no=thing"),
        ("a@b://c", "a@b://c"),
    ],
)
def test_redacted(text: str, shown: str) -> None:
    assert redacted(text) == shown
