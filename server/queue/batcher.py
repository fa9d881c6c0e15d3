"""The batcher: the one owner of a model's queue.

    offer ──► waiting calls ──► batch ──► engine thread ──► every call its own rows
              (bounded in rows)  (formed when a thread is free)

All batchers share the lock of the engine threads. Nothing slow happens under it.
"""

import logging
import time

import numpy as np

from tablefold.errors import DeadlineExceeded, DeadlineUnreachable, EngineError, RequestError, Unavailable
from tablefold.server.engines import Engine, JoiningEngine
from tablefold.server.queue.admission import check_deadline, check_space
from tablefold.server.queue.batch import Batch, Part, RunJoined
from tablefold.server.queue.batch_sizing import BatchSizing, Clock, Throughput
from tablefold.server.queue.call import Call, Claim
from tablefold.server.queue.engine_threads import EngineThreads
from tablefold.server.queue.priority_queue import PriorityQueue
from tablefold.server.telemetry.metrics import ModelMetrics

log = logging.getLogger(__name__)

ENGINE_HANGS = "the engine hangs and the server is leaving; try another one"


def run_joined_of(engine: Engine) -> RunJoined:
    """Return what runs the rows of several calls in `engine`."""
    if isinstance(engine, JoiningEngine):
        return lambda dense, ids: engine.run_joined(dense, ids, tell_rows=False)[0]
    return lambda dense, ids: (
        engine.run(dense[0], ids[0])  # without a copy
        if len(ids) == 1
        else engine.run(np.concatenate(dense), np.concatenate(ids))
    )


