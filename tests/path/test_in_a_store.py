"""Everything through s3://: log, encoding, training, export, serving, scores; faults cost a plain line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tablefold.bundle import GRAPH, WEIGHTS
from tablefold.files.remote import RemotePath
from tests.path.conftest import serving
from tests.path.test_commands import refused_by_serve, tablefold
from tests.stores import Store, Wire, wait_until

MODELS = "s3://bucket/chain/models"
SCHEMA = """
name = "clicks"
label = "click"
[files]
format = "csv"
path = "parts"
[[dense]]
name = "price"
[[categorical]]
name = "user"
encoding = "int"
"""


def test_from_the_log_to_scores_through_a_store(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    for part in range(2):
        rows = [f"{i % 3 // 2},{i / 7},{(i * i + part) % 40}" for i in range(1500)]
        store.put(f"chain/log/parts/{part}.csv", "\n".join(["click,price,user", *rows]) + "\n")
    log, cache, model = store.put("chain/log/schema.toml", SCHEMA), tmp_path / "cache", tmp_path / "model"
    tablefold("encode", "--data", log, "--cache", cache, "--workers", 1)
    tablefold(
        "train", "--data", log, "--cache", cache, "--dim", 4, "--epochs", 1, "--bottom", 8, "--top", 8,
        "--out", model,
    )  # fmt: skip
    export = ("export", model, "--repository", MODELS, "--name", "ads", "--max-logloss-increase", 1)
    tablefold(*export)
    score = ("predict", "--model", "ads", "--data", log, "--json", "--server")

    wire = Wire(store)
    store.use(monkeypatch, endpoint=wire.endpoint)
    with serving(MODELS, "--poll-seconds", "0.1") as server:
        store.use(monkeypatch)  # the server alone asks through the wire
        first = tablefold(*score, server)
        assert json.loads(first)["rows"] == 300
        for name in (GRAPH, WEIGHTS):  # of an upload that was killed
            content = RemotePath(f"{MODELS}/ads/1/{name}").read_bytes(1 << 20)
            store.put(f"chain/models/ads/2/{name}", content)
        seen = wire.passed
        wait_until(lambda: wire.passed > seen + 5000)  # the mirror looks a few times
        wire.close()
        assert tablefold(*score, server) == first
    store.use(monkeypatch, endpoint=wire.endpoint)
    away = "the store cannot be reached, or the connection was cut: check the address, then try again"
    assert refused("encode", "--data", log, "--cache", tmp_path / "other").endswith(f"{away}\n")
    assert refused_by_serve(MODELS) == f"error: --repository {MODELS}: {away}\n"
    store.use(monkeypatch, secret="wrong")
    for command in (("encode", "--data", log, "--cache", tmp_path / "other"), export):
        says = refused(*command)
        assert "access is denied: check the credentials" in says
        assert store.key not in says
    assert not (tmp_path / "other").exists()
