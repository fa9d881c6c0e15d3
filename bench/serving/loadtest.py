"""What one client process of the load tester can send, and whether it sends what it says.

    python -m bench.serving.loadtest

Against a server that does next to nothing on the same machine: calls a second in the closed loop, as such
and for each second of processor time that the client used (the fair figure where both share cores); then the
open loop at parts of that, offered beside achieved. Prints a table and one line of JSON.
"""

import argparse
import asyncio
import json
import subprocess
import sys
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from tablefold.loadtest.plan import Plan
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.target import run

SERVER = "bench.serving.small_server"
SHARES, REPEATS, SECONDS = (0.2, 0.4, 0.6, 0.8), 3, 10.0


def measure(plan: Plan) -> Result:
    """One run."""
    return asyncio.run(run(plan))


def main() -> None:
    """Find the most, then offer parts of it."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    with subprocess.Popen([sys.executable, "-m", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        plan = Plan(
            server=f"127.0.0.1:{server.stdout.readline().strip()}",
            model="small", rows="1", concurrency=64, duration=SECONDS, warmup=1.0, processes=1,
        )  # fmt: skip
        closed = [measure(plan) for _ in range(REPEATS)]
        most = sorted(result.achieved_rps for result in closed)[REPEATS // 2]
        steps = [
            measure(replace(plan, rate=share * most, concurrency=None))
            for _ in range(REPEATS)
            for share in SHARES
        ]
        server.kill()
    table = Table("load", "offered/s", "achieved/s", "achieved / offered", "client, cores", "calls / core s")
    for result in (*closed, *steps):
        table.add_row(
            result.load,
            f"{result.offered_rps:,.0f}",
            f"{result.achieved_rps:,.0f}",
            f"{result.achieved_rps / result.offered_rps:.4f}",
            f"{result.client.cpu_cores:.2f}",
            f"{result.achieved_rps / result.client.cpu_cores:,.0f}",
        )
    Console(width=130).print(table)
    print(
        json.dumps(
            {
                "calls_a_second": [result.achieved_rps for result in closed],
                "calls_a_core_second": [
                    round(result.achieved_rps / result.client.cpu_cores) for result in closed
                ],
                "achieved_of_offered": {
                    f"{share:g}": [
                        round(step.achieved_rps / step.offered_rps, 4)
                        for step in steps
                        if step.load == steps[index].load
                    ]
                    for index, share in enumerate(SHARES)
                },
            }
        )
    )


if __name__ == "__main__":
    main()
