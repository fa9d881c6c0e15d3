"""The result on a terminal, for people.

Knows rich. Does not know where the figures come from.
"""

from collections.abc import Iterator

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tablefold.loadtest.result import Result


def number(value: float | None, unit: str = "", digits: int = 2) -> str:
    """With thousands separated; a dash for None."""
    return "-" if value is None else f"{value:,.{digits}f}{unit}"


def mebibytes(value: int | None) -> str:
    """Bytes in MiB; a dash for None."""
    return number(None if value is None else value / 2**20, " MiB", 1)


def memory_words(result: Result) -> str:
    """The server's peak memory, or why nobody knows it."""
    memory = result.server_memory_bytes
    if memory.source is None:
        return "unknown: the server is not a visible process of this machine and tells no footprint itself"
    told = "read from the kernel" if memory.source == "kernel" else "as the server tells it"
    words = f"{mebibytes(memory.resident_peak)} resident at peak"
    if memory.proportional_peak is not None:
        words += f", {mebibytes(memory.proportional_peak)} proportional"
    return f"{words} ({told})"


def facts(result: Result) -> Iterator[tuple[str, str]]:
    """The key figures as (name, value), for card and page alike."""
    latency, client = result.latency_ms, result.client
    offered = f"offered {number(result.offered_rps, digits=1)}, " if result.mode == "open" else ""
    yield "load", f"{result.load}, {result.rows_per_call} rows a call, {result.seconds:g} s"
    yield "calls/s", f"{offered}achieved {number(result.achieved_rps, digits=1)}"
    yield "rows/s", number(result.rows_per_second, digits=0)
    yield (
        "latency ms",
        "  ".join(
            f"{name} {number(getattr(latency, field))}"
            for name, field in (
                ("p50", "p50"),
                ("p90", "p90"),
                ("p99", "p99"),
                ("p99.9", "p999"),
                ("max", "max"),
            )
        ),
    )
    codes = ", ".join(f"{code} {count:,}" for code, count in result.errors.items())
    yield "errors", codes or f"none of {result.calls.due:,} calls"
    if (server := result.server_time) is not None:
        yield (
            "server ms",
            f"queue p50 {number(server.queue_ms.p50)} p99 {number(server.queue_ms.p99)}, "
            f"compute p50 {number(server.compute_ms.p50)} p99 {number(server.compute_ms.p99)}",
        )
    yield "server memory", memory_words(result)
    lag = f", p99 send lag {number(client.send_lag_ms.p99)} ms" if result.mode == "open" else ""
    yield "this client", f"{client.event_loop_share:.0%} of a core{lag}"


def print_card(result: Result, console: Console) -> None:
    """Verdict, doubts and key figures in a box."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in facts(result):
        table.add_row(name, Text(value))
    parts = [Text(result.verdict, style="bold")]
    parts += [Text(f"INVALID: {doubt}", style="bold red") for doubt in result.doubts]
    if result.interrupted:
        parts.append(Text("interrupted: the figures cover what was measured so far", style="yellow"))
    title = Text(f"{result.model} at {result.server} ({result.protocol})")
    console.print(Panel(Group(*parts, "", table), title=title, expand=False))
