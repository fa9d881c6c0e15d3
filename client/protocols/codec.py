"""What every protocol offers: rows to request bytes, reply bytes to probabilities.

A new protocol is one file here with a class of these members, and its name in `PROTOCOLS`.
"""

from typing import NamedTuple, Protocol

import numpy as np

from tablefold.errors import BadReply


class Request(NamedTuple):
    """One call's message."""

    message: bytes
    rows: int
    expected: np.ndarray | None = None
    """float32 [rows]: the probabilities of a right reply; None where they are not known."""


class Prediction(NamedTuple):
    """What a reply says."""

    probability: np.ndarray
    """float32 [rows], finite."""
    queue_seconds: float | None = None
    """How long the rows waited in the server; None where the protocol does not say."""
    compute_seconds: float | None = None
    """How long the engine took; None where the protocol does not say."""
    version: str = ""
    """The version of the model that answered; empty where the server does not say."""


class Codec(Protocol):
    """One model of one server, spoken to in one protocol."""

    method: str
    """gRPC's full name of the scoring call: /package.Service/Call."""
    version: str
    """The model's version as the server names it; empty if it does not say."""
    dense_columns: int
    """N, the columns of `dense`."""
    id_columns: int
    """C, the columns of `ids`."""

    def encode(self, dense: np.ndarray, ids: np.ndarray) -> bytes:
        """The serialised call that scores float32 [rows, N] and int64 [rows, C]."""

    def decode(self, reply: bytes, rows: int) -> Prediction:
        """What a serialised reply says. Raises BadReply unless it holds `rows` finite numbers."""


def checked(probability: np.ndarray, rows: int) -> np.ndarray:
    """The same array, float32 [rows]. Raises BadReply where a number is absent, too many or not finite."""
    if probability.size != rows:
        raise BadReply(f"the reply holds {probability.size} probabilities for {rows} rows")
    if not np.isfinite(probability).all():
        raise BadReply("the reply holds a probability that is not a finite number")
    return probability.reshape(rows)


def require_probabilities(values: np.ndarray) -> None:
    """Raises BadReply for a value outside 0 .. 1, such as a logit."""
    outside = (values < 0) | (values > 1)
    if outside.any():
        raise BadReply(f"the reply holds {values[outside][0]}, which is no probability: it is outside 0 .. 1")
