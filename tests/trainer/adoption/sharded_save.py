"""Saves three tables that two ranks hold in parts: by row, by column, and whole.

torchrun --nproc-per-node 2 -m tests.trainer.adoption.sharded_save FOLDER
"""

import sys

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

PLACEMENTS = {"user": Shard(0), "item": Shard(1), "place": Replicate()}
SHAPES = {"user": (7, 4), "item": (5, 6), "place": (3, 2)}


def tables() -> dict[str, torch.Tensor]:
    """float32 [n, d] by name, the same in every process."""
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(*shape, generator=generator) for name, shape in SHAPES.items()}


def main(folder: str) -> None:
    """Save."""
    mesh = init_device_mesh("cpu", (2,))
    state = {
        f"model.ebc.embedding_bags.t_{name}.weight": distribute_tensor(tensor, mesh, [PLACEMENTS[name]])
        for name, tensor in tables().items()
    }
    dcp.save(state | {"model.scale": torch.tensor([0.5])}, checkpoint_id=folder)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
