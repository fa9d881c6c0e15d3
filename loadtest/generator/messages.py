"""The messages between a load test and its client processes, and how they go through a pipe.

Not part of `client_process`: that module runs as `__main__`, where its classes would be others than those
imported here.
"""

import asyncio
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tablefold.client.protocols.codec import Codec, Request
from tablefold.client.transport.address import Address
from tablefold.client.transport.credentials import Credentials
from tablefold.loadtest.generator.arrivals import constant, poisson
from tablefold.loadtest.generator.cpu import ClientCpu
from tablefold.loadtest.generator.histogram import Histogram
from tablefold.loadtest.generator.recorder import Recorder
from tablefold.loadtest.plan import Arrivals

LENGTH_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The first message: which model to call, and with which requests."""

    address: Address
    credentials: Credentials
    connections: int
    codec: Codec
    pool: list[Request]


@dataclass(frozen=True, kw_only=True)
class LoadShare:
    """One process's share of a run. Times are those of `time.perf_counter()`, which all processes share."""

    origin: float
    """When the warm-up starts."""
    warmup: float
    duration: float
    deadline: float
    """Of a call, in seconds."""
    bounds: list[float]
    """Latencies in seconds: count the calls that were answered within each."""
    seed: int
    rate: float | None
    """Calls a second of all processes together; None: closed loop."""
    arrivals: Arrivals
    callers: int | None
    """Of this process: callers of the closed loop, or most calls in flight of the open loop."""
    index: int
    """Of the open loop's calls, this process sends number `index`, `index + processes`, ..."""
    processes: int

    def send_times(self) -> Iterator[np.ndarray]:
        """Yield when this process's calls of the open loop are due: float64, sorted, block by block."""
        assert self.rate is not None
        rng, scheduled = np.random.default_rng(self.seed), 0
        for start, seconds in ((0.0, self.warmup), (self.warmup, self.duration)):
            if self.arrivals == "poisson":
                blocks = poisson(self.rate, seconds, rng)
            else:
                blocks = constant(self.rate, seconds)
            for block in blocks:
                yield self.origin + start + block[(self.index - scheduled) % self.processes :: self.processes]
                scheduled += len(block)


@dataclass(frozen=True)
class ProgressReport:
    """Sent now and then during a run."""

    due: int
    failed: int
    latest: Histogram
    """Latency of the calls that were due in the latest slice of time."""


@dataclass(frozen=True)
class FinalReport:
    """Sent at the end of a run."""

    recorder: Recorder
    cpu: ClientCpu
    lost: tuple[str, ...] = ()
    """Why processes ended in the middle of the run; their calls are missing."""


async def next_message(reader: asyncio.StreamReader) -> Any:
    """Return the next message; None when the pipe was closed."""
    try:
        length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "little")
        return pickle.loads(await reader.readexactly(length))
    except asyncio.IncompleteReadError:
        return None


def encode_message(message: object) -> bytes:
    """Return the message with its length in front. Both ends of the pipe are our own processes."""
    content = pickle.dumps(message, protocol=5)
    return len(content).to_bytes(LENGTH_BYTES, "little") + content
