"""The parts of a page about one run, each a section.

Knows what a load test's reader looks for. Does not know HTML (`tablefold.report`).
"""

from collections.abc import Sequence

from tablefold.loadtest.figures import Bundle, Latency
from tablefold.loadtest.report.terminal import client_words, facts, megabytes, memory_words, number
from tablefold.loadtest.results.result import Result
from tablefold.report import Picture, Section, Table, Text
from tablefold.report.charts import QualityPoint, auc_per_byte, size
from tablefold.report.latency import latency_cdf, latency_percentiles, time_split
from tablefold.report.over_time import LatencySlice, MemorySlice, over_time

FIGURES = {
    "mean": "mean",
    "p50": "p50",
    "p90": "p90",
    "p95": "p95",
    "p99": "p99",
    "p99.9": "p999",
    "max": "max",
}


def of_run(result: Result) -> list[Section]:
    """Everything there is to say about a run, but for what ran."""
    return [
        _latency(result),
        _over_time(result),
        _server(result),
        _errors(result),
        _memory(result),
        *([_trends(result)] if result.trends else []),
        *([quality({result.model: result.bundle})] if result.bundle is not None else []),
        _client(result),
    ]


def ran(result: Result) -> Section:
    """What was run, in words."""
    rows = [(name, value) for name, value in facts(result) if name in ("load", "calls/s", "rows/s", "cost")]
    rows += [
        ("model", f"{result.model}, version {result.model_version or 'not told'}"),
        ("protocol", result.protocol),
        ("rows from", f"{result.data}; {result.distinct_requests:,} distinct requests, seed {result.seed}"),
        *([("given once a call", ", ".join(result.context))] if result.context else []),
        *([(held.objective, "held" if held.met else "not held") for held in result.objectives]),
        ("warm-up", f"{result.warmup_seconds:g} s of the same load, not measured"),
    ]
    return Section("What ran", [Table(header=(), rows=rows, figures=False)])


def quality(bundles: dict[str, Bundle | None]) -> Section:
    """Bytes by part and AUC of each model that tells; a picture where there are several."""
    told = {name: bundle for name, bundle in bundles.items() if bundle is not None}
    parts = list(next(iter(told.values())).parts)
    rows = [
        (part.replace("_", " "), *(size(bundle.parts[part]) for bundle in told.values())) for part in parts
    ]
    rows += [
        ("total", *(size(bundle.total) for bundle in told.values())),
        ("full fp32 table", *(size(bundle.baseline_fp32) for bundle in told.values())),
        ("AUC", *(number(bundle.auc, digits=4) for bundle in told.values())),
    ]
    points = [
        QualityPoint(name, bundle.total, bundle.auc)
        for name, bundle in told.items()
        if bundle.auc is not None
    ]
    blocks: list[Text | Table | Picture] = [
        Table(header=("", *told), rows=rows, caption="As the bundle's manifest says.")
    ]
    if len({point.bytes for point in points}) > 1:
        alt = ", ".join(f"{point.method}: {size(point.bytes)}, AUC {point.auc:.4f}" for point in points)
        blocks.append(
            Picture(auc_per_byte(points), alt=alt, caption="Every array counts; up and left is better.")
        )
    return Section("AUC per byte", blocks)


