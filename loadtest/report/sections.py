"""Sections of a page about one run: what ran, its latency, its errors, and this client."""

from tablefold.loadtest.figures import Latency
from tablefold.loadtest.report.facts import client_words, facts
from tablefold.loadtest.report.formats import megabytes, number
from tablefold.loadtest.results.result import Result
from tablefold.report import Picture, Section, Table, Text
from tablefold.report.latency import latency_cdf, latency_percentiles
from tablefold.report.over_time import LatencySlice, MemorySlice, over_time

PERCENTILES = {
    "mean": "mean",
    "p50": "p50",
    "p90": "p90",
    "p95": "p95",
    "p99": "p99",
    "p99.9": "p999",
    "max": "max",
}
"""Label -> field of `Latency`."""


def run_section(result: Result) -> Section:
    """Describe what was run."""
    rows = [(name, value) for name, value in facts(result) if name in ("load", "calls/s", "rows/s", "cost")]
    rows += [
        ("model", f"{result.model}, version {_versions(result)}"),
        ("protocol", result.protocol),
        ("rows from", f"{result.data}; {result.distinct_requests:,} distinct requests, seed {result.seed}"),
        *([("context, given once a call", ", ".join(result.context))] if result.context else []),
        *([(slo.objective, "held" if slo.met else "not held") for slo in result.objectives]),
        ("warm-up", f"{result.warmup_seconds:g} s of the same load, not measured"),
    ]
    return Section("What ran", [Table(header=(), rows=rows, figures=False)])


def _versions(result: Result) -> str:
    """Return which versions answered, and when if there were several."""
    if len(result.answered_by) < 2:
        return result.model_version or "unknown"
    return "; ".join(
        f"{span.version} ({span.calls:,} calls, {span.first_second:.1f} to {span.last_second:.1f} s)"
        for span in result.answered_by
    )


def latency_section(result: Result) -> Section:
    """Show the latency: percentiles, rule of measuring, distribution."""
    if result.mode == "open":
        rule = (
            "Latency counts from when a call was due, even if it left late: a stall counts for every call it "
            "held up."
        )
    else:
        rule = (
            "Latency counts from when a call was sent. Callers wait for their replies, so a slow server gets "
            "fewer calls: use --rate to see its tail at a given load."
        )
    errors = "Calls that ran into their deadline count in full; other errors are not timed."
    columns = {"from when due": result.latency_ms}
    if result.mode == "open":
        columns["from when sent"] = result.latency_from_send_ms
    return Section(
        "Latency",
        [
            percentile_table(columns),
            Text(f"{rule} {errors}"),
            Picture(
                latency_percentiles(result.latency_curve),
                alt=f"Latency by percentile, p50 {number(result.latency_ms.p50)} ms, "
                f"p99 {number(result.latency_ms.p99)} ms",
                caption="Each step to the right leaves a tenth of the calls.",
            ),
            Picture(
                latency_cdf({result.model: result.latency_curve}),
                alt="Cumulative distribution of the latency",
                caption="The share of calls that were answered within a time.",
            ),
        ],
    )


def over_time_section(result: Result) -> Section:
    """Show latency and memory over the run."""
    latency = [
        LatencySlice(point.second, point.p50, point.p99, point.max) for point in result.latency_over_time
    ]
    memory = [
        MemorySlice(
            point.second,
            point.resident,
            point.proportional,
            point.anonymous,
            point.file_backed,
            point.gpu,
        )
        for point in result.memory_over_time
    ]
    alt = f"p50, p99 and maximum latency in {len(latency)} slices of {result.seconds:g} seconds"
    caption = "By when the calls were due; 0 is the end of the warm-up."
    if memory:
        peak = megabytes(result.server_memory_bytes.resident_peak)
        alt += f"; memory of the server's processes, peak {peak}"
        caption += " Memory is that of all the server's processes together; the warm-up lies left of 0."
    return Section("Over time", [Picture(over_time(latency, memory), alt=alt, caption=caption)])


def errors_section(result: Result) -> Section:
    """Show the errors by code."""
    if not result.errors:
        return Section("Errors", [Text(f"None of {result.calls.due:,} calls failed.")])
    due = max(1, result.calls.due)
    rows = [(code, f"{count:,}", f"{count / due:.2%}") for code, count in result.errors.items()]
    examples = [Text(f"{code}, for example: {words}") for code, words in result.problems.items() if words]
    return Section("Errors", [Table(header=("code", "calls", "of all due"), rows=rows), *examples])


def drift_section(result: Result) -> Section:
    """Show how figures moved over a long run."""
    rows = [
        (
            trend.figure,
            number(trend.first),
            number(trend.last),
            f"{trend.change:+.1%}",
            f"{trend.change_low:+.1%} to {trend.change_high:+.1%}",
            "yes" if trend.drifts else "no",
        )
        for trend in result.trends
    ]
    header = ("", "at the start", "at the end", "change", "95 % interval", "drift")
    return Section("Drift", [Table(header, rows, caption="A straight line through the slices (Theil-Sen).")])


def client_section(result: Result) -> Section:
    """Show what this client used, and how late it sent."""
    client = result.client
    text = (
        f"{client_words(result)}; {client.cpu_cores:.2f} cores in all, {client.connections} connections each."
    )
    blocks: list[Text | Table | Picture] = [Text(text)]
    if result.mode == "open":
        blocks.append(percentile_table({"send lag": client.send_lag_ms}))
    return Section("This client", blocks)


def percentile_table(columns: dict[str, Latency]) -> Table:
    """Return a table with percentiles downwards, so that it fits a phone, and a column for each latency."""
    rows = [
        [label, *(number(getattr(latency, field)) for latency in columns.values())]
        for label, field in PERCENTILES.items()
    ]
    counts = ["calls", *(f"{latency.count:,}" for latency in columns.values())]
    return Table(header=["ms", *columns], rows=[*rows, counts])
