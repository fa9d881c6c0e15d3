"""The whole path in a few minutes: train, export, serve, score through gRPC, load-test; then shrink the full
model and do the same. Two tables, one sentence, one page.

Runs the very commands of the README, one after the other, on a log it generates or on yours:

    python examples/demo.py [--data synthetic:200000] [--out demo-out]
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tablefold import report
from tablefold.errors import UsageError
from tablefold.logs.formats.synthetic import bayes_auc, generate_with_probability
from tablefold.report.quality import QualityPoint, auc_per_byte

LOAD_SECONDS = 4
ROWS_A_CALL = 270
MEGABYTE = 1e6
QUICK = ("--epochs", 1, "--l2", 0, "--embedding-lr", 0.01, "--first-stage-l2", 0.01)
"""Settings of `train` for which it would make trials: a demo is short."""
MAX_AUC_LOSS, SHRINK_MINUTES = 0.001, 1
SMALLEST = "smallest"
MAX_LOGLOSS_INCREASE = 0.01
"""Ten times what `export` allows by itself: a log of a few thousand rows is a coarse judge."""


@dataclass(frozen=True)
class Contender:
    """A method, how its rows are stored, how its ids are looked up, and what its network computes in."""

    method: str
    row_type: str = "fp32"
    lookup: str = "exact"
    network_type: str = "fp32"

    @property
    def title(self) -> str:
        """For people."""
        compact = " compact" if self.lookup == "compact" else ""
        network = f" {self.network_type}-net" if self.network_type != "fp32" else ""
        return f"{self.method} {self.row_type}{compact}{network}"

    @property
    def name(self) -> str:
        """As a model of the repository."""
        return self.title.replace("+", "-").replace(" ", "-")


CONTENDERS = (
    Contender("full"),
    Contender("hash"),
    Contender("mlet"),
    Contender("lhf"),
    Contender("lhf+mlet", "int8"),
    Contender("lhf+mlet", "int4", "compact", "int8"),
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the commands printed about one model."""

    title: str
    footprint: dict[str, Any]
    scores: dict[str, Any]
    load: dict[str, Any]


def demo(
    data: Annotated[str, typer.Option(help="What `tablefold train --data` takes.")] = "synthetic:200000",
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("demo-out"),
) -> None:
    """Compare six ways to hold the embedding tables, each trained, exported, served and load-tested; then
    find the smallest model that is as good as the full one."""
    console, started = Console(width=None if sys.stdout.isatty() else 130, emoji=False), time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for contender in CONTENDERS:
        console.rule(contender.title)
        outcomes.append(run_one(contender, data, out))
    console.rule("the smallest that is as good as the full model")
    smallest = run_smallest(data, out)
    best = best_auc(data)
    console.print()
    console.print(table(outcomes, data))
    console.print(table([outcomes[0], smallest], data))
    if best is not None:
        console.print(f"No model can do better on these rows than AUC {best:.4f}, that of their true odds.")
    console.print(sentence(outcomes[0], smallest))
    page = out / "report.html"
    html_page(outcomes, smallest, data, best).write(page)
    console.print(
        f"Report with the AUC-per-byte picture: {page}   ({time.monotonic() - started:.0f} s in all)"
    )


def run_one(contender: Contender, data: str, out: Path) -> Outcome:
    """Train, export, serve, score and load one contender."""
    checkpoint, repository = out / "checkpoints" / contender.method, out / "repositories" / contender.name
    if contender.lookup == "exact":  # the compact one is another export of the same checkpoint
        tablefold("train", "--data", data, "--method", contender.method, *QUICK, "--out", checkpoint)
    version = 1 + max((int(p.name) for p in (repository / contender.name).glob("[0-9]*")), default=0)
    tablefold(
        "export", checkpoint, "--repository", repository, "--name", contender.name,
        "--version", version, "--row-type", contender.row_type, "--lookup", contender.lookup,
        "--network-type", contender.network_type, "--max-logloss-increase", MAX_LOGLOSS_INCREASE,
    )  # fmt: skip
    return measure(contender.title, repository, contender.name, version, data, out)


def run_smallest(data: str, out: Path) -> Outcome:
    """Shrink the full model, as far as validation examples allow, and measure what is left of it."""
    repository, name = out / "repositories" / SMALLEST, SMALLEST
    before = {int(path.name) for path in (repository / name).glob("[0-9]*")}
    tablefold(
        "shrink", out / "checkpoints" / "full", "--fine-tune", "--max-auc-loss", MAX_AUC_LOSS,
        "--minutes", SHRINK_MINUTES, "--repository", repository, "--name", name,
        "--json", out / "shrink.json", "--html", out / "shrink.html",
    )  # fmt: skip
    (version,) = {int(path.name) for path in (repository / name).glob("[0-9]*")} - before
    return measure(SMALLEST, repository, name, version, data, out)


def measure(title: str, repository: Path, name: str, version: int, data: str, out: Path) -> Outcome:
    """Serve a model of a repository, score held-out rows through gRPC, and load it."""
    footprint = tablefold("footprint", repository / name / str(version), "--json", capture=True)
    with server(repository) as address:
        model = ("--server", address, "--model", name, "--data", data)
        scores = tablefold("predict", *model, "--json", capture=True)
        figures = out / f"load-{name}.json"
        tablefold(
            "loadtest", *model, "--rows", ROWS_A_CALL, "--duration", LOAD_SECONDS, "--warmup", 1,
            "--json", figures, "--html", out / f"load-{name}.html",
        )  # fmt: skip
    return Outcome(
        title=title,
        footprint=json.loads(footprint),
        scores=json.loads(scores),
        load=json.loads(figures.read_text()),
    )


