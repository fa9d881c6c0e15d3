"""Makes the bundles that `bench.gpu.check` asks about, with the CPU's answers. Needs no GPU.

    python -m bench.gpu.bundles FOLDER [--ids 300000]

Small trained models, one for each way to store a table, find a row and compute the network, and `random-...`:
DLRM of Criteo's shape with many ids. Beside each graph `answers.npz`: rows of known, odd and random ids, and
the probabilities that ONNX Runtime's CPU gives for them.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from bench.random_bundle import random_checkpoint
from tablefold.bundle import read_manifest
from tablefold.exporter.export import export
from tablefold.exporter.options import DictionaryKind, ExportOptions, NetworkType, RowType
from tablefold.logs import read_splits
from tablefold.server.engines.device import Device
from tablefold.server.engines.onnx import OnnxEngine
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.training.run import train

DATA = "synthetic:60000"
KNOWN, RANDOM, SMALL = 2048, 1024, 1023
EXACT, COMPACT = DictionaryKind.EXACT, DictionaryKind.COMPACT
KINDS: list[tuple[str, int, RowType, DictionaryKind, NetworkType]] = [
    ("full", 16, RowType.FP32, EXACT, NetworkType.FP32),
    ("full", 16, RowType.INT8, COMPACT, NetworkType.FP32),
    ("lhf+mlet", 16, RowType.FP32, COMPACT, NetworkType.FP32),
    ("lhf+mlet", 16, RowType.FP16, COMPACT, NetworkType.FP16),
    ("lhf+mlet", 16, RowType.INT8, EXACT, NetworkType.FP32),
    ("lhf+mlet", 16, RowType.INT4, COMPACT, NetworkType.FP32),
    ("lhf+mlet", 6, RowType.INT4, EXACT, NetworkType.FP32),
    ("mlet", 10, RowType.FP16, EXACT, NetworkType.FP32),
    ("hash", 16, RowType.FP32, COMPACT, NetworkType.FP32),
]


def write_trained(repository: Path) -> None:
    """One bundle of each kind."""
    schema, splits = read_splits(DATA)
    with TemporaryDirectory() as folder:
        checkpoints = {}
        for method, dim, row_type, lookup, network in KINDS:
            if (method, dim) not in checkpoints:
                config = TrainConfig(method=method, dim=dim, epochs=1)
                place = Path(folder) / f"{method}{dim}"
                checkpoints[method, dim] = train(schema, splits, config, place, data=DATA)
            options = ExportOptions(
                row_type=row_type, lookup=lookup, network_type=network, max_logloss_increase=0.05
            )
            name = "-".join((method.replace("+", "-"), str(dim), row_type, lookup, f"net-{network}"))
            export(checkpoints[method, dim], repository, name, options=options)


def write_random(repository: Path, ids: int) -> None:
    """DLRM of Criteo's shape, int8 rows, with either network."""
    checkpoint, _ = random_checkpoint(ids)
    for network in (NetworkType.FP32, NetworkType.FP16):
        options = ExportOptions(
            row_type=RowType.INT8, lookup=COMPACT, network_type=network, max_logloss_increase=1
        )
        export(checkpoint, repository, f"random-net-{network}", options=options)


def answer(folder: Path) -> None:
    """Write the CPU's answers beside the graph."""
    manifest = read_manifest(folder)
    schema, rng = manifest.feature_schema, np.random.default_rng(0)
    golden = manifest.golden.arrays(schema)[1]
    limits = np.iinfo(np.int64)
    shape = (RANDOM, schema.id_columns)
    ids: NDArray[np.int64] = np.concatenate(
        [
            golden[rng.integers(0, len(golden), KNOWN)],
            rng.integers(limits.min, limits.max, shape, endpoint=True),
            rng.integers(0, 2**25, (SMALL, schema.id_columns)),
            np.full((1, schema.id_columns), limits.min),
        ]
    )
    dense = rng.exponential(5, (len(ids), len(schema.dense))).astype(np.float32)
    dense[rng.random(dense.shape) < 0.05] = np.nan
    probability = OnnxEngine(folder, manifest, Device("cpu")).run(dense, ids)
    np.savez(folder / "answers.npz", dense=dense, ids=ids, probability=probability)


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ids", type=int, default=300_000, help="known ids of the bundles `random`")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    write_trained(given.folder)
    write_random(given.folder, given.ids)
    for graph in sorted(given.folder.glob("*/*/model.onnx")):
        answer(graph.parent)
        print(graph.parent)


if __name__ == "__main__":
    main()
