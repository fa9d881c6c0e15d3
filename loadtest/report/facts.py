"""The key figures in words and in rows of tables, the same on the terminal and on the page."""

from collections.abc import Iterator

from tablefold.loadtest.compare import Comparison
from tablefold.loadtest.report.formats import megabytes, number, times
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.sweep import Sweep

INTERRUPTED = "Interrupted: the figures cover what was measured until then."
RATIO_HEADER = ("ratio", "95 % interval", "differs")


def memory_words(result: Result) -> str:
    """Return the server's peak memory, or why it is unknown."""
    memory = result.server_memory_bytes
    if memory.source is None:
        return "unknown: the server is not a visible process of this machine and does not report it"
    source = "read from the kernel" if memory.source == "kernel" else "as the server reports it"
    words = f"{megabytes(memory.resident_peak)} resident at peak"
    if (memory.processes or 1) > 1:
        words += " (shared pages count in every process)"
    if memory.proportional_peak is not None:
        words += f", {megabytes(memory.proportional_peak)} proportional"
    if memory.gpu_peak is not None:
        words += f", {megabytes(memory.gpu_peak)} on the GPU"
    processes = f", {memory.processes} processes" if (memory.processes or 1) > 1 else ""
    return f"{words} ({source}{processes})"


def client_words(result: Result) -> str:
    """Return what this client itself used."""
    client = result.client
    lag = f", p99 send lag {number(client.send_lag_ms.p99)} ms" if result.mode == "open" else ""
    processes = f"{client.processes} processes, the busiest at " if client.processes > 1 else ""
    waiting = (
        f", waited for a core {client.waiting_share:.0%} of the time" if client.waiting_share >= 0.1 else ""
    )
    return f"{processes}{client.event_loop_share:.0%} of a core{waiting}{lag}"


def facts(result: Result) -> Iterator[tuple[str, str]]:
    """Yield the key figures as (name, value)."""
    latency = result.latency_ms
    offered = f"offered {number(result.offered_rps, digits=1)}, " if result.mode == "open" else ""
    yield "load", f"{result.load}, {result.rows}, {result.seconds:g} s"
    yield "calls/s", f"{offered}achieved {number(result.achieved_rps, digits=1)}"
    yield "rows/s", number(result.rows_per_second, digits=0)
    percentiles = (("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p99.9", "p999"), ("max", "max"))
    yield "latency ms", "  ".join(f"{name} {number(getattr(latency, field))}" for name, field in percentiles)
    yield "errors", result.errors_with_examples or f"none of {result.calls.due:,} calls"
    if result.model_version:
        yield "version", result.model_version
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
    """Return a header, and a row for each rate of a sweep, ascending."""
    header = ["offered/s", "achieved/s", "p50 ms", "p99 ms", "p99.9 ms", "failed", "kept up", "client"]
    rows = [
        [
            number(step.offered_rps, digits=1),
            number(step.achieved_rps, digits=1),
            number(step.latency_ms.p50, digits=1),
            number(step.latency_ms.p99, digits=1),
            number(step.latency_ms.p999, digits=1),
            f"{step.calls.failed:,}",
            "yes" if sweep.rule.kept_up(step) else "no",
            ", ".join(doubt.word for doubt in step.doubts) or "fine",
        ]
        for step in sweep.best_steps
    ]
    return header, rows


def failed_rates(sweep: Sweep) -> list[tuple[str, str]]:
    """Return the rates, ascending, that the server did not keep up with, and why."""
    reasons = [(step, sweep.rule.failure(step)) for step in sweep.best_steps]
    return [(f"{number(step.offered_rps, digits=1)} calls/s", reason) for step, reason in reasons if reason]


def ratio_rows(comparison: Comparison, target: str) -> list[tuple[str, ...]]:
    """Return a row for each figure of a target: its ratio to the first target's, and the interval."""
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
    """Return a row for each figure, with a column for each target."""
    return [
        (figure, *(number(value, digits=0 if "/s" in figure else 2) for value in values))
        for figure, values in comparison.medians.items()
    ]


def reasons_for_doubt(report: Result | Sweep | Comparison) -> list[str]:
    """Return why the report is invalid; empty if it is valid."""
    if isinstance(report, Result):
        return report.invalid_because
    if isinstance(report, Sweep):
        runs, kind = report.steps_to_knee, "steps up to the knee"
    else:
        runs, kind = [result for results in report.rounds for result in results], "runs"
    invalid = [reason for run in runs for reason in run.invalid_because[:1]]
    broken = [f"it was broken off: {report.broken_off}"] if report.broken_off else []
    if not invalid:
        return broken
    return [*broken, f"{len(invalid)} of {len(runs)} {kind}; in the first, {invalid[0]}"]
