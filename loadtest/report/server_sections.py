"""Sections of a page about the server: its time, its memory, and the size and quality of its models."""

from tablefold.loadtest.figures import Bundle
from tablefold.loadtest.report.facts import memory_words
from tablefold.loadtest.report.formats import megabytes, number
from tablefold.loadtest.report.sections import PERCENTILES, percentile_table
from tablefold.loadtest.results.result import Result
from tablefold.report import Picture, Section, Table, Text
from tablefold.report.latency import time_split
from tablefold.report.quality import QualityPoint, auc_per_byte, size


def server_section(result: Result) -> Section:
    """Show queue and compute time, batches and processor time, as far as they are known."""
    blocks: list[Text | Table | Picture] = []
    if (server_time := result.server_time) is not None:
        columns = {"queue": server_time.queue_ms, "compute": server_time.compute_ms}
        split = {
            label: {name: getattr(latency, field) for name, latency in columns.items()}
            for label, field in PERCENTILES.items()
            if label in ("p50", "p90", "p99")
        }
        blocks += [
            Picture(
                time_split(split),
                alt="Milliseconds in the queue and computing, at p50, p90 and p99",
                caption="Each part's own percentile; the rest of the latency is wire and client.",
            ),
            percentile_table(columns),
        ]
    else:
        blocks.append(Text("The protocol does not tell how long calls waited and how long they computed."))
    if (batches := result.batches) is not None:
        rows = [
            ("batches", f"{batches.batches:,}"),
            ("rows", f"{batches.rows:,}"),
            ("rows a batch", number(batches.mean_rows, digits=1)),
            ("requests a batch", number(batches.mean_rows / result.rows_per_call)),
            ("in the queue, mean ms", number(batches.queue_ms_mean)),
            ("computing, mean ms", number(batches.compute_ms_mean)),
        ]
        blocks.append(Table((), rows, caption="As the server counted, warm-up included."))
    else:
        blocks.append(Text("The server does not report its batch sizes."))
    if (cpu := result.server_cpu) is not None:
        words = f"The server's processes used {cpu.cores:.2f} cores"
        blocks.append(Text(f"{words}, {number(cpu.microseconds_per_row)} us a row."))
    return Section("Where the server spent the time", blocks)


def memory_section(result: Result) -> Section:
    """Show the server's memory, beside what the server itself reports."""
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
        header = ("", "kernel (gpu: its driver)", "server", "difference")
        blocks.append(Table(header, rows, caption="At the end of the run: what the server says of itself."))
    return Section("Memory of the server", blocks)


def quality_section(bundles: dict[str, Bundle | None]) -> Section:
    """Show bytes by part and AUC of each model that is known; with a picture where there are several."""
    known = {name: bundle for name, bundle in bundles.items() if bundle is not None}
    parts = list(next(iter(known.values())).parts)
    rows = [
        (part.replace("_", " "), *(size(bundle.parts[part]) for bundle in known.values())) for part in parts
    ]
    rows += [
        ("total", *(size(bundle.total) for bundle in known.values())),
        ("full fp32 table", *(size(bundle.baseline_fp32) for bundle in known.values())),
        ("AUC", *(number(bundle.auc, digits=4) for bundle in known.values())),
    ]
    points = [
        QualityPoint(name, bundle.total, bundle.auc)
        for name, bundle in known.items()
        if bundle.auc is not None
    ]
    blocks: list[Text | Table | Picture] = [
        Table(header=("", *known), rows=rows, caption="As the bundle's manifest says.")
    ]
    if len({point.bytes for point in points}) > 1:
        alt = ", ".join(f"{point.method}: {size(point.bytes)}, AUC {point.auc:.4f}" for point in points)
        blocks.append(
            Picture(auc_per_byte(points), alt=alt, caption="Every array counts; up and left is better.")
        )
    return Section("AUC per byte", blocks)
