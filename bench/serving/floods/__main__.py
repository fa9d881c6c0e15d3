"""Floods: what each gets, what a gentle client beside it waits, and the server's memory.

    python -m bench.serving.floods [--front grpcio] [--budget 256] [--only half_sent] [--serve-flag=...]
    python -m bench.serving.floods --address 127.0.0.1:8001 --http 127.0.0.1:8002 --model ads

Each flood has a fresh server, unless --address names one that runs. Passed is a flood during which the client
lost no call and waited at most 100 ms longer than before at the longest, memory stayed within the budget and
200 MB above what it was, every process lived on, memory came back to within 20 % in 30 s, and nobody saw
CANCELLED, INTERNAL or UNKNOWN.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from bench.random_bundle import write_bundle
from bench.serving.floods.attack import FLOODS, attack
from bench.serving.floods.measured import COLUMNS, Measured
from bench.serving.floods.observed import observed
from bench.serving.floods.target import Target, look
from bench.serving.served import serving

TOKEN = "s3cret"
WITH_TOKEN = {"without_the_token", "watches_of_health"}
FEW_DESCRIPTORS = {"idle_connections"}
CALM_SECONDS = 4.0


async def measure(name: str, target: Target, token: str | None) -> Measured:
    """Calm, the flood, calm, and the memory's way back."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as attacker:
        async with observed(target, token) as seen:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(attacker, os.getpid)  # imports are not part of the flood
            await seen.begun()
            await asyncio.sleep(CALM_SECONDS)
            began = time.monotonic()
            idle = max(seen.memory(began - 1, began))
            ended = await loop.run_in_executor(attacker, attack, name, target)
            over = time.monotonic()
            await asyncio.sleep(CALM_SECONDS)
            back = await seen.back(idle, over)
            end = time.monotonic()
            return Measured(
                name,
                ended,
                seen.waits(began - CALM_SECONDS, began),
                seen.waits(began, over),
                seen.waits(over, over + CALM_SECONDS - 2),
                max(seen.memory(began, end)) - idle,
                back,
                seen.killed(),
            )


@asynccontextmanager
async def fresh(name: str, root: Path, flags: list[str]) -> AsyncIterator[tuple[Target, str | None]]:
    """A server for one flood, and the token that it wants."""
    token = TOKEN if name in WITH_TOKEN else None
    (root / "token").write_text(TOKEN)
    options = [*flags, *(("--token-file", str(root / "token")) if token else ())]
    descriptors = 1024 if name in FEW_DESCRIPTORS else None
    async with serving(root / "models", *options, descriptors=descriptors) as server:
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        http = server.http.removeprefix("http://")
        yield await asyncio.to_thread(look, server.address, http, "ads", metadata), token


async def main() -> None:
    """A row a flood, and a line of JSON; a failure where one is not passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--front", help="passed to the server")
    parser.add_argument(
        "--budget", type=int, metavar="MB", help="passed to the server; judged by 512 without"
    )
    parser.add_argument("--serve-flag", action="append", default=[], help="passed to the server as it is")
    parser.add_argument("--only", action="append", choices=FLOODS, help="may be given several times")
    parser.add_argument("--address", help="attack this server; its own, on this machine")
    parser.add_argument("--http", default="127.0.0.1:8002", help="the metrics port of --address")
    parser.add_argument("--model", default="ads", help="of --address")
    given = parser.parse_args()
    flags = [*given.serve_flag, *(("--front", given.front) if given.front else ())]
    flags += ("--max-inflight-bytes", str(given.budget * 1_000_000)) if given.budget else ()
    budget = (given.budget or 512) * 1_000_000
    rows = []
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    with TemporaryDirectory() as folder:
        root = Path(folder)
        if not given.address:
            write_bundle(root / "models", "ads", 1, 100_000)
        for name in given.only or FLOODS:
            if given.address:
                target = await asyncio.to_thread(look, given.address, given.http, given.model)
                measured = await measure(name, target, None)
            else:
                async with fresh(name, root, flags) as (target, token):
                    measured = await measure(name, target, token)
            rows.append(measured.row(budget))
            print(f"| {' | '.join(rows[-1].values())} |", flush=True)
    print(json.dumps(rows))
    if failed := [row["flood"] for row in rows if row["passed"] != "yes"]:
        raise SystemExit(f"not passed: {', '.join(failed)}")


if __name__ == "__main__":
    uvloop.run(main())