def sentence(full: Outcome, smallest: Outcome) -> str:
    """What all this is for."""
    return (
        f"As good as the full model within {MAX_AUC_LOSS:g} AUC on validation rows (held-out rows: "
        f"{decimals(smallest.scores['auc'])} for {decimals(full.scores['auc'])}), "
        f"{full.footprint['total'] / smallest.footprint['total']:.1f} times smaller, everything counted, "
        f"{1e6 / smallest.load['rows_per_second']:.1f} us a row."
    )


def tablefold(*arguments: object, capture: bool = False) -> str:
    """Run the command as a user would; its output if `capture`. Raises UsageError when it fails."""
    command = [sys.executable, "-m", "tablefold", *map(str, arguments)]
    if not capture:
        print("$ tablefold", *arguments, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE if capture else None, text=True, check=False)
    if done.returncode:
        raise UsageError(f"`tablefold {arguments[0]}` failed with exit code {done.returncode}")
    return done.stdout or ""


@contextmanager
def server(repository: Path) -> Iterator[str]:
    """A real server of a repository on a free port; gives its address, drains it at the end."""
    command = [sys.executable, "-m", "tablefold", "serve", "--repository", str(repository)]
    with subprocess.Popen(
        [*command, "--port", "0", "--http-port", "0"], stdout=subprocess.PIPE, text=True
    ) as p:
        try:
            assert p.stdout is not None
            ready = p.stdout.readline()
            if not ready:
                raise UsageError("the server did not become ready; its log above says why")
            print(ready, end="", flush=True)
            yield ready.split(" on ")[1].split()[0]
        finally:
            p.terminate()
            p.wait()


def best_auc(data: str) -> float | None:
    """The AUC of the true probabilities of a generated log's test rows; None for a real log."""
    kind, _, rows = data.partition(":")
    if kind != "synthetic":
        return None
    _, probability = generate_with_probability(int(rows))
    return bayes_auc(probability[-round(len(probability) * 0.1) :])


def megabytes(value: float | None) -> str:
    """Bytes in millions."""
    return "unknown" if value is None else f"{value / MEGABYTE:.2f}"


def decimals(value: float | None) -> str:
    """Four decimals, or a dash."""
    return "-" if value is None else f"{value:.4f}"


def times_smaller(outcome: Outcome, *, uncounted: int) -> str:
    """The bare uncompressed table over what the model holds."""
    return f"{outcome.footprint['baseline_fp32'] / (outcome.footprint['total'] - uncounted):.2f}x"


PARTS = {
    "tables": "tables, MB", "scales": "scales, MB", "row_maps": "row maps, MB",
    "vocabulary": "vocabulary, MB", "network": "network, MB",
}  # fmt: skip
FIGURES: dict[str, Callable[[Outcome], str]] = {
    **{
        title: lambda outcome, part=part: megabytes(outcome.footprint["parts"][part])
        for part, title in PARTS.items()
    },
    "total, MB": lambda outcome: megabytes(outcome.footprint["total"]),
    "full fp32 table / total": lambda outcome: times_smaller(outcome, uncounted=0),
    "the same without the network": lambda outcome: times_smaller(
        outcome, uncounted=outcome.footprint["parts"]["network"]
    ),
    "AUC": lambda outcome: decimals(outcome.scores["auc"]),
    "logloss": lambda outcome: decimals(outcome.scores["logloss"]),
    "p50 / p99, ms": lambda outcome: (
        f"{outcome.load['latency_ms']['p50']:.1f} / {outcome.load['latency_ms']['p99']:.1f}"
    ),
    "rows/s": lambda outcome: f"{outcome.load['rows_per_second']:,.0f}",
    "resident memory, MB": lambda outcome: megabytes(outcome.load["server_memory_bytes"]["resident_peak"]),
}


def cells(outcomes: list[Outcome]) -> tuple[list[str], list[list[str]]]:
    """A header of methods and a row for each figure."""
    header = ["", *(o.title for o in outcomes)]
    return header, [[title, *map(figure, outcomes)] for title, figure in FIGURES.items()]


def table(outcomes: list[Outcome], data: str) -> Table:
    """The one table, a column a method."""
    header, rows = cells(outcomes)
    shown = Table(title=f"{data}: {outcomes[0].scores['rows']:,} held-out rows scored through gRPC")
    for index, column in enumerate(header):
        shown.add_column(column, justify="right" if index else "left")
    for row in rows:
        shown.add_row(*row)
    return shown


def html_page(outcomes: list[Outcome], smallest: Outcome, data: str, best: float | None) -> report.Page:
    """The same figures as a page, with the picture."""
    every = [*outcomes, smallest]
    header, rows = cells(every)
    points = [
        QualityPoint(o.title, o.footprint["total"], o.scores["auc"])
        for o in every
        if o.scores["auc"] is not None
    ]
    ceiling = "" if best is None else f" No model can exceed AUC {best:.4f} on these rows."
    return report.Page(
        title=f"Quality per byte on {data}",
        verdict=sentence(outcomes[0], smallest) + ceiling,
        sections=[
            report.Section(
                "AUC per byte",
                [
                    report.Picture(
                        auc_per_byte(points),
                        alt="AUC of each method over the bytes of its whole model",
                        caption="Every array is counted: rows, scales, row maps, dictionary and network.",
                    )
                ],
            ),
            report.Section("All figures", [report.Table(header, rows)]),
        ],
        repeat=f"make demo DATA={data}",
    )


if __name__ == "__main__":
    try:
        typer.run(demo)
    except UsageError as error:
        sys.exit(f"error: {error}")
