"""Calls and rows a second of `tablefold serve --device cuda`, and device memory under load.

    python -m bench.gpu.served FOLDER [--json FILE] [--perf-analyzer PATH] [--front native] [--workers 1]

FOLDER is one of `bench.gpu.bundles`. The client is Triton's perf_analyzer where it is given (what it needs in
LD_LIBRARY_PATH), otherwise `tablefold loadtest`; it runs on the same host.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from bench.gpu.check import Report
from bench.serving.load import load, started

MODEL = "random-net-fp16"
SHAPES = ((270, 16), (270, 32), (270, 64), (1, 1), (1, 32), (1, 128))
"""Rows a call, calls in flight."""
CALLS_A_CONNECTION = 4


def main() -> None:
    """Start a server, load it, one result a shape."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--perf-analyzer", metavar="PATH", help="Triton's; else `tablefold loadtest`")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--front", default="native")
    parser.add_argument("--workers", default="1")
    parser.add_argument("--engine-threads", help="the server's default where it is not given")
    given = parser.parse_args()
    os.environ["TRITON_CLIENT_GRPC_CHANNEL_MAX_SHARE_COUNT"] = str(CALLS_A_CONNECTION)
    report = Report(given.json)
    with tempfile.TemporaryDirectory() as root:
        shutil.copytree(given.folder / given.model, Path(root) / given.model)
        command = [sys.executable, "-m", "tablefold", "serve", "--repository", root, "--http-port", "0"]
        command += ["--port", "18720", "--device", given.device, "--front", given.front]
        command += ["--workers", given.workers]
        command += ["--engine-threads", given.engine_threads] if given.engine_threads else []
        with started(command, "127.0.0.1:18720") as server:
            for rows, in_flight in SHAPES:
                found = load(server, given.perf_analyzer, rows, in_flight, given.model)
                report.tell(
                    f"{rows} rows, {in_flight} in flight",
                    {**found._asdict(), "rows_per_second": round(found.calls * rows)},
                )


if __name__ == "__main__":
    main()
