"""The result on one HTML page, for people who decide.

Knows what a load test's reader looks for, in which order. Does not know HTML (`tablefold.report`).
"""

from pathlib import Path

from tablefold.loadtest.card import facts, mebibytes, memory_words, number
from tablefold.loadtest.result import Latency, Result
from tablefold.report import Page, Picture, Section, Table, Text
from tablefold.report.charts import (
    LatencySlice,
    MemorySlice,
    latency_over_time,
    latency_percentiles,
    memory_over_time,
)

FIGURES = {
    "mean": "mean",
    "p50": "p50",
    "p90": "p90",
    "p95": "p95",
    "p99": "p99",
    "p99.9": "p999",
    "max": "max",
}


def write_page(result: Result, path: Path) -> None:
    """Write the report. Raises UsageError."""
    page(result).write(path)


def page(result: Result) -> Page:
    """The whole report."""
    latency = result.latency_ms
    warnings = [f"This run is invalid: {doubt}." for doubt in result.doubts]
    if result.interrupted:
        warnings.append("Interrupted: the figures cover what was measured until then.")
    return Page(
        title=f"Load test of {result.model} at {result.server}",
        verdict=result.verdict,
        warnings=warnings,
        key_figures=[
            ("calls/s", number(result.achieved_rps, digits=1)),
            ("rows/s", number(result.rows_per_second, digits=0)),
            ("p50", number(latency.p50, " ms")),
            ("p99", number(latency.p99, " ms")),
            ("failed calls", f"{result.calls.failed:,}"),
            ("peak memory", mebibytes(result.server_memory_bytes.resident_peak)),
        ],
        sections=[_ran(result), _latency(result), _over_time(result), _errors(result), _memory(result)]
        + ([_server(result)] if result.server_time is not None else [])
        + [_client(result)],
        repeat=result.command,
        footer=f"Started {result.started}. "
        + ", ".join(f"{k} {v}" for k, v in result.versions.items())
        + ".",
    )


def _ran(result: Result) -> Section:
    rows = [(name, value) for name, value in facts(result) if name in ("load", "calls/s", "rows/s")]
    rows += [
        ("model", f"{result.model}, version {result.model_version or 'not told'}"),
        ("protocol", result.protocol),
        ("rows from", f"{result.data}; {result.distinct_requests:,} distinct requests, seed {result.seed}"),
        ("warm-up", f"{result.warmup_seconds:g} s of the same load, not measured"),
    ]
    return Section("What ran", [Table(header=(), rows=rows, figures=False)])


def _latency(result: Result) -> Section:
    if result.mode == "open":
        rule = "from when a call was due, even if it left late: a stall counts for every call it held up"
    else:
        rule = (
            "from when a call was sent; callers wait for their replies, so a slow server is asked less: "
            "use --rate to see its tail at a given load"
        )
    errors = "Calls that ran into their deadline count in full; other errors are not timed."
    return Section(
        "Latency",
        [
            _table(latency=result.latency_ms),
            Picture(
                latency_percentiles(result.latency_curve),
                alt=f"Latency by percentile, p50 {number(result.latency_ms.p50)} ms, "
                f"p99 {number(result.latency_ms.p99)} ms",
                caption="Each step to the right leaves a tenth of the calls.",
            ),
            Text(f"Latency counts {rule}. {errors}"),
        ],
    )


def _over_time(result: Result) -> Section:
    slices = [LatencySlice(each.second, each.p50, each.p99, each.max) for each in result.latency_over_time]
    return Section(
        "Latency over time",
        [
            Picture(
                latency_over_time(slices),
                alt=f"p50, p99 and maximum latency in {len(slices)} slices of {result.seconds:g} seconds",
                caption="By the moment the calls were due, from the end of the warm-up.",
            )
        ],
    )


def _errors(result: Result) -> Section:
    if not result.errors:
        return Section("Errors", [Text(f"None of {result.calls.due:,} calls failed.")])
    due = max(1, result.calls.due)
    rows = [(code, f"{count:,}", f"{count / due:.2%}") for code, count in result.errors.items()]
    return Section("Errors", [Table(header=("code", "calls", "of all due"), rows=rows)])


def _memory(result: Result) -> Section:
    if result.server_memory_bytes.source is None:
        return Section("Memory of the server", [Text(f"It is {memory_words(result)}.")])
    memory = result.server_memory_bytes
    slices = [MemorySlice(each.second, each.resident, each.proportional) for each in result.memory_over_time]
    growth = (memory.resident_last or 0) - (memory.resident_first or 0)
    return Section(
        "Memory of the server",
        [
            Text(
                f"{memory_words(result)}; {growth / 2**20:+,.1f} MiB between the first reading and the last."
            ),
            Picture(
                memory_over_time(slices),
                alt=f"Memory of the server's processes over time, peak {mebibytes(memory.resident_peak)}",
                caption="All the server's processes together; the warm-up lies left of zero.",
            ),
        ],
    )


def _server(result: Result) -> Section:
    assert result.server_time is not None
    table = _table(in_its_queue=result.server_time.queue_ms, computing=result.server_time.compute_ms)
    return Section("Where the server spent the time", [table])


def _client(result: Result) -> Section:
    client = result.client
    used = (
        f"It used {client.event_loop_share:.0%} of a core to send and receive ({client.cpu_cores:.2f} in all)"
    )
    text = f"{used}, over {client.connections} connections."
    blocks: list[Text | Table | Picture] = [Text(text)]
    if result.mode == "open":
        blocks.append(_table(late_to_send=client.send_lag_ms))
    return Section("This client", blocks)


def _table(**columns: Latency) -> Table:
    """Percentiles downwards, so that it fits a phone; one column for each latency."""
    header = ["ms", *(name.replace("_", " ") for name in columns)]
    rows = [
        [label, *(number(getattr(each, field)) for each in columns.values())]
        for label, field in FIGURES.items()
    ]
    counts = ["calls", *(f"{each.count:,}" for each in columns.values())]
    return Table(header=header, rows=[*rows, counts])
