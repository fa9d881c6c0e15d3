"""Finding the server's processes on this machine and reading their memory from the kernel.

Knows /proc (Linux). Does not know the server, only who listens on its port.
"""

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Literal, NamedTuple, Self

import psutil

from tablefold.client.address import Address

FORWARDERS = {"docker-proxy", "rootlessport", "slirp4netns", "kubectl", "ssh", "sshd"}
"""Programs that listen for somebody else: their memory is not the server's."""


class ProcessMemory(NamedTuple):
    """One process, in bytes."""

    pid: int
    resident: int
    resident_peak: int
    """The highest since the process started."""
    anonymous: int
    file_backed: int
    proportional: int | None
    """Shared pages divided among those who share them; None where the kernel does not tell."""
    cpu_seconds: float | None = None
    """Processor time since the process started, user and system; None where nobody tells."""


def read_process(pid: int) -> ProcessMemory | None:
    """From /proc/PID/status, stat and smaps_rollup; None if the process is gone."""
    folder = Path("/proc") / str(pid)
    try:
        figures = _kibibytes(folder / "status")
        # After the name, which may hold spaces: user and system time are the 12th and 13th field.
        times = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
    except OSError:
        return None
    if "VmRSS" not in figures:  # a zombie has no memory
        return None
    proportional = None
    with contextlib.suppress(OSError):  # another user's process
        proportional = _kibibytes(folder / "smaps_rollup").get("Pss")
    return ProcessMemory(
        pid=pid,
        resident=figures["VmRSS"],
        resident_peak=figures["VmHWM"],
        anonymous=figures["RssAnon"],
        file_backed=figures["RssFile"] + figures["RssShmem"],
        proportional=proportional,
        cpu_seconds=sum(map(int, times)) / os.sysconf("SC_CLK_TCK"),
    )


def _kibibytes(path: Path) -> dict[str, int]:
    """The lines `Name: 123 kB`, in bytes."""
    found = {}
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = int(value[:-3]) * 1024
    return found


def _with_descendants(pid: int) -> list[int]:
    children: list[str] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that ended while we looked
            children += file.read_text().split()
    return [pid] + [below for child in children for below in _with_descendants(int(child))]


def _is_here(host: str) -> bool:
    mine = {address.address for interface in psutil.net_if_addrs().values() for address in interface}
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return any(address in mine or address.startswith("127.") for address in found)


class LocalProcesses:
    """The processes that listen on a port of this machine, with all their descendants."""

    source: Literal["kernel", "server"] = "kernel"
    period = 0.25

    def __init__(self, roots: list[int]) -> None:
        self.roots = roots

    @classmethod
    def find(cls, address: Address) -> Self | None:
        """None if the server is not on this machine, or this user may not see whose port it is."""
        if not Path("/proc/self/status").exists() or not _is_here(address.host):
            return None
        try:
            sockets = psutil.net_connections("tcp")
        except psutil.AccessDenied:
            return None
        roots = sorted(
            {
                each.pid
                for each in sockets
                if each.pid
                and each.status == psutil.CONN_LISTEN
                and each.laddr
                and each.laddr.port == address.port
            }
        )
        try:
            forwarded = any(psutil.Process(pid).name() in FORWARDERS for pid in roots)
        except psutil.NoSuchProcess:
            return None
        return None if forwarded or not roots else cls(roots)

    async def read(self) -> list[ProcessMemory]:
        """Every process that is still there."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> list[ProcessMemory]:
        # A child of one listener may itself be a listener: each process counts once.
        pids = {pid for root in self.roots for pid in _with_descendants(root)}
        return [memory for pid in sorted(pids) if (memory := read_process(pid)) is not None]
