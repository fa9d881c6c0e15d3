"""The figures as CSV: a line a run, a column a figure, named as in the JSON (`latency_ms.p99`).

Knows which figures fit a cell: what is a list in the JSON (curves, slices of time) stays there.
"""

import csv
import io
from typing import Any

from tablefold.loadtest.compare import Comparison
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.sweep import Sweep, held, kept_up

Row = dict[str, Any]


def csv_text(report: Result | Sweep | Comparison) -> str:
    """One line for a run, a step of a sweep, or a target in a round of a comparison."""
    rows: list[Row]
    if isinstance(report, Result):
        rows = [_flat(report)]
    elif isinstance(report, Sweep):
        rows = [
            {"kept_up": kept_up(step)} | ({"held": held(step)} if step.objectives else {}) | _flat(step)
            for step in report.steps
        ]
    else:
        rows = [
            {"round": number, "target": target} | _flat(result)
            for number, each in enumerate(report.rounds, start=1)
            for target, result in zip(report.targets, each, strict=True)
        ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _flat(result: Result) -> Row:
    row: Row = {}

    def put(name: str, value: object) -> None:
        if isinstance(value, dict):
            for key, each in value.items():
                put(f"{name}.{key}" if name else key, each)
        elif not isinstance(value, list):
            row[name] = value

    put("", result.model_dump())
    return row
