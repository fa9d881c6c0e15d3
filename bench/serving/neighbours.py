"""Two models of one server: what is left of the calls of one while the other is flooded.

    python -m bench.serving.neighbours [--front auto] [--seconds 10] [--rounds 3]

First the most calls a second that the quiet model gets alone, closed loop. Then it is asked for a third of
that, its share, as Poisson arrivals: alone, and while 32 callers send calls of 270 rows to the other model as
fast as they are answered. All run on this machine's cores. Prints a line a round and one of JSON; fails where
fewer than 90 % of the calls it had alone are answered.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import uvloop

from bench.random_bundle import write_bundle
from bench.serving.served import serving

SHARE, ENOUGH = 1 / 3, 0.9
ROWS, FLOOD_ROWS, FLOOD_CALLERS = 16, 270, 32


async def load(
    server: str, model: str, rows: int, seconds: float, *how: str, nice: int = 0
) -> dict[str, Any]:
    """What the load tester measured, in a process of its own."""
    with TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        process = await asyncio.create_subprocess_exec(
            *("nice", "-n", str(nice), sys.executable, "-m", "tablefold", "loadtest", "--server", server),
            *("--model", model, "--rows", str(rows), "--duration", str(seconds), "--processes", "1"),
            *("--json", str(figures), *how),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await process.wait()
        found: dict[str, Any] = json.loads(figures.read_text())
    return found


async def main() -> None:
    """Alone and beside the flood, several times."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--front", default="auto", help="passed to the server")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    found: list[dict[str, float]] = []
    with TemporaryDirectory() as root:
        for model in ("quiet", "flooded"):
            write_bundle(Path(root), model, 1, 100_000)
        async with serving(Path(root), "--front", given.front) as server:
            peak = await load(server.address, "quiet", ROWS, given.seconds, "--concurrency", "8")
            rate = SHARE * peak["achieved_rps"]
            for _ in range(given.rounds):
                share = ("--rate", f"{rate:.1f}")
                alone = await load(server.address, "quiet", ROWS, given.seconds, *share)
                longer = given.seconds + 8  # it begins first, and ends last
                flood = asyncio.create_task(
                    load(
                        server.address, "flooded", FLOOD_ROWS, longer,
                        *("--concurrency", str(FLOOD_CALLERS)), nice=5,
                    )
                )  # fmt: skip
                await asyncio.sleep(3)
                beside = await load(server.address, "quiet", ROWS, given.seconds, *share)
                found.append(
                    {
                        "of_alone": round(beside["achieved_rps"] / alone["achieved_rps"], 3),
                        "alone_p99_ms": round(alone["latency_ms"]["p99"], 1),
                        "beside_p99_ms": round(beside["latency_ms"]["p99"], 1),
                        "flood_rows_a_second": round((await flood)["achieved_rps"] * FLOOD_ROWS),
                    }
                )
                print(found[-1], flush=True)
    of_alone = median(figures["of_alone"] for figures in found)
    print(json.dumps({"peak_calls_a_second": peak["achieved_rps"], "of_alone": of_alone, "rounds": found}))
    if of_alone < ENOUGH:
        raise SystemExit(f"{of_alone:.0%} of the calls it had alone")


if __name__ == "__main__":
    uvloop.run(main())
