"""Processes of a server, seen from outside."""

import psutil


def family(pid: int) -> list[psutil.Process]:
    """All below a process."""
    return psutil.Process(pid).children(recursive=True)


def alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
