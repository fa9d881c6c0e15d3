"""Data at scale: encoding a log beside polars merely scanning it, reading shuffled rows beside training.

    python -m bench.models.data [--rows 5_000_000] [--folder build/bench-data]

Writes generated rows as Criteo writes them (every third categorical column, and the last, has missing
values), scans and encodes them in processes of their own, turn about, on all cores. Then epochs over the
cache: shuffled batches alone, and training steps of Criteo's usual DLRM and of a small one, on one thread.
The folder is removed at the end.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
import torch
from rich.console import Console
from rich.table import Table

from tablefold.logs import EncodedLog, read_splits
from tablefold.logs.formats import criteo, synthetic
from tablefold.schema import MISSING
from tablefold.trainer.checkpoint.checkpoint import build_model
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.vocabulary import count_vocabularies
from tablefold.trainer.methods.registry import make_row_maps
from tablefold.trainer.ranks.ranks import Ranks
from tablefold.trainer.training.loop import TrainingLoop
from tablefold.trainer.training.shuffle import ShuffledRows

DIGITS = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint8).reshape(256, 2)


def write(path: Path, rows: int) -> None:
    """Rows in Criteo's format, different ones in every block of the generator."""
    with path.open("wb") as file:
        for seed, start in enumerate(range(0, rows, synthetic.BLOCK)):
            log = synthetic.generate(min(synthetic.BLOCK, rows - start), seed=seed)
            log.ids[::23, -1] = MISSING
            columns = [pl.Series(log.labels.astype(np.int8))]
            columns += [pl.Series(values).fill_nan(None).cast(pl.Int64) for values in log.dense.T]
            columns += [hexadecimal(ids) for ids in log.ids.T]
            named = [column.alias(name) for column, name in zip(columns, criteo.COLUMNS, strict=True)]
            pl.DataFrame(named).write_csv(file, separator="\t", include_header=False)


def hexadecimal(ids: np.ndarray) -> pl.Series:
    """Eight digits; null for a missing id."""
    octets = np.where(ids == MISSING, 0, ids).astype(">u4").view(np.uint8).reshape(-1, 4)
    texts = DIGITS[octets].reshape(-1, 8).view("S8")[:, 0].astype("U8").tolist()
    return pl.Series(texts).set(pl.Series(ids == MISSING), None)


def scan(path: Path) -> None:
    """All that polars must do to hand out every value of every row; nothing is kept."""
    frame = pl.scan_csv(
        path, separator="\t", has_header=False, quote_char=None,
        schema=dict.fromkeys(criteo.COLUMNS, pl.String),
    )  # fmt: skip
    for _ in frame.collect_batches():
        pass


def encode(path: Path) -> None:
    """What `tablefold train --cache` does before it trains."""
    read_splits(f"criteo:{path}", cache=path.with_name("cache"))


def timed(name: str, path: Path) -> tuple[float, float]:
    """Seconds, and GB at peak, of one of these in a process of its own, without its start."""
    if name == "encode":
        shutil.rmtree(path.with_name("cache"), ignore_errors=True)
    command = [sys.executable, "-m", "bench.models.data", "--only", name, "--folder", str(path.parent)]
    seconds, peak = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return seconds, peak


def only(name: str, path: Path) -> None:
    """Do it here and print seconds and GB."""
    started = time.perf_counter()
    {"scan": scan, "encode": encode}[name](path)
    seconds = time.perf_counter() - started
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6]))


def rows_a_second(
    path: Path, batch_size: int, settings: dict[str, object], steps: int
) -> tuple[float, float]:
    """Of reading shuffled batches, an epoch of them, and of training."""
    schema, splits = read_splits(f"criteo:{path}", cache=path.with_name("cache"))
    log = splits.train
    assert isinstance(log, EncodedLog)  # as every log is that comes from a cache
    config = TrainConfig.model_validate(
        {"batch_size": batch_size, "full_below": 0, "method": "hash"} | settings
    )
    vocabularies = count_vocabularies(schema, log)
    maps = [make_row_maps(config, vocabulary) for vocabulary in vocabularies]
    model = build_model(schema, config, maps)
    order = torch.Generator().manual_seed(0)
    rows = ShuffledRows.of(log, model.collection, batch_size, Ranks())
    started = time.perf_counter()
    read = sum(len(batch.label) for batch in islice(rows.epoch(order), 2_000_000 // batch_size))
    reading = read / (time.perf_counter() - started)
    loop = TrainingLoop(model, rows, splits.validation, np.zeros(1), config, Ranks())
    batches = list(islice(rows.epoch(order), steps + 1))
    loop.step(batches[0], batch_size)
    started = time.perf_counter()
    for batch in batches[1:]:
        loop.step(batch, batch_size)
    return reading, steps * batch_size / (time.perf_counter() - started)


def main() -> None:
    """Print two tables and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("build/bench-data"))
    parser.add_argument("--only", choices=["write", "scan", "encode", "read"])
    given = parser.parse_args()
    path = given.folder / "log.tsv"
    if given.only in ("scan", "encode"):
        only(given.only, path)
        return
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write(path, given.rows)
    if given.only == "write":
        return
    results: dict[str, object] = {"rows": given.rows, "text_gb": path.stat().st_size / 1e9}
    encoding = Table("", title=f"{given.rows:,} rows, {path.stat().st_size / 1e9:.2f} GB of text")
    for column in ("s", "rows/s", "speed / scan", "GB at peak"):
        encoding.add_column(column, justify="right")
    if given.only != "read":
        rounds = [{name: timed(name, path) for name in ("scan", "encode")} for _ in range(given.rounds)]
        for name in ("scan", "encode"):
            seconds = median(timings[name][0] for timings in rounds)
            ratio = median(timings["scan"][0] / timings[name][0] for timings in rounds)
            peak = max(timings[name][1] for timings in rounds)
            results[name] = {"seconds": seconds, "speed": ratio, "gb": peak}
            encoding.add_row(
                name, f"{seconds:.1f}", f"{given.rows / seconds:,.0f}", f"{ratio:.2f}", f"{peak:.2f}"
            )
    reading = Table("")
    for column in ("rows a batch", "reading, rows/s", "training, rows/s", "reading / training"):
        reading.add_column(column, justify="right")
    small: dict[str, object] = {"dim": 4, "bottom": (16,), "top": (16,)}
    for name, settings in (("DLRM, d = 16", {}), ("small DLRM, d = 4, layers of 16", small)):
        for batch_size in (2048, 128):
            read, trained = rows_a_second(path, batch_size, settings, max(20, 40_960 // batch_size))
            results[f"{name}, {batch_size}"] = {"reading": read, "training": trained}
            reading.add_row(
                name, f"{batch_size:,}", f"{read:,.0f}", f"{trained:,.0f}", f"{read / trained:.0f}x"
            )
    console = Console(width=120)
    console.print(encoding)
    console.print(reading)
    print(json.dumps(results))
    if given.only is None:
        shutil.rmtree(given.folder)


if __name__ == "__main__":
    main()
