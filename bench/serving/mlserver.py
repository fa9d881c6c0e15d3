"""MLServer and our server, the same ONNX file, the same requests, in turns; one table.

    python -m bench.serving.mlserver [--bundle REPOSITORY/MODEL/VERSION] [--environment build/mlserver]

Makes a small bundle unless one is given, and an environment for MLServer (from PyPI) the first time.
Every reply is checked against the bundle's golden rows. Figures are medians of rounds; ratios have 95 %
intervals.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tablefold.bundle import read_manifest

ROWS, CALLERS, SECONDS = (1, 16, 270), 16, 4
RUNTIME = Path(__file__).parent / "mlserver_model/runtime.py"
PACKAGES = ("mlserver", "onnxruntime", "uvloop<0.22")
"""MLServer 1.7.1's worker processes die under uvloop 0.22, which gives no loop where none was set."""
READY_SECONDS = 120.0


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in sockets]


def make_bundle(folder: Path) -> Path:
    """A small model, trained and exported with our own commands."""
    for command in (
        f"train --data synthetic:20000 --method hash --epochs 1 --out {folder}/checkpoint",
        f"export {folder}/checkpoint --repository {folder}/repository --name ads",
    ):
        subprocess.run([sys.executable, "-m", "tablefold", *command.split()], check=True)
    return folder / "repository/ads/1"


def make_environment(folder: Path) -> Path:
    """The Python that has MLServer."""
    python = folder / "bin/python"
    if not (folder / "bin/mlserver").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True)
    return python


def is_ready(url: str) -> bool:
    """The server says so."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == HTTPStatus.OK)
    except OSError:
        return False


@contextmanager
def ours(bundle: Path) -> Iterator[str]:
    """Our server's address."""
    command = ["serve", "--repository", str(bundle.parents[1]), "--port", "0", "--http-port", "0"]
    with subprocess.Popen(
        [sys.executable, "-m", "tablefold", *command], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split(" on ")[1].split()[0]
        finally:
            process.terminate()


@contextmanager
def mlserver(bundle: Path, python: Path, folder: Path) -> Iterator[str]:
    """MLServer's gRPC address, with its default settings."""
    schema = read_manifest(bundle).feature_schema
    http, grpc, metrics = free_ports(3)
    shutil.copy(RUNTIME, folder)
    tensors: list[dict[str, Any]] = [
        {"name": "dense", "datatype": "FP32", "shape": [-1, len(schema.dense)]},
        {"name": "ids", "datatype": "INT64", "shape": [-1, schema.id_columns]},
    ]
    settings = {
        "host": "127.0.0.1",
        "http_port": http,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "debug": False,
    }
    model = {
        "name": bundle.parent.name,
        "implementation": "runtime.OnnxModel",
        "parameters": {"uri": str((bundle / "model.onnx").resolve())},
        "inputs": tensors,
        "outputs": [{"name": "probability", "datatype": "FP32", "shape": [-1]}],
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model))
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            [python.parent.resolve() / "mlserver", "start", "."], cwd=folder, stdout=log, stderr=log
        ) as process,
    ):
        try:
            end = time.monotonic() + READY_SECONDS
            while not is_ready(f"http://127.0.0.1:{http}/v2/models/{bundle.parent.name}/ready"):
                if process.poll() is not None or time.monotonic() > end:
                    sys.exit(f"MLServer did not start:\n{(folder / 'log').read_text()[-2000:]}")
                time.sleep(0.2)
            yield f"127.0.0.1:{grpc}"
        finally:
            process.terminate()


def compare(one: str, other: str, bundle: Path, rows: int, repeats: int, out: Path) -> dict[str, Any]:
    """The JSON of our own load tester."""
    model = bundle.parent.name
    command = [
        "loadtest", "--server", one, "--model", model, "--versus", f"{other}/{model}", "--rows", str(rows),
        "--concurrency", str(CALLERS), "--duration", str(SECONDS), "--warmup", "1", "--repeats", str(repeats),
        "--data", f"golden:{bundle}", "--processes", "1",
        "--json", str(out), "--html", str(out.with_suffix(".html")),
    ]  # fmt: skip
    subprocess.run([sys.executable, "-m", "tablefold", *command], check=True, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def main() -> None:
    """Start both, compare them at each size, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--environment", type=Path, default=Path("build/mlserver"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("build/mlserver-out"), help="reports go here")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    python = make_environment(options.environment)
    table = Table("rows a call", "", "ours", "MLServer", "MLServer / ours", "95 % interval", "failed calls")
    printed = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        bundle = options.bundle or make_bundle(folder)
        (folder / "mlserver").mkdir()
        with ours(bundle) as one, mlserver(bundle, python, folder / "mlserver") as other:
            for rows in ROWS:
                found = compare(one, other, bundle, rows, options.repeats, options.out / f"{rows}.json")
                failed = sum(run["calls"]["failed"] for runs in found["rounds"] for run in runs)
                for ratio in found["ratios"]:
                    mine, theirs = found["medians"][ratio["figure"]]
                    table.add_row(
                        str(rows),
                        ratio["figure"],
                        f"{mine:,.2f}",
                        f"{theirs:,.2f}",
                        f"{ratio['ratio']:.2f}",
                        f"{ratio['low']:.2f} to {ratio['high']:.2f}",
                        str(failed),
                    )
                printed.append(
                    {"rows": rows, "valid": found["valid"], "failed": failed}
                    | {key: found[key] for key in ("medians", "ratios")}
                )
    Console(width=130).print(table)
    print(json.dumps(printed))


if __name__ == "__main__":
    main()
