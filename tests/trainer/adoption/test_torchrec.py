"""Models of TorchRec: sharded checkpoints read as they are, or refused by name."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from typer.testing import CliRunner

from tablefold.cli import app
from tablefold.client import Client
from tablefold.errors import CheckpointError
from tablefold.exporter.export import export
from tablefold.exporter.proof.bundle_graph import open_graph
from tablefold.logs import Log
from tablefold.schema import CategoricalFeature, DenseFeature, Encoding, FeatureSchema
from tablefold.trainer.adoption.managed_table import NO_ID
from tablefold.trainer.adoption.sharded_files import METADATA
from tablefold.trainer.adoption.torchrec import adopt_torchrec
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.compression.compress import compress
from tablefold.trainer.networks.registry import NetworkFactory, import_factory
from tests.path.conftest import serving
from tests.trainer.adoption import adopt_growth
from tests.trainer.adoption.sharded_save import SHAPES, tables
from tests.trainer.adoption.torchrec_model import Net

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")  # so `save` says

FEATURES = list(SHAPES)
WIDEST = max(width for _, width in SHAPES.values())
SCALE = 0.5


class Sum(nn.Module):
    """Adds everything up; its one weight is `scale`."""

    def __init__(self, *given: int) -> None:
        super().__init__()
        assert given == (1, len(FEATURES), WIDEST)
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, dense: Tensor, vectors: Tensor) -> Tensor:
        return self.scale * (dense.sum(1) + vectors.sum((1, 2)))


def schema_of(
    encoding: Encoding = Encoding.INT, names: list[str] = FEATURES, dense: int = 1
) -> FeatureSchema:
    return FeatureSchema(
        name="shop",
        dense=tuple(DenseFeature(name=f"d{i}") for i in range(dense)),
        categorical=tuple(CategoricalFeature(name=name, encoding=encoding) for name in names),
    )


def log_of(ids: np.ndarray, dense: np.ndarray | None = None) -> Log:
    dense = np.ones((len(ids), 1), np.float32) if dense is None else dense
    return Log(dense=dense, ids=ids, label=(np.arange(len(ids)) % 2).astype(np.float32))


def some_ids(rows: int = 40) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([rng.integers(0, n, rows) for n, _ in SHAPES.values()], axis=1)


def expected(vectors: Mapping[str, Tensor], places: np.ndarray) -> np.ndarray:
    """The probabilities of `Sum` for the rows at these places of the tables."""
    sums = sum(vectors[name][places[:, column]].sum(1) for column, name in enumerate(FEATURES))
    return torch.sigmoid(SCALE * (1 + torch.as_tensor(sums))).numpy()


def state(**changes: Tensor | None) -> dict[str, Tensor]:
    whole = {f"ebc.embedding_bags.t_{name}.weight": tensor for name, tensor in tables().items()}
    whole |= {"scale": torch.tensor([SCALE])}
    whole |= {name.replace("__", "."): tensor for name, tensor in changes.items() if tensor is not None}
    return {name: tensor for name, tensor in whole.items() if changes.get(name, tensor) is not None}


def adopted_of(
    folder: Path,
    schema: FeatureSchema,
    network: nn.Module | NetworkFactory,
    validation: Log,
    tables: Mapping[str, str] | None = None,
) -> Checkpoint:
    """Written beside the folder, and returned."""
    return adopt_torchrec(folder, schema, network, validation, folder.parent / "adopted", tables=tables)


Save = Callable[[Mapping[str, Tensor]], Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(tensors: Mapping[str, Tensor]) -> Path:
        dcp.save(dict(tensors), checkpoint_id=tmp_path / "sharded", no_dist=True)
        return tmp_path / "sharded"

    return write


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


def managed(name: str, ids: list[int], rows: list[int], slots: int, segments: list[int]) -> dict[str, Tensor]:
    """The buffers of a managed-collision module with so many slots."""
    prefix = f"ebc._managed_collision_collection._managed_collision_modules.t_{name}."
    free = slots - len(ids)
    taken = set(range(slots)) - set(rows)
    return {
        prefix + "_mch_sorted_raw_ids": torch.tensor([*ids, *[NO_ID] * free]),
        prefix + "_mch_remapped_ids_mapping": torch.tensor([*rows, *sorted(taken)[:free]]),
        prefix + "_output_segments_tensor": torch.tensor(segments),
    }


def test_managed_tables_bring_their_raw_ids_and_the_row_of_unknown_ones(save: Save) -> None:
    raw = [-5, 3, 1 << 60]
    folder = save(state() | managed("user", raw, [2, 0, 5], slots=7, segments=[0, 7, -1, -1]))
    places = some_ids(12)
    places[:, 0] = [2, 0, 5, 6] * 3
    ids = places.copy()
    ids[:, 0] = [*raw, 77] * 3  # nobody knows 77: the last row
    adopted = adopted_of(folder, schema_of(), Sum, log_of(ids))
    np.testing.assert_allclose(adopted.model.predict(log_of(ids)), expected(tables(), places), atol=1e-6)
    assert adopted.row_maps[0][0].keys.tolist() == raw


def test_managed_tables_may_have_text_as_ids_and_others_may_not(save: Save) -> None:
    folder = save(state() | managed("user", [7], [0], slots=7, segments=[0, 7]))
    mixed = FeatureSchema(
        name="shop",
        dense=(DenseFeature(name="d"),),
        categorical=tuple(
            CategoricalFeature(name=name, encoding=Encoding.STRING if name == "user" else Encoding.INT)
            for name in FEATURES
        ),
    )
    assert adopted_of(folder, mixed, Sum, log_of(some_ids())).row_maps[0][0].keys.tolist() == [7]
    with pytest.raises(CheckpointError, match=r"'item' has the encoding string, .* ids .* are its rows"):
        adopted_of(folder, schema_of(Encoding.STRING), Sum, log_of(some_ids()))


def test_torchrecs_own_managed_tables_are_read_as_it_reads_them(save: Save) -> None:
    pytest.importorskip("torchrec", reason="TorchRec is not installed (tests/torchrec.txt)")
    from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
    from torchrec.modules.mc_embedding_modules import ManagedCollisionEmbeddingBagCollection
    from torchrec.modules.mc_modules import (
        DistanceLFU_EvictionPolicy,
        ManagedCollisionCollection,
        MCHManagedCollisionModule,
    )

    configs = [
        EmbeddingBagConfig(name=f"t_{name}", embedding_dim=width, num_embeddings=n, feature_names=[name])
        for name, (n, width) in SHAPES.items()
    ]
    device = torch.device("cpu")
    model = ManagedCollisionEmbeddingBagCollection(
        EmbeddingBagCollection(tables=configs),
        ManagedCollisionCollection(
            {
                config.name: MCHManagedCollisionModule(
                    zch_size=config.num_embeddings, device=device, eviction_interval=1,
                    eviction_policy=DistanceLFU_EvictionPolicy(),
                )
                for config in configs
            },
            configs,
        ),
    )  # fmt: skip
    ids = some_ids() * 1_000_003 - 7

    def run(values: np.ndarray) -> Mapping[str, Tensor]:
        columns = torch.from_numpy(values.T.copy())
        features = KeyedJaggedTensor.from_lengths_sync(
            keys=FEATURES, values=columns.reshape(-1), lengths=torch.ones(columns.numel(), dtype=torch.int64)
        )
        pooled = model(features)[0]
        return {name: pooled[name] for name in FEATURES}

    for _ in range(3):
        run(ids)
    model.eval()
    with torch.no_grad():
        vectors = run(ids)
    sums = sum(vectors[name].sum(1) for name in FEATURES)
    theirs = torch.sigmoid(SCALE * (1 + torch.as_tensor(sums))).numpy()
    folder = save(
        {f"ebc.{name}": tensor for name, tensor in model.state_dict().items()}
        | {"scale": torch.tensor([SCALE])}
    )
    adopted = adopted_of(folder, schema_of(), Sum, log_of(ids))
    np.testing.assert_allclose(adopted.model.predict(log_of(ids)), theirs, atol=1e-6)
    assert any(len(maps[0].keys) > 1 for maps in adopted.row_maps)  # some ids have found a place


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


USER = "ebc.embedding_bags.t_user.weight"


@pytest.mark.parametrize(
    ("tensors", "named", "says"),
    [
        ({USER: None}, {}, "'user' has no table of its own, user or t_user, .* there are t_item, t_place"),
        ({"other.embedding_bags.user.weight": torch.ones(2, 2)}, {}, "'user' has two tables of its own"),
        ({"copy.embedding_bags.t_user.weight": torch.ones(2, 2)}, {}, "two tables 't_user': .*save the"),
        ({}, {"buyer": "t_user"}, "'buyer' is given the table 't_user' and is no categorical feature"),
        ({}, {"user": "t_nobody"}, "no table 't_nobody'; there are: t_item, t_place, t_user"),
        ({USER: torch.ones(4)}, {}, r"'user': table .* is torch.float32 \[4\], and must be float"),
        ({USER: torch.ones(4, 4, dtype=torch.int64)}, {}, "is torch.int64"),
        ({USER: torch.full((7, 4), float("nan"))}, {}, "'user': the vector of the id 0 is not all numbers"),
        ({"scale": None}, {}, r"the weights of the network \(scale, ...\) are not all there"),
        ({"copy.scale": torch.ones(1)}, {}, "are there under several prefixes"),
        ({"scale": torch.ones(2)}, {}, r"'scale' is \[2\] in .*, and the factory's network has \[1\]"),
        (managed("user", [1], [9], 7, [0, 7]), {}, "'user': the ids of table .* lead to rows that it has"),
        (managed("user", [1], [-1], 7, [0, 7]), {}, "lead to rows that it has not"),
        (managed("user", [1], [1], 7, [0, 70]), {}, "lead to rows that it has not"),
        (managed("user", [1], [1], 7, [0]), {}, "lead to rows that it has not"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(save: Save, tensors, named, says) -> None:
    whole = {name: tensor for name, tensor in (state() | tensors).items() if tensor is not None}
    with pytest.raises(CheckpointError, match=says):
        adopted_of(save(whole), schema_of(), Sum, log_of(some_ids()), tables=named)


class Ran:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self._folder),)


def test_a_folder_that_is_none_or_damaged_or_hostile_is_refused_and_runs_nothing(
    save: Save, tmp_path: Path
) -> None:
    def refused(folder: Path, says: str) -> None:
        with pytest.raises(CheckpointError, match=says):
            adopted_of(folder, schema_of(), Sum, log_of(some_ids()))

    refused(tmp_path / "nowhere", "it has no .metadata, which is written last")
    folder = save(state())
    about = (folder / METADATA).read_bytes()
    for part in (b"", about[:40], b"no pickle"):
        (folder / METADATA).write_bytes(part)
        refused(folder, "damaged or of another kind")
    (folder / METADATA).write_bytes(pickle.dumps(Ran(tmp_path / "ran")))
    refused(folder, "names posix.mkdir")
    assert not (tmp_path / "ran").exists()
    elsewhere = pickle.loads(about)
    for place in elsewhere.storage_data.values():
        place.relative_path = "../elsewhere"
    (folder / METADATA).write_bytes(pickle.dumps(elsewhere))
    refused(folder, "leads out of its folder")
    (folder / METADATA).write_bytes(about)
    [shards] = folder.glob("*.distcp")
    whole = shards.read_bytes()
    shards.write_bytes(whole[: len(whole) // 2])
    refused(folder, "cannot be read; is a file of it missing or cut off")
    shards.unlink()
    refused(folder, "cannot be read; is a file of it missing or cut off")


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
    network = ["--network", f"{__name__}:Sum"]
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
