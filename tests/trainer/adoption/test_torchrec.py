"""Models of TorchRec: sharded checkpoints read as they are, adopted, exported, served."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from tablefold.cli import app
from tablefold.client import Client
from tablefold.exporter.export import export
from tablefold.exporter.proof.bundle_graph import open_graph
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.compression.compress import compress
from tablefold.trainer.networks.registry import import_factory
from tests.path.conftest import serving
from tests.trainer.adoption import adopt_growth
from tests.trainer.adoption.sharded_save import tables
from tests.trainer.adoption.shop import (
    FEATURES,
    SCALE,
    WIDEST,
    Save,
    Sum,
    adopted_of,
    expected,
    log_of,
    schema_of,
    some_ids,
    state,
)
from tests.trainer.adoption.torchrec_model import Net

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")  # so `save` says


def torchrun(module: str, folder: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "-m",
        module,
        str(folder),
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr[-3000:]


def test_tables_in_parts_on_two_ranks_come_together_whatever_they_were_sharded_by(tmp_path: Path) -> None:
    torchrun("tests.trainer.adoption.sharded_save", tmp_path / "sharded")
    assert len(list((tmp_path / "sharded").glob("*.distcp"))) == 2
    ids = some_ids()
    adopted = adopted_of(tmp_path / "sharded", schema_of(), Sum, log_of(ids))
    np.testing.assert_allclose(adopted.model.predict(log_of(ids)), expected(tables(), ids), atol=1e-6)


def test_a_model_that_torchrec_trained_gives_its_own_probabilities_also_served(tmp_path: Path) -> None:
    pytest.importorskip("torchrec", reason="TorchRec is not installed (tests/torchrec.txt)")
    torchrun("tests.trainer.adoption.torchrec_model", tmp_path)
    seen = torch.load(tmp_path / "expected.pt")
    rows = log_of(seen["ids"].numpy(), seen["dense"].numpy())
    schema = schema_of(names=["user", "item", "place"], dense=2)
    adopted = adopted_of(tmp_path / "sharded", schema, Net, rows)
    theirs = torch.sigmoid(seen["logit"]).numpy()
    np.testing.assert_allclose(adopted.model.predict(rows), theirs, atol=1e-6)
    small = compress(adopted, row_ratio=4, max_logloss_increase=1.0).checkpoint
    checkpoints.save(small, tmp_path / "small")
    repository = tmp_path / "repository"
    export(checkpoints.load(tmp_path / "adopted", Net), repository, name="shop")
    export(checkpoints.load(tmp_path / "small", Net), repository, name="small")
    values = {name: rows.ids[:, column] for column, name in enumerate(["user", "item", "place"])}
    values |= {f"d{column}": rows.dense[:, column] for column in range(2)}
    with serving(repository) as address, Client(address) as client:
        np.testing.assert_allclose(client.predict("shop", values), theirs, rtol=0, atol=1e-5)
        served_small = client.predict("small", values)
    np.testing.assert_allclose(served_small, small.model.predict(rows), rtol=0, atol=1e-5)


def test_a_network_of_a_pt2_file_brings_its_weights_and_exports(save: Save, tmp_path: Path) -> None:
    network = Sum(1, len(FEATURES), WIDEST).eval()
    nn.init.constant_(network.scale, SCALE)
    batch, given = torch.export.Dim("batch"), (torch.zeros(2, 1), torch.zeros(2, len(FEATURES), WIDEST))
    program = torch.export.export(network, given, dynamic_shapes=({0: batch}, {0: batch}))
    torch.export.save(program, tmp_path / "sum.pt2")
    factory = import_factory(str(tmp_path / "sum.pt2"))
    assert factory is not None
    ids = some_ids()
    adopted_of(save(state(scale=None)), schema_of(), factory, log_of(ids))
    again = checkpoints.load(tmp_path / "adopted", factory)
    np.testing.assert_allclose(again.model.predict(log_of(ids)), expected(tables(), ids), atol=1e-6)
    folder = export(again, tmp_path / "repository", name="shop")
    np.testing.assert_allclose(open_graph(folder)(log_of(ids)), expected(tables(), ids), atol=1e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="anonymous memory is read from /proc")
def test_tables_of_400_mb_are_adopted_with_far_less_memory_than_they_take(save: Save, tmp_path: Path) -> None:
    rows, width = 400_000, 128
    vectors = torch.arange(rows * width, dtype=torch.float32).view(rows, width) / (rows * width)
    prefix = "ebc._managed_collision_collection._managed_collision_modules.item."
    folder = save(
        {"ebc.embedding_bags.user.weight": vectors, "ebc.embedding_bags.item.weight": vectors}
        | {
            prefix + "_mch_sorted_raw_ids": torch.arange(rows) * 3,
            prefix + "_mch_remapped_ids_mapping": torch.arange(rows).flip(0),
            prefix + "_output_segments_tensor": torch.tensor([0, rows]),
        }
    )
    command = [sys.executable, "-m", "tests.trainer.adoption.adopt_growth"]
    printed = subprocess.check_output([*command, str(folder), str(tmp_path / "out")], text=True, timeout=300)
    assert int(printed) < 0.25 * 2 * vectors.nbytes
    found = checkpoints.load(tmp_path / "out", lambda *_: adopt_growth.Sum())
    user, item = (maps[0] for maps in found.row_maps)
    weight = found.model.collection.table.vectors.weight
    assert torch.equal(weight[1 : 1 + rows], vectors)
    assert torch.equal(weight[2 + rows : 2 + 2 * rows], vectors)
    assert np.array_equal(user(np.array([0, rows - 1, rows])), [0, rows - 1, rows])
    assert np.array_equal(item(np.array([0, 3, 4])), [rows - 1, rows - 2, rows])
    torch.testing.assert_close(weight[1 + rows], vectors.double().mean(0).float())
    assert torch.equal(weight[-1], vectors[-1])


def test_features_may_share_a_table_that_is_named(save: Save) -> None:
    folder = save(state())
    adopted = adopted_of(
        folder,
        schema_of(names=["buyer", "item", "place"]),
        Sum,
        log_of(some_ids()),
        tables={"buyer": "t_user"},
    )
    np.testing.assert_allclose(
        adopted.model.predict(log_of(some_ids())), expected(tables(), some_ids()), atol=1e-6
    )


def test_the_command_writes_a_checkpoint_that_exports(save: Save, tmp_path: Path) -> None:
    folder, log = save(state()), tmp_path / "log.csv"
    lines = [f"{row % 2},1.0,{','.join(map(str, ids))}" for row, ids in enumerate(some_ids(400).tolist())]
    log.write_text("\n".join(["label,d0," + ",".join(FEATURES), *lines]) + "\n")
    (tmp_path / "shop.toml").write_text(
        'name = "shop"\n[files]\nformat = "csv"\npath = "log.csv"\n[[dense]]\nname = "d0"\n'
        + "".join(f'[[categorical]]\nname = "{name}"\nencoding = "int"\n' for name in FEATURES)
    )
    out = tmp_path / "out"
    command = ["adopt", "--torchrec", str(folder), "--data", str(tmp_path / "shop.toml"), "--out", str(out)]
    network = ["--network", "tests.trainer.adoption.shop:Sum"]
    done = CliRunner().invoke(app, [*command, *network])
    assert done.exit_code == 0, done.output
    assert "validation examples: logloss" in done.output
    adopted = checkpoints.load(out, Sum)
    np.testing.assert_allclose(
        adopted.model.predict(log_of(some_ids())), expected(tables(), some_ids()), atol=1e-6
    )
    for more, says in (
        (["--table", "user"], "give FEATURE=TABLE"),
        (["--table", "user=t_item", "--table", "user=t_user"], "each feature once"),
    ):
        failed = CliRunner().invoke(app, [*command, *network, *more])
        assert failed.exit_code != 0
        assert says in str(failed.exception)
    failed = CliRunner().invoke(app, [*command, "--network", "dlrm"])
    assert "dlrm is Tablefold's own" in str(failed.exception)
