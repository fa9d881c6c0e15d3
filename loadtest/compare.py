"""Several targets under the same load, in turns, so that the machine's noise hits all alike.

Knows repeats, ratios and their confidence intervals. Does not know what the targets are.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from tablefold.client.protocols import PROTOCOLS
from tablefold.errors import UsageError
from tablefold.loadtest.figures import Figures
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.target import Target

CONFIDENCE = 0.95
MEMORY = "peak resident memory (MB)"
FIGURES: dict[str, Callable[[Result], float | None]] = {
    "rows/s": lambda result: result.rows_per_second,
    "p50 (ms)": lambda result: result.latency_ms.p50,
    "p99 (ms)": lambda result: result.latency_ms.p99,
    "server CPU (us a row)": lambda result: (
        None if result.server_cpu is None else result.server_cpu.microseconds_per_row
    ),
    MEMORY: lambda result: (
        None
        if result.server_memory_bytes.resident_peak is None
        else result.server_memory_bytes.resident_peak / 1e6
    ),
}


class Ratio(Figures):
    """A figure of a target over the first target's, round by round: geometric mean, 95 % interval (t)."""

    figure: str
    target: str
    ratio: float
    low: float
    high: float
    differs: bool
    """1 lies outside the interval."""


class Comparison(Figures):
    """All rounds and what they say together."""

    kind: Literal["comparison"] = "comparison"
    format: Literal[1] = 1
    command: str
    verdict: str
    valid: bool
    interrupted: bool
    targets: list[str]
    medians: dict[str, list[float | None]]
    """By figure: the median of each target's rounds. Without memory where targets share a server, which holds
    the models of all."""
    ratios: list[Ratio]
    rounds: list[list[Result]]
    """Each round holds a run of each target, in the order of `targets`."""

    def json_line(self) -> str:
        """Every figure of every run, on one line."""
        return self.model_dump_json()


def versus(plan: Plan, text: str) -> Plan:
    """The same plan for HOST:PORT/MODEL or HOST:PORT/MODEL@PROTOCOL. Raises UsageError."""
    server, slash, rest = text.partition("/")
    model, _, protocol = rest.partition("@")
    if not slash or not model or (protocol or plan.protocol) not in PROTOCOLS:
        raise UsageError(
            f"--versus {text!r}: give HOST:PORT/MODEL or HOST:PORT/MODEL@PROTOCOL ({', '.join(PROTOCOLS)})"
        )
    return replace(plan, server=server, model=model, protocol=protocol or plan.protocol)


def names(plans: Sequence[Plan]) -> list[str]:
    """What tells the targets apart."""
    parts = [(plan.model, plan.server, plan.protocol) for plan in plans]
    telling = [index for index in range(3) if len({part[index] for part in parts}) > 1] or [0]
    told = [" ".join(part[index] for index in telling) for part in parts]
    if len(set(told)) < len(told):
        raise UsageError("--versus names a target twice; comparing it with itself shows noise only")
    return told


async def compare(targets: Sequence[Target], plans: Sequence[Plan], repeats: int) -> Comparison:
    """`repeats` rounds of all targets, each round beginning with another. Raises WorkerDied."""
    called = names(plans)
    rounds: list[list[Result]] = []
    for number in range(repeats):
        done: dict[int, Result] = {}
        for turn in range(len(targets)):
            index = (turn + number) % len(targets)
            done[index] = await targets[index].run(plans[index])
            if done[index].interrupted:
                break
        else:
            rounds.append([done[index] for index in range(len(targets))])
            continue
        break
    figures = dict(FIGURES)
    if len({plan.server for plan in plans}) < len(plans):
        del figures[MEMORY]
    ratios = [
        ratio
        for index in range(1, len(targets))
        for figure, of in figures.items()
        if (ratio := _ratio(figure, called[index], [(of(each[0]), of(each[index])) for each in rounds]))
    ]
    medians = {
        figure: [_median([of(each[index]) for each in rounds]) for index in range(len(targets))]
        for figure, of in figures.items()
    }
    words = [*plans[0].words, *(["--rate", f"{plans[0].rate:g}"] if plans[0].rate is not None else [])]
    words += ["--concurrency", str(plans[0].concurrency)] if plans[0].concurrency is not None else []
    for plan in plans[1:]:
        words += ["--versus", f"{plan.server}/{plan.model}@{plan.protocol}"]
    return Comparison(
        command=shlex.join([*words, "--repeats", str(repeats)]),
        verdict=_verdict(called, ratios, len(rounds), closed=plans[0].rate is None),
        valid=all(result.valid for each in rounds for result in each),
        interrupted=len(rounds) < repeats,
        targets=called,
        medians=medians,
        ratios=ratios,
        rounds=rounds,
    )


def _ratio(figure: str, target: str, pairs: Sequence[tuple[float | None, float | None]]) -> Ratio | None:
    """Of the logarithms, because ratios multiply; None unless two rounds have both figures."""
    from scipy.stats import t

    logs = np.log([theirs / first for first, theirs in pairs if first and theirs])
    if len(logs) < 2:
        return None
    half = t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    low, ratio, high = (float(np.exp(logs.mean() + each)) for each in (-half, 0.0, half))
    return Ratio(
        figure=figure, target=target, ratio=ratio, low=low, high=high, differs=not low <= 1.0 <= high
    )


def _median(values: Sequence[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return float(np.median(told)) if told else None


def _verdict(called: Sequence[str], ratios: Sequence[Ratio], rounds: int, *, closed: bool) -> str:
    """By rows/s in the closed loop, by the tail where all are asked the same."""
    figure = "rows/s" if closed else "p99 (ms)"
    sentences = []
    for ratio in ratios:
        if ratio.figure == figure:
            interval = f"{ratio.low:.2f} to {ratio.high:,.2f}"
            told = f"{ratio.ratio:.2f} times the {figure} of {called[0]} ({interval})"
            doubt = "" if ratio.differs else ", which is not told apart from the same"
            sentences.append(f"{ratio.target} has {told}{doubt}.")
    if not sentences:
        return f"{rounds} whole rounds are too few to compare."
    return " ".join(sentences)
