"""Criteo-Kaggle's size, exported: seconds, memory and bytes of the full table and of its compressed forms.

    python -m bench.models.full_size [--ids 33762577] [--work FOLDER]

33.76M distinct ids in 26 features, d = 16, weights and row maps drawn at random (bytes and seconds do not
depend on what they say). Every export and every first call runs in a process of its own. Resident memory is
the kernel's figure and counts every mapping of a file, checkpoint and bundle; anonymous memory is what cannot
be given back.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from bench.process_memory import kilobytes
from bench.random_bundle import DIM, random_checkpoint
from tablefold.bundle import read_manifest
from tablefold.logs.formats.synthetic import FIELD_SIZES
from tablefold.trainer.checkpoint.files import save

ROWS_A_FEATURE = 1024
OFTEN = 6.78 / 33.76
"""The share of Criteo-Kaggle's ids that occur twice or more."""
FIRST_CALL = """
import sys, time, numpy as np, onnxruntime
from tablefold.bundle import read_manifest
from pathlib import Path
folder = Path(sys.argv[1])
manifest = read_manifest(folder)
dense, ids, _ = manifest.golden.arrays(manifest.feature_schema)
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
def kilobytes(name):
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name)))
before = kilobytes("Anonymous:")
started = time.perf_counter()
session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
session.run(None, {"dense": dense, "ids": ids})
print(time.perf_counter() - started, (kilobytes("Anonymous:") - before) / 1e3)
"""


@dataclass(frozen=True)
class Contender:
    """A checkpoint and how it is exported."""

    title: str
    method: str
    dictionary_share: float
    options: tuple[str, ...]


CONTENDERS = (
    Contender("full fp32, exact", "full", 1, ()),
    Contender("lhf+mlet int4, compact, all ids known", "lhf+mlet", 1, ("int4", "compact")),
    Contender("lhf+mlet int4, compact, ids seen twice known", "lhf+mlet", OFTEN, ("int4", "compact")),
)


def measured(command: list[str]) -> tuple[str, dict[str, float]]:
    """What a process prints; its seconds, its peak resident and its peak anonymous megabytes (sampled)."""
    started, resident, anonymous = time.perf_counter(), 0, 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            anonymous = max(anonymous, kilobytes(process.pid, "RssAnon"))
            resident = max(resident, kilobytes(process.pid, "VmHWM"))
            time.sleep(0.02)
        assert process.stdout is not None
        printed = process.stdout.read()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed")
    return printed, {
        "s": time.perf_counter() - started,
        "resident": resident / 1e3,
        "anonymous": anonymous / 1e3,
    }


def measure(contender: Contender, ids: int, work: Path, console: Console) -> dict[str, float]:
    """Make it, export it, call it once."""
    checkpoint, repository = work / "checkpoint", work / "repository"
    console.print(f"{contender.title}: making the checkpoint")
    maker = [
        sys.executable,
        "-m",
        "bench.models.full_size",
        "--ids",
        str(ids),
        "--work",
        str(work),
        "--make",
        contender.title,
    ]
    subprocess.run(maker, check=True)
    console.print(f"{contender.title}: exporting")
    command = [sys.executable, "-m", "tablefold", "export", str(checkpoint), "--repository", str(repository)]
    command += ["--name", "m", "--max-logloss-increase", "1"]
    for option, value in zip(("--row-type", "--lookup"), contender.options, strict=False):
        command += [option, value]
    _, used = measured(command)
    folder = max(repository.glob("m/[0-9]*"), key=lambda path: int(path.name))
    manifest = read_manifest(folder)
    calls = [measured([sys.executable, "-c", FIRST_CALL, str(folder)])[0].split() for _ in range(3)]
    parts, bundle = manifest.footprint.parts, sum(file.bytes for file in manifest.files.values()) / 1e6
    return {
        **{f"{part}, MB": size / 1e6 for part, size in parts.model_dump().items()},
        "total, MB": parts.total / 1e6,
        "full fp32 table / total": manifest.footprint.compression,
        "dictionary and map, bytes an id": (parts.vocabulary + parts.row_maps) / manifest.method.known_ids,
        "export, s": used["s"],
        "export's peak memory, MB": used["resident"],
        "of which anonymous (most), MB": used["anonymous"],
        "resident less bundle, MB": used["resident"] - bundle,
        "anonymous less bundle, MB": used["anonymous"] - bundle,
        "load and first call, s": min(float(seconds) for seconds, _ in calls),
        "anonymous memory of it, MB": min(float(anonymous) for _, anonymous in calls),
    }


def main() -> None:
    """Measure all, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ids", type=int, default=sum(FIELD_SIZES), help="distinct ids of all features")
    parser.add_argument("--work", type=Path, help="a folder with 6 GB to spare; by default a temporary one")
    parser.add_argument("--make", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.make:  # in a process of its own, so that its memory is nobody else's
        (wanted,) = (contender for contender in CONTENDERS if contender.title == given.make)
        most = None if wanted.method == "full" else ROWS_A_FEATURE
        made, _ = random_checkpoint(
            given.ids, method=wanted.method, known=wanted.dictionary_share, rows_a_feature=most
        )
        save(made, given.work / "checkpoint")
        return
    console = Console(stderr=True)
    with TemporaryDirectory(dir=given.work) as work:
        results = {
            contender.title: measure(contender, given.ids, Path(work), console) for contender in CONTENDERS
        }
    shown = Table(title=f"{given.ids:,} distinct ids, d = {DIM}, DLRM of Criteo's shape")
    shown.add_column("")
    for title in results:
        shown.add_column(title, justify="right")
    for name in results[CONTENDERS[0].title]:
        shown.add_row(name, *(f"{result[name]:,.2f}" for result in results.values()))
    Console(width=150).print(shown)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
