"""Encoding a log of several files by every engine: rows a second, memory, and whether the bytes are the same.

    python -m bench.models.encode [--rows 20000000] [--parts 8] [--folder build/encode]

The log is the synthetic one, in Parquet files of equal size that are kept in the folder. Each run is
`tablefold encode` into a new cache, start of the engine included; memory is that of the largest process and
of all together, the driver and Ray's or Spark's own among them, looked at ten times a second (proportional).
"""

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import polars as pl
import psutil
from rich.console import Console
from rich.table import Table

from tablefold.logs.formats import synthetic

RUNS = {
    "local, 1 worker": ("--engine", "local", "--workers", "1"),
    "local, 2 workers": ("--engine", "local", "--workers", "2"),
    "Ray, 1 worker": ("--engine", "ray", "--workers", "1"),
    "Ray, 2 workers": ("--engine", "ray", "--workers", "2"),
    "Spark, local[2]": ("--engine", "spark", "--spark-master", "local[2]"),
}
SCHEMA = 'name = "bench"\nlabel = "label"\n[files]\nformat = "parquet"\npath = "parts-{}-{}"\n'


class Run(NamedTuple):
    """What one run took."""

    seconds: float
    largest: int
    """Bytes of the largest process, at its peak."""
    together: int
    """Bytes of all processes, at their peak."""
    checksums: dict[str, str]


def write_log(folder: Path, rows: int, parts: int) -> Path:
    """Write the log's files, if they are not there yet; return its schema."""
    target = folder / f"parts-{rows}-{parts}"
    if not target.exists():
        draft = folder / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for part in range(parts):
            log = synthetic.generate(rows // parts, seed=part)
            dense, ids = synthetic.SCHEMA.dense, synthetic.SCHEMA.categorical
            columns = {"label": log.labels}
            columns |= {feature.name: log.dense[:, column] for column, feature in enumerate(dense)}
            columns |= {feature.name: log.ids[:, column] for column, feature in enumerate(ids)}
            frame = pl.DataFrame(columns)
            # What the log has as missing is an empty value in a file.
            frame = frame.with_columns(
                pl.col(pl.Int64).replace(synthetic.MISSING, None), pl.col(pl.Float32).fill_nan(None)
            )
            frame.write_parquet(draft / f"{part}.parquet")
        draft.rename(target)
    schema = folder / "schema.toml"
    text = SCHEMA.format(rows, parts)
    text += "".join(f'[[dense]]\nname = "{feature.name}"\n' for feature in synthetic.SCHEMA.dense)
    text += "".join(
        f'[[categorical]]\nname = "{feature.name}"\nencoding = "int"\n'
        for feature in synthetic.SCHEMA.categorical
    )
    schema.write_text(text)
    return schema


def measure(schema: Path, cache: Path, options: Sequence[str]) -> Run:
    """Encode into a new cache. Raises SystemExit with what the command said where it fails."""
    shutil.rmtree(cache, ignore_errors=True)
    command = [sys.executable, "-m", "tablefold", "encode", "--data", str(schema), "--cache", str(cache)]
    started = time.monotonic()
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    peaks = [0, 0]
    watcher = threading.Thread(target=_watch, args=(process, peaks))
    watcher.start()
    said, _ = process.communicate()
    seconds = time.monotonic() - started
    watcher.join()
    if process.returncode:
        raise SystemExit(said)
    return Run(seconds, *peaks, json.loads((cache / "cache.json").read_text())["checksums"])


def _watch(process: subprocess.Popen[str], peaks: list[int]) -> None:
    parent = psutil.Process(process.pid)
    while process.poll() is None:
        sizes = []
        with suppress(psutil.Error):
            for child in [parent, *parent.children(recursive=True)]:
                with suppress(psutil.Error):
                    sizes.append(child.memory_full_info().pss)
        peaks[:] = max(peaks[0], *sizes, 0), max(peaks[1], sum(sizes))
        time.sleep(0.1)


def main() -> None:
    """Measure every engine and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--parts", type=int, default=8)
    parser.add_argument("--folder", type=Path, default=Path("build/encode"))
    parser.add_argument("--only", nargs="*", choices=list(RUNS), default=list(RUNS))
    given = parser.parse_args()
    schema = write_log(given.folder, given.rows, given.parts)
    table = Table("engine", "s", "rows/s", "beside the first", "MB, largest process", "MB, all", "bytes")
    first: Run | None = None
    for name in given.only:
        run = measure(schema, given.folder / "cache", RUNS[name])
        first = first or run
        table.add_row(
            name, f"{run.seconds:.1f}", f"{given.rows / run.seconds:,.0f}",
            f"{first.seconds / run.seconds:.2f}x", f"{run.largest / 1e6:,.0f}", f"{run.together / 1e6:,.0f}",
            "the same" if run.checksums == first.checksums else "OTHERS",
        )  # fmt: skip
    shutil.rmtree(given.folder / "cache")
    Console(markup=False).print(table)


if __name__ == "__main__":
    main()
