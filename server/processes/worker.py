"""One of several processes of a server: options come in on stdin, whose end is the order to leave.

    {"http_port": 40123, "models": "models: ads:1 on cpu"}      the one line on stdout, once it serves
    {"error": "...", "usage": true}                              or why it never will
                                                                 then an empty line for every BEAT it lives

Knows how to talk to its supervisor. Does not know the other workers.
"""

import asyncio
import json
import os
import pickle
import sys

import psutil

from tablefold.errors import TablefoldError, UsageError
from tablefold.server.app import Server, run
from tablefold.server.models.footprint import Processes

BEAT = 0.5
"""Seconds between two signs of life of the event loop."""


def main() -> None:
    """Serve until told to leave."""
    options = pickle.load(sys.stdin.buffer)
    try:
        run(options, _announce, watch=sys.stdin.fileno(), processes=_processes)
    except TablefoldError as error:
        _say(error=str(error), usage=isinstance(error, UsageError))
        sys.exit(1)


def _announce(server: Server, models: str) -> None:
    _say(http_port=server.http_port, models=models)
    loop = asyncio.get_running_loop()

    def beat() -> None:
        print(flush=True)
        loop.call_later(BEAT, beat)

    loop.call_later(BEAT, beat)


def _processes() -> Processes:
    """This process, its siblings and their supervisor: one footprint together."""
    supervisor = psutil.Process(os.getppid())
    return Processes([process.pid for process in supervisor.children()], supervisor.pid)


def _say(**words: object) -> None:
    print(json.dumps(words), flush=True)


if __name__ == "__main__":
    main()
