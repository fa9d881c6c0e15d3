"""Runs one server in this process, from its start to its end."""

import asyncio
import faulthandler
import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from tablefold.server.app import Server
from tablefold.server.bundles.trial import end_trials, prepare_trials
from tablefold.server.models.footprint import Processes
from tablefold.server.models.loader import OpenEngine
from tablefold.server.options import Options
from tablefold.server.processes.signals import exit_on_signals, leave_on_signals
from tablefold.server.telemetry.memory import use_single_heap
from tablefold.server.telemetry.refusal_log import write_lines
from tablefold.server.telemetry.slots import Slots

log = logging.getLogger(__name__)

Announce = Callable[[Server, str], None]
"""Gets the server and the names of its models, once it serves."""


def run(
    options: Options,
    announce: Announce,
    *,
    watch: int | None = None,
    processes: Callable[[], Processes] = Processes.only_this,
    open_engine: OpenEngine | None = None,
    slots: Slots | None = None,
) -> NoReturn:
    """Serve until a signal (see `signals`), drain, and end the process.

    `watch`: a file descriptor whose end has the effect of a signal. The others: see `Server`.
    Raises the errors of `Server` and `Server.start`.
    """
    exit_on_signals()
    use_single_heap()
    write_lines()
    if sys.__stderr__ is not None:
        # A crash in a library, or weights cut off under their mapping, leaves its trace.
        faulthandler.enable(sys.__stderr__)
    if open_engine is None:
        prepare_trials()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            server = partial(Server, options, processes, open_engine, slots)
            runner.run(_serve(server, options.drain_seconds, announce, watch))
    finally:
        end_trials()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _serve(
    make_server: Callable[[], Server], drain_seconds: float, announce: Announce, watch: int | None
) -> NoReturn:
    loop = asyncio.get_running_loop()
    server = make_server()
    leave_on_signals(server.leave, lambda: _exit(0))
    if watch is not None:
        loop.add_reader(watch, server.leave.set)
    starting = asyncio.ensure_future(server.start())
    leaving = asyncio.ensure_future(server.leave.wait())
    await asyncio.wait({starting, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        log.info("leaving before the models are loaded")
        _exit(0)
    announce(server, starting.result())
    await leaving
    if watch is not None:
        loop.remove_reader(watch)
    log.info("draining, up to %g seconds", drain_seconds)
    await server.drain()
    if server.threads_lost:
        log.critical("the process ends with exit code 1, to be started again")
        _exit(1)
    _exit(0)


def _exit(code: int) -> NoReturn:
    """End the process at once: a thread that hangs could hold up the interpreter's own end, and a signal
    that comes once the loop has taken its handlers along would be its exit code."""
    end_trials()
    logging.shutdown()
    os._exit(code)