class Batcher:
    """Joins concurrent calls for one model into batches. Every call is settled exactly once."""

    def __init__(
        self,
        engine: Engine,
        engine_threads: EngineThreads,
        metrics: ModelMetrics,
        sizing: BatchSizing,
        *,
        name: str = "model",
        max_queue_rows: int = 65_536,
        clock: Clock = time.monotonic,
    ) -> None:
        self.engine, self.metrics, self.sizing, self.name, self.clock = engine, metrics, sizing, name, clock
        self.max_queue_rows = max_queue_rows
        self.engine_seconds = 0.0
        """What it has taken of the engine threads; the least served goes first (see `EngineThreads`)."""
        self._run = run_joined_of(engine)
        self._engine_threads = engine_threads
        self._throughput = Throughput(sizing)
        self._waiting = PriorityQueue()
        self._running_rows = 0
        self._in_flight = 0
        self._closed = False
        metrics.watch_queue(lambda: self._waiting.rows)

    @property
    def queue_rows(self) -> int:
        """Rows that wait now; at most `max_queue_rows`."""
        return self._waiting.rows

    @property
    def in_flight(self) -> int:
        """Calls that are not finished."""
        return self._in_flight

    @property
    def closed(self) -> bool:
        """Whether new calls are refused."""
        return self._closed

    def offer(self, call: Call) -> None:
        """Let a call wait; its caller gets the answer.

        Raises Overloaded, DeadlineUnreachable, DeadlineExceeded or Unavailable (closed), at once.
        """
        with self._engine_threads.lock:
            if self._closed:
                raise Unavailable("the server is shutting down; another one, or a later try, will answer")
            if self._engine_threads.lost:
                raise Unavailable(ENGINE_HANGS)
            self._admit(call)
            call.started = call.accepted
            self._waiting.add(call)
            self._in_flight += 1
            self._engine_threads.wants_thread(self)

    def check(self, claim: Claim) -> None:
        """Raise what `offer` would raise of a call that makes this claim, where others wait before it.

        So a flood's calls are refused before their rows are read.
        """
        if self._waiting.rows:
            with self._engine_threads.lock:
                self._admit(claim)

    def cancel(self, call: Call) -> bool:
        """Take a call back whose caller has left. False where it is finished: `settle` has come or comes."""
        with self._engine_threads.lock:
            if call.finished:
                return False
            call.finished = True
            self._waiting.remove(call)
            self._in_flight -= 1
            return True

    def close(self) -> None:
        """Refuse new calls; those that wait are still answered."""
        self._closed = True

    def next_batch(self, expired: list[Call]) -> Batch | None:
        """Form the next batch; None where nothing waits. Calls that are too late go to `expired`.

        It takes the most urgent calls. A call stays whole where the batch then has between half and one and
        a half times the best size; otherwise it is cut. Called with the lock held.
        """
        now = self.clock()
        room, extra = self.sizing.rows, self.sizing.max_rows - self.sizing.rows
        parts: list[Part] = []
        while room > 0 and (call := self._waiting.first()) is not None:
            rest = call.rows - call.taken
            if (late := self._lateness(call, rest, now)) is not None:
                self._fail(call, late, expired)
                continue
            whole = rest <= room + extra
            if not whole and room <= self.sizing.rows // 2:
                break
            rows = rest if whole else room
            parts.append(Part(call, call.taken, call.taken + rows))
            self._waiting.take(call, rows)
            room -= rows
        if not parts:
            return None
        batch = Batch(parts, self._run, self.clock, self._end, full_rows=self.sizing.rows)
        self._running_rows += batch.rows
        self.engine_seconds += batch.rows / self._throughput.rows_per_second
        return batch

    def _lateness(self, call: Call, rest: int, now: float) -> RequestError | None:
        """Return why a call whose turn has come is not run: its deadline comes before its answer would."""
        if call.deadline is None:
            return None
        if call.deadline <= now:
            return DeadlineExceeded("the deadline passed while the request waited in the queue")
        # Where others wait, work that comes too late would make them late as well, one after the other.
        seconds = rest * self._engine_threads.count / self._throughput.rows_per_second
        if seconds > call.deadline - now and self._waiting.rows > rest:
            return DeadlineUnreachable(
                f"the turn of {rest} rows came {1000 * (call.deadline - now):.0f} ms before the deadline, "
                f"and they take {1000 * seconds:.0f}: send less, later or with a later deadline"
            )
        return None

    def abandon(self) -> list[Call]:
        """Refuse new calls and finish all that wait: no thread will ever be free. With the lock held."""
        self._closed = True
        finished: list[Call] = []
        while (call := self._waiting.first()) is not None:
            self._fail(call, Unavailable(ENGINE_HANGS), finished)
        return finished

    def _admit(self, claim: Claim) -> None:
        rows_per_second = self._throughput.rows_per_second
        claim.accepted = self.clock()
        self._waiting.set_due(claim, rows_per_second)
        check_space(claim, self._waiting, self.max_queue_rows)
        check_deadline(claim, self._waiting, self._running_rows, rows_per_second)

    def _fail(self, call: Call, error: RequestError, finished: list[Call]) -> None:
        """Finish a call with an error; rows of it that wait leave the queue."""
        self._waiting.remove(call)
        if call.fail(error):
            self._in_flight -= 1
            finished.append(call)

    def _end(self, batch: Batch) -> list[Call]:
        """Give every call of a batch its rows, or the error of the engine; return those that are finished."""
        finished: list[Call] = []
        self._running_rows -= batch.rows
        self._throughput.ended(batch.rows, self.clock(), waiting=self._waiting.rows > 0)
        if batch.probability is None:
            log.error("model %s: the engine failed on %d rows", self.name, batch.rows, exc_info=batch.error)
            batch.error = None  # its frames hold the batch
        sound = batch.probability is not None and bool(np.isfinite(batch.probability).all())
        for part, probability in batch.split():
            if probability is None or not (sound or np.isfinite(probability).all()):
                error = EngineError("the engine failed on this request; the server's log says why")
                self._fail(part.call, error, finished)
                if probability is not None:
                    log.error("model %s: the engine gave a probability that is not a number", self.name)
            elif part.call.complete(part.start, probability, batch.started, batch.seconds, batch.rows):
                self._in_flight -= 1
                finished.append(part.call)
        if batch.probability is not None:
            self.metrics.batch(batch.rows, batch.seconds)
        return finished
