"""What one flood got and cost, and the bars it is judged by."""

from collections import Counter
from dataclasses import dataclass

from bench.serving.floods.observed import Waits

LONGER_MS, ABOVE_BUDGET = 100, 200e6
ODD = {"CANCELLED", "INTERNAL", "UNKNOWN"}
COLUMNS = ("flood", "passed", "attacker", "p99_ms", "longest_ms", "lost", "above_idle_mb", "back_s", "killed")


@dataclass(frozen=True)
class Measured:
    """One flood."""

    name: str
    ended: Counter[str]
    before: Waits
    during: Waits
    after: Waits
    above_idle: int
    back_seconds: float
    killed: int

    def failures(self, budget: int) -> list[str]:
        """The bars that it does not reach."""
        bars = {
            "waits": self.during.longest - self.before.longest <= LONGER_MS,
            "lost": not self.during.lost and not self.after.lost,
            "memory": self.above_idle <= budget + ABOVE_BUDGET,
            "back": self.back_seconds < float("inf"),
            "killed": not self.killed,
            "statuses": not ODD & set(self.ended),
        }
        return [bar for bar, reached in bars.items() if not reached]

    def row(self, budget: int) -> dict[str, str]:
        """For the table."""
        spans = (self.before, self.during, self.after)
        lost = self.during.lost + self.after.lost
        cells = (
            self.name,
            ", ".join(self.failures(budget)) or "yes",
            counted(self.ended),
            " / ".join(f"{span.p99:.0f}" for span in spans),
            " / ".join(f"{span.longest:.0f}" for span in spans),
            counted(lost) or "-",
            f"{self.above_idle / 1e6:.0f}",
            f"{self.back_seconds:.0f}",
            str(self.killed),
        )
        return dict(zip(COLUMNS, cells, strict=True))


def counted(endings: Counter[str]) -> str:
    """Such as `OK 12, CANCELLED 3`."""
    return ", ".join(f"{name} {count}" for name, count in endings.most_common() if count)
