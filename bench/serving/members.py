"""For the benches: servers of one repository that are killed, hung and started again."""

import asyncio
import random
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

HUNG_SECONDS = 8.0
"""A server stands still for so long: longer than calls wait."""


class Member:
    """One server; its port stays its own when it is started again."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._process: Process | None = None
        self.port = 0
        self.sound = False
        """It answers, for all we know."""

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """From nothing to ready. Raises RuntimeError where it does not start."""
        command = (sys.executable, "-m", "tablefold", "serve", "--repository", str(self._repository))
        ports = ("--port", str(self.port), "--http-port", "0")
        self._process = process = await asyncio.create_subprocess_exec(
            *command, *ports, stdout=PIPE, stderr=DEVNULL
        )
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        if "ready on" not in line:
            raise RuntimeError(f"the server did not start: {line}")
        self.port = int(line.split(" on ")[1].split()[0].rpartition(":")[2])
        self.sound = True

    async def kill(self) -> None:
        """At once, as a machine that fails."""
        self.sound = False
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def kill_and_start(self) -> None:
        """A machine that fails, and its successor."""
        await self.kill()
        await self.start()

    async def hang(self, seconds: float = HUNG_SECONDS) -> None:
        """Stand still, connections open, and go on afterwards."""
        assert self._process is not None
        self.sound = False
        self._process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._process.send_signal(signal.SIGCONT)
        self.sound = True


@asynccontextmanager
async def running(repository: Path, count: int) -> AsyncIterator[list[Member]]:
    """So many servers, all ready; killed at the end."""
    members = [Member(repository) for _ in range(count)]
    try:
        await asyncio.gather(*(member.start() for member in members))
        yield members
    finally:
        await asyncio.gather(*(member.kill() for member in members))


async def make_trouble(members: list[Member], every: float, done: Counter[str]) -> None:
    """Until cancelled: at every turn kill one sound server and hang another; leave one sound."""
    rng = random.Random(0)
    tasks: set[asyncio.Task[None]] = set()
    try:
        while True:
            sound = [member for member in members if member.sound]
            rng.shuffle(sound)
            if len(sound) > 1:
                tasks.add(asyncio.create_task(sound.pop().kill_and_start()))
                done["killed"] += 1
            if len(sound) > 1:
                tasks.add(asyncio.create_task(sound.pop().hang()))
                done["hung"] += 1
            await asyncio.sleep(every)
            for task in [task for task in tasks if task.done()]:
                task.result()  # a server that did not start again ends the run
                tasks.remove(task)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
