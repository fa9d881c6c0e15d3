"""What is said between a load test and its client processes, and how it goes through a pipe.

Knows messages. Does not know who says them. (Not part of `worker`: that module is the workers' `__main__`,
where classes are not those that others import.)
"""

import asyncio
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tablefold.client.address import Address
from tablefold.client.credentials import Credentials
from tablefold.client.protocols.codec import Codec, Request
from tablefold.loadtest.generator.arrivals import constant, poisson
from tablefold.loadtest.generator.cpu import ClientCpu
from tablefold.loadtest.generator.histogram import Histogram
from tablefold.loadtest.generator.recorder import Recorder
from tablefold.loadtest.plan import Arrivals

LENGTH_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Said once: whom to call, and with what."""

    address: Address
    credentials: Credentials
    connections: int
    codec: Codec
    pool: list[Request]


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Said for each run: this worker's share of the load; moments by `time.perf_counter()`, which all
    processes of a machine share."""

    origin: float
    warmup: float
    duration: float
    deadline: float
    bounds: list[float]
    seed: int
    rate: float | None
    """Of all workers together; this one sends every `of`-th call, from the `index`-th on."""
    arrivals: Arrivals
    callers: int | None
    """Of this worker."""
    index: int
    of: int

    def moments(self) -> Iterator[np.ndarray]:
        """When this worker's calls are due in the open loop."""
        assert self.rate is not None
        rng, start = np.random.default_rng(self.seed), 0
        for begin, seconds in ((0.0, self.warmup), (self.warmup, self.duration)):
            if self.arrivals == "poisson":
                blocks = poisson(self.rate, seconds, rng)
            else:
                blocks = constant(self.rate, seconds)
            for block in blocks:
                yield self.origin + begin + block[(self.index - start) % self.of :: self.of]
                start += len(block)


@dataclass(frozen=True)
class News:
    """Said now and then while a shift lasts."""

    due: int
    failed: int
    latest: Histogram
    """Of the calls due in the latest slice of time."""


@dataclass(frozen=True)
class Report:
    """Said at the end of a shift."""

    recorder: Recorder
    cpu: ClientCpu


async def receive(reader: asyncio.StreamReader) -> Any:
    """The next message; None when there will be no more."""
    try:
        length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "little")
        return pickle.loads(await reader.readexactly(length))
    except asyncio.IncompleteReadError:
        return None


def packed(message: object) -> bytes:
    """The message as it goes through a pipe. Only ever read by processes of our own."""
    content = pickle.dumps(message, protocol=5)
    return len(content).to_bytes(LENGTH_BYTES, "little") + content
