"""One of several processes of a server: options, and the descriptor of memory to count in, come in on stdin,
whose end is the order to leave.

{"http_port": 40123, "models": "models: ads:1 on cpu"}      the one line on stdout, once it serves
{"error": "...", "usage": true}                              or why it never will
                                                             then an empty line as a heartbeat
"""

import asyncio
import json
import logging
import os
import pickle
import sys
from functools import partial
from typing import TextIO

import psutil

from tablefold.console import LOG_FORMAT
from tablefold.errors import TablefoldError, UsageError
from tablefold.server.app import Server
from tablefold.server.bundles.own_stdout import take_stdout
from tablefold.server.models.footprint import Processes
from tablefold.server.processes.run import run
from tablefold.server.processes.signals import exit_on_signals
from tablefold.server.telemetry.slots import Slots, map_memory

MODULE = "tablefold.server.processes.worker"
HEARTBEAT_SECONDS = 0.5
"""Between two heartbeats of the event loop."""


def main() -> None:
    """Serve until the order to leave."""
    exit_on_signals()
    logging.basicConfig(format=LOG_FORMAT)
    logging.getLogger("tablefold").setLevel(logging.INFO)
    messages = take_stdout()
    try:
        options, descriptor = pickle.load(sys.stdin.buffer)
    except EOFError:  # the supervisor left before it could send them
        return
    slots = Slots(map_memory(descriptor))
    os.close(descriptor)
    try:
        run(
            options,
            partial(_announce, messages),
            watch=sys.stdin.fileno(),
            processes=_processes,
            slots=slots,
        )
    except TablefoldError as error:
        _send(messages, error=str(error), usage=isinstance(error, UsageError))
        sys.exit(1)


def _announce(messages: TextIO, server: Server, models: str) -> None:
    _send(messages, http_port=server.http_port, models=models)
    loop = asyncio.get_running_loop()

    def beat() -> None:
        print(file=messages, flush=True)
        loop.call_later(HEARTBEAT_SECONDS, beat)

    loop.call_later(HEARTBEAT_SECONDS, beat)


def _processes() -> Processes:
    """Return the workers and their supervisor: together they have one footprint."""
    supervisor = psutil.Process(os.getppid())
    return Processes([child.pid for child in supervisor.children() if _is_worker(child)], supervisor.pid)


def _is_worker(child: psutil.Process) -> bool:
    """Whether a child serves: that of the mirror does not."""
    try:
        return MODULE in child.cmdline()
    except psutil.Error:  # it ends
        return False


def _send(messages: TextIO, **fields: object) -> None:
    print(json.dumps(fields), file=messages, flush=True)


if __name__ == "__main__":
    main()
