"""Adopts a sharded checkpoint of tables `user` and `item` and prints by how many bytes anonymous memory grew.

python -m tests.trainer.adoption.adopt_growth FOLDER OUT
"""

import sys
import threading
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tablefold.logs import Log
from tablefold.schema import CategoricalFeature, Encoding, FeatureSchema
from tablefold.trainer.adoption.torchrec import adopt_torchrec

NAMES = ("user", "item")


class Sum(nn.Module):
    """Adds everything up; it has no weights."""

    def forward(self, dense: Tensor, vectors: Tensor) -> Tensor:
        """vectors float32 [B, F, d] -> logit float32 [B]."""
        return vectors.sum((1, 2))


def anonymous() -> int:
    """Bytes of this process that no file has."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) << 10


def main(folder: str, out: str) -> None:
    """Adopt, while another thread watches."""
    schema = FeatureSchema(
        name="shop",
        dense=(),
        categorical=tuple(CategoricalFeature(name=name, encoding=Encoding.INT) for name in NAMES),
    )
    ids = np.arange(200).reshape(100, 2)
    log = Log(dense=np.zeros((100, 0), np.float32), ids=ids, label=(ids[:, 0] % 4 == 0).astype(np.float32))
    torch.zeros(1).sum()
    before, most, done = anonymous(), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.002):
            most = max(most, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    adopt_torchrec(folder, schema, Sum(), log, out)
    done.set()
    watcher.join()
    print(max(0, most - before))


if __name__ == "__main__":
    main(*sys.argv[1:])
