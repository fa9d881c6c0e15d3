"""What is asked for: so little lost, or so few bytes."""

from dataclasses import dataclass
from typing import Self

from tablefold.errors import TablefoldError, UsageError
from tablefold.options import parse_bytes
from tablefold.study.shrink.recipe import Tried
from tablefold.study.shrink.search import Search

MAX_AUC_LOSS = 0.001


@dataclass(frozen=True)
class Goal:
    """The smallest model that loses at most `limit`, or the best one in `most_bytes`."""

    limit: float
    """Of AUC and of logloss, at 95 %."""
    most_bytes: int | None

    @classmethod
    def of(cls, max_auc_loss: float | None, max_bytes: str | None) -> Self:
        """Return what the options say. Raises UsageError."""
        if max_auc_loss is not None and max_bytes is not None:
            raise UsageError("give --max-auc-loss or --max-bytes, not both")
        limit = MAX_AUC_LOSS if max_auc_loss is None else max_auc_loss
        if not 0 <= limit <= 1:
            raise UsageError(f"--max-auc-loss {limit}: give a number from 0 to 1")
        return cls(limit, None if max_bytes is None else parse_bytes(max_bytes, "--max-bytes"))

    def __str__(self) -> str:
        if self.most_bytes is None:
            return f"at most {self.limit:g} AUC lost at 95 %"
        return f"at most {self.most_bytes:,} bytes"

    def choose(self, search: Search) -> Tried:
        """Search, and return the model to write. Raises TablefoldError where none has so few bytes."""
        if self.most_bytes is None:
            return search.smallest(self.limit)
        best = search.best_within(self.most_bytes, self.limit)
        if best is None:
            sizes = [tried.parts.total for tried in search.tried.values() if tried.failed is None]
            raise TablefoldError(
                f"no model within {self.most_bytes:,} bytes was found; the smallest takes {min(sizes):,}: "
                "allow more with --max-bytes, or more --minutes"
            )
        return best
