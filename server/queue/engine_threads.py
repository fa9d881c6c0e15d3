"""The threads that run engines: each takes calls off the front, forms a batch, runs it and answers.

    front ──► receive ──► queues ──► batch ──► run ──► answers        all on one thread

All models share them. So many batches run at once as there are cores. One thread more looks after the front
while all others run, so that refusals, health and cancels never wait for an engine.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable

from tablefold.errors import DeviceLost
from tablefold.machine.priority import give_way
from tablefold.server.queue.batch import Batch
from tablefold.server.queue.call import Call
from tablefold.server.queue.sources import BatchSource, CallSource

log = logging.getLogger(__name__)

MISSED_CHECKS = 8
"""A batch that outlives as many checks hangs. Not timed: a machine that slept is no engine that hangs."""
ATTENDANCE_SECONDS = 0.005
"""How long a call may wait at the front while all engines run; beside an idle thread, twice that."""
QUIET_PAUSES = 200
"""After so many without a batch the attendant sleeps until there is one."""


class EngineThreads:
    """At most `count` batches at once. Belongs to the event loop it is made on; its methods to any thread.

    A batch that runs longer than `timeout_seconds` is abandoned, its thread is lost, and `on_loss` is
    called. A thread that hangs in native code can be neither ended nor trusted: only a new process helps.
    Where the front or the device fails, all threads are lost.
    """

    def __init__(
        self, count: int, *, timeout_seconds: float = 10.0, on_loss: Callable[[], None] = lambda: None
    ) -> None:
        self.count = count
        self.hanging = 0
        """Threads that are lost."""
        self.lock = threading.Lock()
        """Of all queues."""
        self._wake = threading.Condition(self.lock)
        self._idle = 0
        """Threads that wait for `_wake`."""
        self._wake_attendant = threading.Condition(self.lock)
        self._attendant_sleeps = False
        self._attendant_runs = False
        """Whether it runs a batch itself: then an idle thread looks after the front in its place."""
        self._source: CallSource | None = None
        self._backlog: dict[BatchSource, None] = {}
        """Where calls wait."""
        self._least_served = 0.0
        self._batch_began = 0.0
        """When the last batch was formed, in monotonic seconds."""
        self._running: dict[Batch, int] = {}
        """How many checks a batch has outlived."""
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._on_loss = on_loss
        self._check_seconds = timeout_seconds / MISSED_CHECKS
        self._timer = self._loop.call_later(self._check_seconds, self._check)
        # Daemons, because an engine that hangs must not keep the process from leaving.
        works = {f"engine-{number}": self._work for number in range(count)} | {"attendant": self._attend}
        for name, work in works.items():
            threading.Thread(target=self._run_thread, args=(work,), name=name, daemon=True).start()

    def take_from(self, source: CallSource) -> None:
        """Receive calls from a front from now on."""
        with self.lock:
            self._source = source
            self._wake.notify_all()

    def wants_thread(self, batcher: BatchSource) -> None:
        """Count a batcher among those where calls wait. With the lock held."""
        if batcher not in self._backlog:
            # What it did not take while nothing waited is not saved up.
            batcher.engine_seconds = max(batcher.engine_seconds, self._least_served)
            self._backlog[batcher] = None
        self._wake_one(full_batch=batcher.queue_rows >= batcher.sizing.rows)

    def ring(self) -> None:
        """Say that calls have come that wait to be received."""
        with self.lock:
            self._wake_one(full_batch=False)

    @property
    def lost(self) -> bool:
        """Whether all threads hang: nothing will ever be answered."""
        return self.hanging == self.count

    def close(self) -> None:
        """Let the threads end after the batches they have."""
        self._timer.cancel()
        with self.lock:
            self._closed = True
            self._wake.notify_all()
            self._wake_attendant.notify()

    @property
    def _busy(self) -> bool:
        return len(self._running) >= self.count - self.hanging

    def _wake_one(self, *, full_batch: bool) -> None:
        """Wake an idle thread where that is worth it. With the lock held.

        Threads take turns on Python's lock, so that a second one makes small batches slower: whoever is awake
        takes what comes next. Another one comes where a full batch waits, or behind a full batch. Nothing
        waits longer than two of the attendant's pauses beside an idle thread.
        """
        if self._busy:
            return
        if self._source is not None and self._source.waits:
            if full_batch or self._attendant_sleeps:  # the others wait for calls, not for us
                self._wake_attendant.notify()
        elif self._idle and (
            full_batch
            or self._idle >= self.count - self.hanging
            or any(batch.full for batch in self._running)
        ):
            self._wake.notify()

    def _run_thread(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # pygrpc-native's own errors are no Exception
            if self._closed:
                return
            lost = "device" if isinstance(error, DeviceLost) else "front"
            log.critical("the %s has failed: no call will be taken any more", lost, exc_info=True)
            self._loop.call_soon_threadsafe(self._on_loss)
            with self.lock:
                self.hanging = self.count
                finished = self._abandon()
            self._settle(finished)

    def _work(self) -> None:
        give_way()  # beside engines calls are still received, and refused, in time
        while not self._closed:
            if self._run_next():
                continue
            source = self._source
            if source is not None and source.waits and not self._busy:
                source.receive(wait=True)
                continue
            with self.lock:
                if not self._anything_to_do():
                    self._idle += 1
                    self._wake.wait(ATTENDANCE_SECONDS if self._attendant_runs else None)
                    self._idle -= 1
            if source is not None:
                source.receive(wait=False)

    def _attend(self) -> None:
        """Look after the front while others run, and take what waits although there is a place for it."""
        quiet = 0
        while not self._closed:
            with self.lock:
                quiet = 0 if self._running else quiet + 1
                self._attendant_sleeps = quiet > QUIET_PAUSES
                self._wake_attendant.wait(None if self._attendant_sleeps else ATTENDANCE_SECONDS)
                self._attendant_sleeps = False
                if not self._needs_attendant():
                    continue
            if self._source is not None:
                self._source.receive(wait=False)
            while self._run_next(attending=True):
                pass

    def _needs_attendant(self) -> bool:
        """Whether the threads leave something undone. With the lock held.

        A thread between two batches takes what has come since: a second one would only make its turn slower.
        """
        return self._busy or time.monotonic() - self._batch_began > ATTENDANCE_SECONDS

    def _anything_to_do(self) -> bool:
        if self._closed:
            return True
        ready = self._source is not None and self._source.ready()
        return not self._busy and (ready or bool(self._backlog))

    def _run_next(self, *, attending: bool = False) -> bool:
        """Run a batch and settle its calls. False where none waits, or no more may run.

        `attending`: by the attendant.
        """
        finished: list[Call] = []
        with self.lock:
            batch = self._next(finished)
            if batch is not None and attending:
                self._attendant_runs = True
                self._wake.notify()
            if batch is not None and self._attendant_sleeps:
                self._wake_attendant.notify()
        self._settle(finished)
        if batch is None:
            return False
        batch.run()
        lost = str(batch.error) if isinstance(batch.error, DeviceLost) else None
        with self.lock:
            if attending:
                self._attendant_runs = False
            # Abandoned batches are answered; their thread stays lost, because the server is leaving.
            finished = batch.end(batch) if self._running.pop(batch, None) is not None else []
        self._settle(finished)
        if lost is not None:
            raise DeviceLost(lost)
        del batch, finished  # an idle thread would keep its engine, and a retired one its memory
        if self._source is not None:
            self._source.receive(wait=False)
        return True

    def _next(self, expired: list[Call]) -> Batch | None:
        """Return the next batch of the model that was served least; None where none waits or may run."""
        while self._backlog and not self._busy:
            batcher = min(self._backlog, key=lambda waiting: waiting.engine_seconds)
            self._least_served = batcher.engine_seconds
            batch = batcher.next_batch(expired)
            del self._backlog[batcher]
            if batcher.queue_rows:
                self._backlog[batcher] = None  # at the end: equals take turns
            if batch is not None:
                self._running[batch] = 0
                self._batch_began = time.monotonic()
                if any(waiting.queue_rows >= waiting.sizing.rows for waiting in self._backlog):
                    self._wake_one(full_batch=True)
                return batch
        return None

    def _check(self) -> None:
        self._timer = self._loop.call_later(self._check_seconds, self._check)
        with self.lock:
            hanging = [batch for batch, checks in self._running.items() if checks >= MISSED_CHECKS]
            for batch in self._running:
                self._running[batch] += 1
            finished: list[Call] = []
            for batch in hanging:
                finished += self._lose(batch)
            if self.lost:
                finished += self._abandon()
        self._settle(finished)
        if hanging:
            self._on_loss()

    def _abandon(self) -> list[Call]:
        """Finish all calls that wait. With the lock held."""
        finished = [call for batcher in self._backlog for call in batcher.abandon()]
        self._backlog.clear()
        return finished

    def _lose(self, batch: Batch) -> list[Call]:
        seconds = self._check_seconds * MISSED_CHECKS
        log.error("an engine hangs: it has not come back for %g seconds, and its thread is lost", seconds)
        del self._running[batch]
        self.hanging += 1
        # The thread may still come back and set either; the calls have their one answer by then.
        batch.probability, batch.error = None, TimeoutError("the engine hangs")
        return batch.end(batch)

    def _settle(self, finished: list[Call]) -> None:
        for call in finished:
            call.caller.settle(call)
        if finished and self._source is not None:
            self._source.flush()