def _latency(result: Result) -> Section:
    if result.mode == "open":
        rule = "from when a call was due, even if it left late: a stall counts for every call it held up"
    else:
        rule = (
            "from when a call was sent; callers wait for their replies, so a slow server is asked less: "
            "use --rate to see its tail at a given load"
        )
    errors = "Calls that ran into their deadline count in full; other errors are not timed."
    columns = {"from when due": result.latency_ms}
    if result.mode == "open":
        columns["from when sent"] = result.latency_from_send_ms
    return Section(
        "Latency",
        [
            _table(columns),
            Text(f"Latency counts {rule}. {errors}"),
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


def _over_time(result: Result) -> Section:
    latency = [LatencySlice(each.second, each.p50, each.p99, each.max) for each in result.latency_over_time]
    memory = [
        MemorySlice(each.second, each.resident, each.proportional, each.anonymous, each.file_backed, each.gpu)
        for each in result.memory_over_time
    ]
    alt = f"p50, p99 and maximum latency in {len(latency)} slices of {result.seconds:g} seconds"
    caption = "By the moment the calls were due, from the end of the warm-up."
    if memory:
        alt += (
            f"; memory of the server's processes, peak {megabytes(result.server_memory_bytes.resident_peak)}"
        )
        caption += " Memory is that of all the server's processes together; the warm-up lies left of zero."
    return Section("Over time", [Picture(over_time(latency, memory), alt=alt, caption=caption)])


def _errors(result: Result) -> Section:
    if not result.errors:
        return Section("Errors", [Text(f"None of {result.calls.due:,} calls failed.")])
    due = max(1, result.calls.due)
    rows = [(code, f"{count:,}", f"{count / due:.2%}") for code, count in result.errors.items()]
    return Section("Errors", [Table(header=("code", "calls", "of all due"), rows=rows)])


def _memory(result: Result) -> Section:
    memory = result.server_memory_bytes
    if memory.source is None:
        return Section("Memory of the server", [Text(f"It is {memory_words(result)}.")])
    growth = (memory.resident_last or 0) - (memory.resident_first or 0)
    blocks: list[Text | Table | Picture] = [
        Text(f"{memory_words(result)}; {growth / 1e6:+,.1f} MB between the first reading and the last.")
    ]
    if memory.checks:
        rows = [
            (
                check.part.replace("_", "-"),
                megabytes(check.kernel),
                megabytes(check.server),
                f"{check.difference_percent:+.1f} %",
            )
            for check in memory.checks
        ]
        header = ("", "kernel", "server", "difference")
        blocks.append(Table(header, rows, caption="At the end of the run: what the server says of itself."))
    return Section("Memory of the server", blocks)


def _server(result: Result) -> Section:
    """Queue and compute, batches, processor time: as far as the server tells or can be watched."""
    blocks: list[Text | Table | Picture] = []
    if (told := result.server_time) is not None:
        columns = {"queue": told.queue_ms, "compute": told.compute_ms}
        split = {
            label: {name: getattr(each, field) for name, each in columns.items()}
            for label, field in FIGURES.items()
            if label in ("p50", "p90", "p99")
        }
        blocks += [
            Picture(
                time_split(split),
                alt="Milliseconds in the queue and computing, at p50, p90 and p99",
                caption="Each part's own percentile; the rest of the latency is wire and client.",
            ),
            _table(columns),
        ]
    else:
        blocks.append(Text("The protocol does not tell how long calls waited and how long they computed."))
    if (counted := result.batches) is not None:
        rows = [
            ("batches", f"{counted.batches:,}"),
            ("rows", f"{counted.rows:,}"),
            ("rows a batch", number(counted.mean_rows, digits=1)),
            ("requests a batch", number(counted.mean_rows / result.rows_per_call)),
            ("in the queue, mean ms", number(counted.queue_ms_mean)),
            ("computing, mean ms", number(counted.compute_ms_mean)),
        ]
        blocks.append(Table((), rows, caption="As the server counted, warm-up included."))
    else:
        blocks.append(Text("The server does not tell its batch sizes."))
    if (cpu := result.server_cpu) is not None:
        words = f"Its processes used {cpu.cores:.2f} cores, {number(cpu.microseconds_per_row)} us a row."
        blocks.append(Text(words))
    return Section("Where the server spent the time", blocks)


def _trends(result: Result) -> Section:
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


def _client(result: Result) -> Section:
    client = result.client
    text = (
        f"{client_words(result)}; {client.cpu_cores:.2f} cores in all, {client.connections} connections each."
    )
    blocks: list[Text | Table | Picture] = [Text(text)]
    if result.mode == "open":
        blocks.append(_table({"late to send": client.send_lag_ms}))
    return Section("This client", blocks)


def _table(columns: dict[str, Latency], labels: Sequence[str] = tuple(FIGURES)) -> Table:
    """Percentiles downwards, so that it fits a phone; one column for each latency."""
    rows = [
        [label, *(number(getattr(each, FIGURES[label])) for each in columns.values())] for label in labels
    ]
    counts = ["calls", *(f"{each.count:,}" for each in columns.values())]
    return Table(header=["ms", *columns], rows=[*rows, counts])
