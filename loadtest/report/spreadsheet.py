"""The figures as CSV: a line a run, a column a figure, named as in the JSON (`latency_ms.p99`).

Lists of the JSON (curves, slices of time) do not fit a cell and are left out.
"""

import csv
import io
from typing import Any

from tablefold.loadtest.compare import Comparison
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.sweep import Sweep

CsvRow = dict[str, Any]


def csv_text(report: Result | Sweep | Comparison) -> str:
    """Return a line for a run, for each step of a sweep, or for each target in each round of a comparison."""
    rows: list[CsvRow]
    if isinstance(report, Result):
        rows = [_flatten(report)]
    elif isinstance(report, Sweep):
        rows = [
            {"kept_up": failure is None, "failure": failure or ""} | _flatten(step)
            for step, failure in zip(report.steps, report.failures, strict=True)
        ]
    else:
        rows = [
            {"round": number, "target": target} | _flatten(result)
            for number, results in enumerate(report.rounds, start=1)
            for target, result in zip(report.targets, results, strict=True)
        ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _flatten(result: Result) -> CsvRow:
    row: CsvRow = {}

    def add(name: str, value: object) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                add(f"{name}.{key}" if name else key, item)
        elif not isinstance(value, list):
            row[name] = value

    add("", result.model_dump())
    return row
