"""The client beside a flood: gentle, on time, and it notes what each call took. Runs until it is ended.

    python -m bench.serving.floods.client --address 127.0.0.1:8001 --model ads

A line a call: when it was due (seconds of the machine's clock), what it took from then on, its status.
"""

import argparse
import asyncio
import time

import grpc.aio
import uvloop

from bench.serving.floods.target import INFER, Metadata, look

CALLS_PER_SECOND, DEADLINE_SECONDS = 50, 2.0


async def main() -> None:
    """Calls of one row at a constant rate, whatever becomes of those before."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--address", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--token")
    given = parser.parse_args()
    metadata: Metadata = (("authorization", f"Bearer {given.token}"),) if given.token else ()
    content = look(given.address, "", given.model, metadata).request(1)
    calls = set[asyncio.Task[None]]()
    async with grpc.aio.insecure_channel(given.address) as channel:
        infer = channel.unary_unary(INFER)

        async def call(due: float) -> None:
            status = "OK"
            try:
                await infer(content, timeout=DEADLINE_SECONDS, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                status = error.code().name
            print(f"{due:.6f} {time.monotonic() - due:.6f} {status}", flush=True)

        due = time.monotonic()
        while True:
            due += 1 / CALLS_PER_SECOND
            await asyncio.sleep(due - time.monotonic())
            calls.add(task := asyncio.create_task(call(due)))
            task.add_done_callback(calls.discard)


if __name__ == "__main__":
    uvloop.run(main())
