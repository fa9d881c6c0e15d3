"""The engine: the seam between the queue and the library that computes."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class Engine(Protocol):
    """One model on one device. Several engine threads call it at the same time."""

    def run(self, dense: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return probabilities float32 [B] of dense float32 [B, N] and raw ids int64 [B, C].

        A NaN in `dense` is a missing value. Any exception may be raised.
        """


@runtime_checkable
class RowsEngine(Engine, Protocol):
    """One that can also tell the rows of the table."""

    @property
    def tells_rows(self) -> bool:
        """Whether its graph has them as an output."""

    def run_and_tell_rows(
        self, dense: NDArray[np.float32], ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Return what `run` returns, and rows int32 [B, L]."""


@runtime_checkable
class LanedEngine(Engine, Protocol):
    """One that must know beforehand what it will have to run."""

    lanes: Sequence[Engine]
    """Each runs one batch at a time."""

    @property
    def sizes(self) -> Sequence[int]:
        """The sizes of batches that it is made for, ascending; others are padded."""

    def prepare(self, max_rows: int, lanes: int) -> None:
        """Make `lanes` lanes for batches of up to `max_rows` rows, in place of those that there are.

        Raises BundleError where they do not fit on the device.
        """


@runtime_checkable
class JoiningEngine(Engine, Protocol):
    """One that joins the rows of several calls itself, where it needs them."""

    def run_joined(
        self, dense: Sequence[NDArray[np.float32]], ids: Sequence[NDArray[np.int64]], *, tell_rows: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.int32] | None]:
        """Return what `run` returns for all rows, in their order, and the rows of the table where told to."""
