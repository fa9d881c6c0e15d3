"""What a training step costs: beside a plain DLRM, MLET beside one layer, a large table beside a small one.

    python -m bench.models.training [--scale 0.1] [--threads 1] [--rounds 30]

DLRM of Criteo's shape (26 features, 13 dense values, MLPs 512-256-64 and 512-256), d = 16, tables of
Criteo-Kaggle's cardinalities times `--scale`; ids by a power law (exponent 1.3), rows in random order. The
plain one has an `nn.EmbeddingBag` a feature, sparse gradients, SparseAdam for them, the same Adam. A step is
everything: taking the batch, forward, backward, both optimizers. Contenders take turns, a few steps each; a
ratio is the median of the rounds' ratios.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from tablefold.logs import EncodedLog, Log
from tablefold.logs.formats import synthetic
from tablefold.trainer.checkpoint.checkpoint import build_model
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.embedding.table import PADDING_ROWS
from tablefold.trainer.networks.ctr_model import DenseTransform
from tablefold.trainer.networks.dlrm import DLRM
from tablefold.trainer.ranks.ranks import Ranks
from tablefold.trainer.training.loop import TrainingLoop
from tablefold.trainer.training.shuffle import Batch, ShuffledRows

LOG_ROWS = 200_000
DIM = 16
SMALL_IDS = 100_000
Step = Callable[[Tensor], float]


def cardinalities(ids: float) -> list[int]:
    """Criteo-Kaggle's, in proportion, `ids` of them in all."""
    share = ids / sum(synthetic.FIELD_SIZES)
    return [max(2, round(size * share)) for size in synthetic.FIELD_SIZES]


def draw(sizes: Sequence[int]) -> tuple[Log, np.ndarray]:
    """Dense values and labels; and rows int32 [LOG_ROWS, 26] of each feature's own table."""
    rng = np.random.default_rng(0)
    log = synthetic.generate(LOG_ROWS)
    columns = []
    for size in sizes:
        power = 1 - synthetic.EXPONENT
        rank = (1 + rng.random(LOG_ROWS) * ((size + 1) ** power - 1)) ** (1 / power)
        place = rng.permutation(size).astype(np.int32)
        columns.append(place[np.minimum(rank.astype(np.int64) - 1, size - 1)])
    return log, np.stack(columns, axis=1)


def ours(sizes: Sequence[int], log: Log, rows: np.ndarray, **settings: str | int) -> Step:
    """A step of the training loop."""
    nothing = np.zeros(0, np.int64)
    maps = [(RowMap(keys=nothing, rows=nothing, hashed_first=0, hashed_rows=size),) for size in sizes]
    config = TrainConfig.model_validate({"dim": DIM} | settings)
    model = build_model(synthetic.SCHEMA, config, maps)
    starts = np.cumsum([PADDING_ROWS, *sizes[:-1]]).astype(np.int32)
    one = log.take(slice(0, 1))
    encoded = EncodedLog.of(synthetic.SCHEMA, one)
    shuffled = ShuffledRows.of(encoded, model.collection, 1, Ranks())
    loop = TrainingLoop(model, shuffled, one, np.zeros(1), config, Ranks())
    numbers = np.arange(len(log))
    everything = Batch(*map(torch.from_numpy, (numbers, log.dense, rows + starts, log.labels)))
    return lambda batch: loop.step(everything.take(batch), len(batch))


class PlainDLRM(nn.Module):
    """As one writes it first: a bag a feature, in a Python loop."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.bags = nn.ModuleList(nn.EmbeddingBag(size, DIM, mode="sum", sparse=True) for size in sizes)
        self.transform = DenseTransform(synthetic.SCHEMA.dense)
        self.network = DLRM(len(synthetic.SCHEMA.dense), len(sizes), DIM)

    def forward(self, dense: Tensor, rows: Tensor) -> Tensor:
        """The logit of each row."""
        vectors = torch.stack([bag(rows[:, f : f + 1]) for f, bag in enumerate(self.bags)], dim=1)
        logit: Tensor = self.network(self.transform(dense), vectors)
        return logit


def plain(sizes: Sequence[int], log: Log, rows: np.ndarray) -> Step:
    """A step of the plain DLRM."""
    model = PlainDLRM(sizes)
    dense, label = torch.from_numpy(log.dense), torch.from_numpy(log.labels)
    local = torch.from_numpy(rows.astype(np.int64))
    sparse = torch.optim.SparseAdam(list(model.bags.parameters()), lr=1e-2)
    optimizers = [sparse, torch.optim.Adam(model.network.parameters(), lr=1e-3, fused=True)]

    def step(batch: Tensor) -> float:
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss = binary_cross_entropy_with_logits(model(dense[batch], local[batch]), label[batch])
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        return loss.item()

    return step


def race(steps: dict[str, Step], batch_size: int, rounds: int) -> dict[str, list[float]]:
    """Seconds a step of each contender in each round, turn about."""
    order = torch.Generator().manual_seed(0)
    turn = max(4, 4096 // batch_size)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        batches = [torch.randint(0, LOG_ROWS, (batch_size,), generator=order) for _ in range(turn)]
        for name, step in steps.items():
            started = time.perf_counter()
            for batch in batches:
                step(batch)
            if number:  # the first round is a warm-up
                seconds[name].append((time.perf_counter() - started) / turn)
    return seconds


def main() -> None:
    """Race, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--scale", type=float, default=0.1, help="of Criteo-Kaggle's cardinalities")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results = []

    def compare(steps: dict[str, Step], batch_size: int) -> None:
        seconds = race(steps, batch_size, given.rounds)
        first = next(iter(seconds.values()))
        for name, spent in seconds.items():
            ratio = median(mine / base for mine, base in zip(spent, first, strict=True))
            results.append((name, batch_size, batch_size / median(spent), 1e3 * median(spent), ratio))

    sizes = cardinalities(given.scale * sum(synthetic.FIELD_SIZES))
    log, rows = draw(sizes)
    for batch_size in (128, 2048):
        steps = {"ours": ours(sizes, log, rows), "a bag a feature": plain(sizes, log, rows)}
        compare(steps, batch_size)
    for batch_size in (128, 2048):
        steps = {"one layer": ours(sizes, log, rows)}
        for k in (32, 64):
            steps[f"MLET k = {k}"] = ours(sizes, log, rows, method="mlet", inner_dim=k)
        compare(steps, batch_size)
    for batch_size in (128, 2048):
        steps = {}
        for ids in (SMALL_IDS, sum(synthetic.FIELD_SIZES)):
            sizes = cardinalities(ids)
            steps[f"d = 4, {sum(sizes):,} ids"] = ours(sizes, *draw(sizes), dim=4)
        compare(steps, batch_size)

    table = Table("", title=f"{sum(cardinalities(given.scale * 33762577)):,} ids, {given.threads} threads")
    for column in ("rows a step", "rows/s", "ms a step", "time / the first"):
        table.add_column(column, justify="right")
    for name, batch_size, speed, milliseconds, ratio in results:
        table.add_row(name, f"{batch_size:,}", f"{speed:,.0f}", f"{milliseconds:.2f}", f"{ratio:.2f}")
    Console().print(table)
    names = ("contender", "rows_a_step", "rows_per_second", "milliseconds", "time_ratio")
    print(json.dumps([dict(zip(names, result, strict=True)) for result in results]))


if __name__ == "__main__":
    main()
