"""The result on a terminal, for people: while it runs, and at its end.

Knows rich. Does not know where the figures come from.
"""

import sys
from collections.abc import Iterator, Sequence

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tablefold.loadtest.compare import Comparison
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.sweep import Sweep, held, kept_up
from tablefold.loadtest.target import Live

INTERRUPTED = "Interrupted: the figures cover what was measured until then."


def number(value: float | None, unit: str = "", digits: int = 2) -> str:
    """With thousands separated; a dash for None."""
    return "-" if value is None else f"{value:,.{digits}f}{unit}"


def times(value: float) -> str:
    """A ratio, as exactly as it may matter."""
    return f"{value:.3f}" if value < 10 else f"{value:,.0f}"


def megabytes(value: int | None) -> str:
    """Bytes in MB; a dash for None."""
    return number(None if value is None else value / 1e6, " MB", 1)


def memory_words(result: Result) -> str:
    """The server's peak memory, or why nobody knows it."""
    memory = result.server_memory_bytes
    if memory.source is None:
        return "unknown: the server is not a visible process of this machine and tells no footprint itself"
    told = "read from the kernel" if memory.source == "kernel" else "as the server tells it"
    words = f"{megabytes(memory.resident_peak)} resident at peak"
    if memory.proportional_peak is not None:
        words += f", {megabytes(memory.proportional_peak)} proportional"
    if memory.gpu_peak is not None:
        words += f", {megabytes(memory.gpu_peak)} on the GPU"
    processes = f", {memory.processes} processes" if (memory.processes or 1) > 1 else ""
    return f"{words} ({told}{processes})"


def client_words(result: Result) -> str:
    """What this client itself used."""
    client = result.client
    lag = f", p99 send lag {number(client.send_lag_ms.p99)} ms" if result.mode == "open" else ""
    processes = f"{client.processes} processes, the busiest at " if client.processes > 1 else ""
    waited = f", waited for one {client.waiting_share:.0%} of the time" if client.waiting_share >= 0.1 else ""
    return f"{processes}{client.event_loop_share:.0%} of a core{waited}{lag}"


def facts(result: Result) -> Iterator[tuple[str, str]]:
    """The key figures as (name, value), for card and page alike."""
    latency = result.latency_ms
    offered = f"offered {number(result.offered_rps, digits=1)}, " if result.mode == "open" else ""
    yield "load", f"{result.load}, {result.rows}, {result.seconds:g} s"
    yield "calls/s", f"{offered}achieved {number(result.achieved_rps, digits=1)}"
    yield "rows/s", number(result.rows_per_second, digits=0)
    shown = (("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p99.9", "p999"), ("max", "max"))
    yield "latency ms", "  ".join(f"{name} {number(getattr(latency, field))}" for name, field in shown)
    codes = ", ".join(f"{code} {count:,}" for code, count in result.errors.items())
    yield "errors", codes or f"none of {result.calls.due:,} calls"
    if (server := result.server_time) is not None:
        yield (
            "server ms",
            f"queue p50 {number(server.queue_ms.p50)} p99 {number(server.queue_ms.p99)}, "
            f"compute p50 {number(server.compute_ms.p50)} p99 {number(server.compute_ms.p99)}",
        )
    yield "server memory", memory_words(result)
    if (cpu := result.server_cpu) is not None:
        yield "server CPU", f"{cpu.cores:.2f} cores, {number(cpu.microseconds_per_row)} us a row"
    if result.cost_per_million is not None:
        yield "cost", f"{result.cost_per_million:.3g} for a million predictions"
    yield "this client", client_words(result)


def step_table(sweep: Sweep) -> tuple[list[str], list[list[str]]]:
    """A header, and a row for each rate of a sweep, ascending: of two tries the better one."""
    objectives = bool(sweep.steps and sweep.steps[0].objectives)
    header = ["offered/s", "achieved/s", "p50 ms", "p99 ms", "p99.9 ms", "failed", "kept up"]
    rows = [
        [
            number(step.offered_rps, digits=1),
            number(step.achieved_rps, digits=1),
            number(step.latency_ms.p50, digits=1),
            number(step.latency_ms.p99, digits=1),
            number(step.latency_ms.p999, digits=1),
            f"{step.calls.failed:,}",
            "yes" if kept_up(step) else "no",
            *(["yes" if held(step) else "no"] if objectives else []),
            "fine" if step.valid else "late",
        ]
        for step in sweep.counted
    ]
    return [*header, *(["held"] if objectives else []), "client"], rows


RATIO_HEADER = ("ratio", "95 % interval", "told apart")


def ratio_rows(comparison: Comparison, target: str) -> list[tuple[str, ...]]:
    """A row for each figure of a target: its ratio to the first target's and the interval."""
    return [
        (
            ratio.figure,
            times(ratio.ratio),
            f"{times(ratio.low)} to {times(ratio.high)}",
            "yes" if ratio.differs else "no",
        )
        for ratio in comparison.ratios
        if ratio.target == target
    ]


def median_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """A row for each figure, a column for each target."""
    return [
        (figure, *(number(value, digits=0 if "/s" in figure else 2) for value in values))
        for figure, values in comparison.medians.items()
    ]


def print_card(report: Result | Sweep | Comparison, console: Console) -> None:
    """Verdict, doubts and key figures in a box."""
    if isinstance(report, Result):
        shown = Table.grid(padding=(0, 2))
        shown.add_column(style="dim", no_wrap=True)
        shown.add_column()
        for name, value in facts(report):
            shown.add_row(name, Text(value))
        title, tables = f"{report.model} at {report.server} ({report.protocol})", [shown]
    elif isinstance(report, Sweep):
        first = report.steps[0]
        title = f"rate sweep of {first.model} at {first.server} ({first.protocol})"
        tables = [_table(*step_table(report))]
    else:
        first_name, *others = report.targets
        title = " | ".join(report.targets)
        tables = [_table(("medians", *report.targets), median_rows(report))]
        for name in others if report.ratios else ():
            tables.append(_table((f"{name} / {first_name}", *RATIO_HEADER), ratio_rows(report, name)))
    parts = [Text(report.verdict, style="bold")]
    parts += [Text(f"INVALID: {doubt}", style="bold red") for doubt in doubts(report)]
    if report.interrupted:
        parts.append(Text(INTERRUPTED, style="yellow"))
    spaced = [each for table in tables for each in ("", table)]
    console.print(Panel(Group(*parts, *spaced), title=Text(title), expand=False))


def doubts(report: Result | Sweep | Comparison) -> list[str]:
    """Why not to believe it; empty for what is valid."""
    if isinstance(report, Result):
        return report.invalid_because
    if isinstance(report, Sweep):
        runs, called = report.standing, "steps up to the knee"
    else:
        runs, called = [run for each in report.rounds for run in each], "runs"
    bad = [run.invalid_because[0] for run in runs if not run.valid]
    return [f"{len(bad)} of {len(runs)} {called}; in the first, {bad[0]}"] if bad else []


def show_progress(live: Live) -> None:
    """One line that rewrites itself: what the clients have told of the run so far."""
    if not sys.stderr.isatty():
        return
    phase = f"warm-up {-live.second:5.1f} s" if live.second < 0 else f"{live.second:7.1f} s"
    latest = live.news.latest.milliseconds()
    sys.stderr.write(
        f"\r{live.plan.model}: {live.plan.load}   {phase}   {live.news.due:,} calls, "
        f"{live.news.failed:,} failed   p50 {number(latest['p50'])} p99 {number(latest['p99'])} ms now\x1b[K"
    )
    sys.stderr.flush()


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 0, 0, 1))
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
