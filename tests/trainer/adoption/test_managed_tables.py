"""Managed-collision tables of TorchRec: raw ids, and the row of all others."""

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from tablefold.errors import CheckpointError
from tablefold.schema import CategoricalFeature, DenseFeature, Encoding, FeatureSchema
from tests.trainer.adoption.sharded_save import SHAPES, tables
from tests.trainer.adoption.shop import (
    FEATURES,
    SCALE,
    Save,
    Sum,
    adopted_of,
    expected,
    log_of,
    managed,
    schema_of,
    some_ids,
    state,
)

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")  # so `save` says


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
