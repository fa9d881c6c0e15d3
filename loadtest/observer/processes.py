"""The server's processes on this machine: found by their port, weighed by the kernel's figures."""

import asyncio
import contextlib
import re
import socket
from pathlib import Path
from typing import Literal, NamedTuple, Self

import psutil

from tablefold.client.transport.address import Address

FORWARDERS = {"docker-proxy", "rootlessport", "slirp4netns", "kubectl", "ssh", "sshd"}
"""Programs that listen for somebody else: their memory is not the server's."""
PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


class ProcessMemory(NamedTuple):
    """One process, in bytes."""

    pid: int
    resident: int
    resident_peak: int
    """The highest since the process started; `resident` where the kernel does not tell."""
    anonymous: int
    file_backed: int
    """Mapped from files, or shared."""
    proportional: int | None
    """Shared pages divided among those who share them; None where the kernel does not tell."""
    cpu_seconds: float | None = None
    """Processor time since the process started, user and system; None where it is unknown."""
    gpu: int | None = None
    """Of the GPU, as the server says; None where it does not."""


def process_memory(pid: int) -> ProcessMemory | None:
    """Return the memory of a process; None if the process has ended."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            memory, times = process.memory_info(), process.cpu_times()
            proportional = None
            with contextlib.suppress(psutil.AccessDenied):  # another user's process
                proportional = getattr(process.memory_full_info(), "pss", None)
    except psutil.NoSuchProcess:
        return None
    if not memory.rss:  # a zombie has no memory
        return None
    file_backed = getattr(memory, "shared", 0)
    return ProcessMemory(
        pid=pid,
        resident=memory.rss,
        resident_peak=max(memory.rss, _peak(pid)),
        anonymous=memory.rss - file_backed,
        file_backed=file_backed,
        proportional=proportional,
        cpu_seconds=times.user + times.system,
    )


def _peak(pid: int) -> int:
    """Return the highest resident memory since the process started (Linux); 0 where it is unknown."""
    try:
        found = PEAK.search(Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def _with_descendants(pid: int) -> list[int]:
    """Return the process and all below it (Linux). psutil would read every process of the machine for it."""
    children: list[str] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that ended meanwhile
            children += file.read_text().split()
    return [pid] + [descendant for child in children for descendant in _with_descendants(int(child))]


def _is_here(host: str) -> bool:
    own = {address.address for interface in psutil.net_if_addrs().values() for address in interface}
    try:
        resolved = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return any(address in own or address.startswith("127.") for address in resolved)


def _listeners(port: int) -> list[int]:
    """Return the processes that listen on the port, as far as this user may see them."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return []
    return sorted(
        {
            listener.pid
            for listener in connections
            if listener.pid
            and listener.status == psutil.CONN_LISTEN
            and listener.laddr
            and listener.laddr.port == port
        }
    )


class LocalProcesses:
    """The processes that listen on a port of this machine, with all their descendants."""

    source: Literal["kernel", "server"] = "kernel"
    period = 0.25

    def __init__(self, address: Address, roots: list[int]) -> None:
        self._address = address
        self.roots = roots

    @classmethod
    def find(cls, address: Address) -> Self | None:
        """Return None if the server is not on this machine, or this user may not see whose port it is."""
        if not _is_here(address.host):
            return None
        roots = _listeners(address.port)
        try:
            forwarded = any(psutil.Process(pid).name() in FORWARDERS for pid in roots)
        except psutil.NoSuchProcess:
            return None
        return None if forwarded or not roots else cls(address, roots)

    async def read(self) -> list[ProcessMemory]:
        """Return every process that is still there."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> list[ProcessMemory]:
        if not self.roots or not all(
            map(psutil.pid_exists, self.roots)
        ):  # the server has ended, or was started again
            self.roots = _listeners(self._address.port)
        # A child of one listener may itself be a listener: each process counts once.
        pids = {pid for root in self.roots for pid in _with_descendants(root)}
        return [memory for pid in sorted(pids) if (memory := process_memory(pid)) is not None]
