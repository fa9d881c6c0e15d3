"""Adopts a sharded checkpoint of tables `user` and `item` and prints by how many bytes anonymous memory grew.

python -m tests.trainer.adoption.adopt_growth FOLDER OUT
"""

import sys

import numpy as np
import torch
from torch import Tensor, nn

from bench.process_memory import anonymous_growth
from tablefold.logs import Log
from tablefold.schema import CategoricalFeature, Encoding, FeatureSchema
from tablefold.trainer.adoption.torchrec import adopt_torchrec

NAMES = ("user", "item")


class Sum(nn.Module):
    """Adds everything up; it has no weights."""

    def forward(self, dense: Tensor, vectors: Tensor) -> Tensor:
        """vectors float32 [B, F, d] -> logit float32 [B]."""
        return vectors.sum((1, 2))


def main(folder: str, out: str) -> None:
    """Adopt, watched."""
    schema = FeatureSchema(
        name="shop",
        dense=(),
        categorical=tuple(CategoricalFeature(name=name, encoding=Encoding.INT) for name in NAMES),
    )
    ids = np.arange(200).reshape(100, 2)
    log = Log(dense=np.zeros((100, 0), np.float32), ids=ids, label=(ids[:, 0] % 4 == 0).astype(np.float32))
    torch.zeros(1).sum()
    with anonymous_growth() as growth:
        adopt_torchrec(folder, schema, Sum(), log, out)
    print(1024 * growth.kilobytes)


if __name__ == "__main__":
    main(*sys.argv[1:])
