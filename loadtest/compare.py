"""Several targets under the same load, one after the other in each round.

The machine's noise thus hits all of them alike.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from tablefold.client.protocols import PROTOCOLS
from tablefold.errors import UsageError
from tablefold.loadtest.figures import Figures
from tablefold.loadtest.generator.coordinator import ClientProcessDied
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.target import RunPosition, Target

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
    """A figure of a target over the first target's, round by round: geometric mean, 95 % t interval."""

    figure: str
    target: str
    ratio: float
    low: float
    high: float
    differs: bool
    """The interval does not hold 1."""


class Comparison(Figures):
    """All rounds and what they say together."""

    kind: Literal["comparison"] = "comparison"
    format: Literal[1] = 1
    command: str
    verdict: str
    valid: bool
    interrupted: bool
    broken_off: str | None
    """Why the comparison ended early, if not by a signal."""
    targets: list[str]
    medians: dict[str, list[float | None]]
    """By figure: the median of each target's rounds. Without memory where targets share a server."""
    ratios: list[Ratio]
    rounds: list[list[Result]]
    """Each round holds a run of each target, in the order of `targets`."""

    @property
    def runs_by_target(self) -> dict[str, list[Result]]:
        """Return the runs of each target."""
        return {name: [results[index] for results in self.rounds] for index, name in enumerate(self.targets)}

    def json_line(self) -> str:
        """Return every figure of every run as one line."""
        return self.model_dump_json()


def other_plan(plan: Plan, text: str) -> Plan:
    """Return the same plan for HOST:PORT/MODEL or HOST:PORT/MODEL@PROTOCOL. Raises UsageError."""
    server, slash, rest = text.partition("/")
    model, _, protocol = rest.partition("@")
    if not slash or not model or (protocol or plan.protocol) not in PROTOCOLS:
        raise UsageError(
            f"--versus {text!r}: give HOST:PORT/MODEL or HOST:PORT/MODEL@PROTOCOL ({', '.join(PROTOCOLS)})"
        )
    return replace(plan, server=server, model=model, protocol=protocol or plan.protocol)


def target_names(plans: Sequence[Plan]) -> list[str]:
    """Return for each plan the parts in which plans differ. Raises UsageError for the same plan twice."""
    parts = [(plan.model, plan.server, plan.protocol) for plan in plans]
    differing = [index for index in range(3) if len({part[index] for part in parts}) > 1] or [0]
    names = [" ".join(part[index] for index in differing) for part in parts]
    if len(set(names)) < len(names):
        raise UsageError("--versus names a target twice; comparing it with itself shows noise only")
    return names


async def compare(targets: Sequence[Target], plans: Sequence[Plan], repeats: int) -> Comparison:
    """Run `repeats` rounds of all targets, each starting with another target. Raises ClientProcessDied."""
    names = target_names(plans)
    rounds: list[list[Result]] = []
    broken_off = None
    try:
        await _run_rounds(rounds, targets, plans, repeats)
    except ClientProcessDied as error:
        if not rounds:
            raise
        broken_off = str(error)
    figures = dict(FIGURES)
    if len({plan.server for plan in plans}) < len(plans):
        del figures[MEMORY]
    ratios = []
    for index in range(1, len(targets)):
        for figure, value in figures.items():
            pairs = [(value(results[0]), value(results[index])) for results in rounds]
            if (ratio := _ratio(figure, names[index], pairs)) is not None:
                ratios.append(ratio)
    medians = {
        figure: [_median([value(results[index]) for results in rounds]) for index in range(len(targets))]
        for figure, value in figures.items()
    }
    return Comparison(
        command=_command(plans, repeats),
        verdict=_verdict(names, ratios, len(rounds), closed=plans[0].rate is None),
        valid=all(result.valid for results in rounds for result in results),
        interrupted=len(rounds) < repeats and broken_off is None,
        broken_off=broken_off,
        targets=names,
        medians=medians,
        ratios=ratios,
        rounds=rounds,
    )


async def _run_rounds(
    rounds: list[list[Result]], targets: Sequence[Target], plans: Sequence[Plan], repeats: int
) -> None:
    """Append the results of all whole rounds; a signal ends them early."""
    runs = repeats * len(targets)
    for number in range(repeats):
        results: dict[int, Result] = {}
        for offset in range(len(targets)):
            index, done = (offset + number) % len(targets), number * len(targets) + offset
            seconds = (runs - done) * plans[0].seconds
            position = RunPosition(done + 1, runs, seconds, exact=True)
            results[index] = await targets[index].run(plans[index], position)
            if results[index].interrupted:
                return
        rounds.append([results[index] for index in range(len(targets))])


def _command(plans: Sequence[Plan], repeats: int) -> str:
    first, *others = plans
    words = [*first.words, *first.load_words]
    for plan in others:
        words += ["--versus", f"{plan.server}/{plan.model}@{plan.protocol}"]
    return shlex.join([*words, "--repeats", str(repeats)])


def _ratio(figure: str, target: str, pairs: Sequence[tuple[float | None, float | None]]) -> Ratio | None:
    """Return the geometric mean, because ratios multiply; None unless two rounds have both figures."""
    from scipy.stats import t

    logs = np.log([other / first for first, other in pairs if first and other])
    if len(logs) < 2:
        return None
    half = t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    low, ratio, high = (float(np.exp(logs.mean() + offset)) for offset in (-half, 0.0, half))
    return Ratio(
        figure=figure, target=target, ratio=ratio, low=low, high=high, differs=not low <= 1.0 <= high
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _verdict(names: Sequence[str], ratios: Sequence[Ratio], rounds: int, *, closed: bool) -> str:
    """Compare rows/s in the closed loop, the tail where all get the same rate."""
    figure = "rows/s" if closed else "p99 (ms)"
    sentences = []
    for ratio in ratios:
        if ratio.figure == figure:
            interval = f"{ratio.low:.2f} to {ratio.high:,.2f}"
            comparison = f"{ratio.ratio:.2f} times the {figure} of {names[0]} ({interval})"
            doubt = "" if ratio.differs else ", which may be noise"
            sentences.append(f"{ratio.target} has {comparison}{doubt}.")
    if not sentences:
        return f"{rounds} whole rounds are too few to compare."
    return " ".join(sentences)
