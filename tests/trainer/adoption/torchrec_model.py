"""A model of TorchRec: trained a little on two ranks, sharded by table and by column, and saved.

    torchrun --nproc-per-node 2 -m tests.trainer.adoption.torchrec_model FOLDER

FOLDER/sharded gets the checkpoint, FOLDER/expected.pt rows and TorchRec's own logits for them.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn

ROWS = {"user": 50, "item": 40, "place": 9}
WIDTHS = {"user": 8, "item": 16, "place": 4}


class Head(nn.Module):
    """Concatenated vectors and dense values to a logit."""

    def __init__(self) -> None:
        super().__init__()
        self.over_arch = nn.Sequential(nn.Linear(2 + sum(WIDTHS.values()), 12), nn.ReLU(), nn.Linear(12, 1))

    def logit(self, dense: Tensor, values: Tensor) -> Tensor:
        """dense float32 [B, 2] and values float32 [B, 28] -> [B]."""
        out: Tensor = self.over_arch(torch.cat([dense, values], 1))
        return out.squeeze(1)


class Net(Head):
    """The same network as Tablefold calls it."""

    def __init__(self, num_dense: int, num_features: int, dim: int) -> None:
        super().__init__()
        assert (num_dense, num_features, dim) == (2, 3, max(WIDTHS.values()))

    def forward(self, dense: Tensor, vectors: Tensor) -> Tensor:
        """dense float32 [B, 2] and vectors float32 [B, 3, 16] -> logit [B]."""
        parts = [vectors[:, place, :width] for place, width in enumerate(WIDTHS.values())]
        return self.logit(dense, torch.cat(parts, 1))


def main(folder: Path) -> None:
    """Train, save, and say what the model gives."""
    from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
    from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
    from torchrec.distributed.model_parallel import DistributedModelParallel
    from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints, Topology
    from torchrec.distributed.types import ShardingType

    class Model(Head):
        def __init__(self, tables: EmbeddingBagCollection) -> None:
            super().__init__()
            self.sparse = tables

        def forward(self, dense: Tensor, features: KeyedJaggedTensor) -> Tensor:
            pooled = self.sparse(features)  # in an order that depends on the sharding
            return self.logit(dense, torch.cat([pooled[name] for name in ROWS], 1))

    dist.init_process_group("gloo")
    torch.manual_seed(dist.get_rank() == -1)
    configs = [
        EmbeddingBagConfig(
            name=f"t_{name}", embedding_dim=WIDTHS[name], num_embeddings=rows, feature_names=[name]
        )
        for name, rows in ROWS.items()
    ]
    model = Model(EmbeddingBagCollection(tables=configs, device=torch.device("meta")))
    by = {"user": ShardingType.TABLE_WISE, "item": ShardingType.COLUMN_WISE, "place": ShardingType.TABLE_WISE}
    planner = EmbeddingShardingPlanner(
        topology=Topology(world_size=2, compute_device="cpu"),
        constraints={
            f"t_{name}": ParameterConstraints(sharding_types=[kind.value], min_partition=4)
            for name, kind in by.items()
        },
    )
    sharders = [EmbeddingBagCollectionSharder()]
    plan = planner.collective_plan(model, sharders, dist.group.WORLD)
    sharded = DistributedModelParallel(model, device=torch.device("cpu"), plan=plan, sharders=sharders)
    optimizer = torch.optim.SGD(sharded.parameters(), 0.5)

    def batch(seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        ids = torch.stack([torch.randint(rows, (64,), generator=generator) for rows in ROWS.values()])
        return torch.randn(64, 2, generator=generator), ids

    def run(dense: Tensor, ids: Tensor) -> Tensor:
        features = KeyedJaggedTensor.from_lengths_sync(
            keys=list(ROWS), values=ids.reshape(-1), lengths=torch.ones(ids.numel(), dtype=torch.int64)
        )
        out: Tensor = sharded(dense, features)
        return out

    for step in range(20):
        dense, ids = batch(2 * step + dist.get_rank())
        optimizer.zero_grad()
        labels = ((ids[0] + ids[1]) % 2).float()
        nn.functional.binary_cross_entropy_with_logits(run(dense, ids), labels).backward()
        optimizer.step()
    dense, ids = batch(1000)
    with torch.no_grad():
        logit = run(dense, ids)
    dcp.save(sharded.state_dict(), checkpoint_id=folder / "sharded")
    if dist.get_rank() == 0:
        torch.save({"dense": dense, "ids": ids.T.contiguous(), "logit": logit}, folder / "expected.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
