"""Every error that Tablefold raises on purpose.

    TablefoldError
    ├── TrainingError             a training run cannot go on
    │   └── RankLost              another of the processes that train together has ended
    ├── VerificationError         a bundle does not give its checkpoint's probabilities
    ├── QualityError              a bundle would cost more quality than was allowed
    ├── UsageError                wrong usage or bad input: the caller can correct it
    │   ├── SchemaError           an invalid feature schema
    │   ├── LogError              a log cannot be read
    │   ├── CacheError            an encoded log cannot be used or written
    │   ├── CheckpointError       a checkpoint is incomplete, damaged or contradicts itself
    │   └── BundleError           a bundle is incomplete, damaged or unsafe
    │       └── MemoryLimitExceeded
    ├── DeviceLost                a GPU gives errors to this process until it ends
    ├── BadReply                  a server's reply is not one finite probability for each row
    └── RequestError              the server answers a request with a status instead of probabilities
        ├── InvalidRequest        INVALID_ARGUMENT
        ├── ModelNotFound         NOT_FOUND
        ├── Overloaded            RESOURCE_EXHAUSTED
        ├── DeadlineUnreachable   RESOURCE_EXHAUSTED
        ├── BytesExceeded         RESOURCE_EXHAUSTED
        ├── CallsExceeded         RESOURCE_EXHAUSTED
        ├── MessageTooLarge       RESOURCE_EXHAUSTED
        ├── SlowMessage           RESOURCE_EXHAUSTED
        ├── DeadlineExceeded      DEADLINE_EXCEEDED
        ├── Unavailable           UNAVAILABLE
        ├── Unauthenticated       UNAUTHENTICATED
        ├── LoadFailed            FAILED_PRECONDITION
        ├── Unimplemented         UNIMPLEMENTED
        ├── EngineError           INTERNAL
        └── UnexpectedStatus      any other

A message says what was wrong, where, and what to do. The command line prints it in one line and exits with 2
for a UsageError, with 1 for any other. Any other exception is a bug: the command line prints a traceback and
exits with 1; the server answers INTERNAL with a fixed text and logs the traceback.
"""

from typing import ClassVar

from tablefold.printable import printable, shortened


class TablefoldError(Exception):
    """Base class of every error that is raised on purpose."""


class TrainingError(TablefoldError):
    """A training run cannot go on, for example because its loss is no longer a number."""


class RankLost(TrainingError):
    """Another of the processes that train together has ended, or does not answer."""


class VerificationError(TablefoldError):
    """A bundle does not give the probabilities of its checkpoint. It is not written."""


class QualityError(TablefoldError):
    """A bundle would cost more quality than was allowed. It is not written."""


class UsageError(TablefoldError):
    """Wrong usage or bad input. The caller can correct it."""


class SchemaError(UsageError):
    """An invalid feature schema."""


class LogError(UsageError):
    """A log cannot be read. Names the file and, where they are known, line or row (from 1) and feature."""

    def __init__(
        self,
        problem: str,
        *,
        file: str,
        line: int | None = None,
        row: int | None = None,
        feature: str | None = None,
    ) -> None:
        place = printable(file) if line is None else f"{printable(file)}, line {line}"
        if row is not None:
            place += f", row {row}"
        if feature is not None:
            place += f", feature {feature!r}"
        super().__init__(f"{place}: {problem}")
        self.file, self.line, self.feature = file, line, feature


class CacheError(UsageError):
    """An encoded log is damaged, was made from other files, or cannot be written."""


class CheckpointError(UsageError):
    """A checkpoint is incomplete, damaged, or contradicts its own description."""


class BundleError(UsageError):
    """A bundle is incomplete, damaged, or points outside its own folder."""


class MemoryLimitExceeded(BundleError):
    """A bundle does not fit into the memory that is left of the server's limit."""


class DeviceLost(TablefoldError):
    """The GPU gives errors to this process until it ends."""


class BadReply(TablefoldError):
    """A server's reply that is not one finite probability for each row, or cannot be read."""


class RequestError(TablefoldError):
    """The server answers a request with a status instead of probabilities."""

    status: ClassVar[str]
    """The name of the gRPC status code."""
    reason: ClassVar[str]
    """The value of the label `reason` in the server's metrics."""

    def __init__(self, message: str = "") -> None:
        super().__init__(shortened(message))  # it travels in a header, which gRPC bounds to 8 KiB


class InvalidRequest(RequestError):
    """The request has a wrong dtype, shape, length or value."""

    status = "INVALID_ARGUMENT"
    reason = "invalid"


class ModelNotFound(RequestError):
    """There is no such model, or no such version of it."""

    status = "NOT_FOUND"
    reason = "not_found"


class Overloaded(RequestError):
    """The queue is full."""

    status = "RESOURCE_EXHAUSTED"
    reason = "queue_full"


class DeadlineUnreachable(RequestError):
    """The rows that wait already would take longer than the caller's deadline allows."""

    status = "RESOURCE_EXHAUSTED"
    reason = "too_late"


class BytesExceeded(RequestError):
    """The requests and replies in flight take as many bytes as they may."""

    status = "RESOURCE_EXHAUSTED"
    reason = "inflight_bytes"


class CallsExceeded(RequestError):
    """As many calls are in flight as may be."""

    status = "RESOURCE_EXHAUSTED"
    reason = "inflight_calls"


class MessageTooLarge(RequestError):
    """The message has more bytes than one may have."""

    status = "RESOURCE_EXHAUSTED"
    reason = "message_size"


class SlowMessage(RequestError):
    """The message did not come whole while others waited to be read."""

    status = "RESOURCE_EXHAUSTED"
    reason = "slow_message"


class DeadlineExceeded(RequestError):
    """The deadline passed before the rows reached the engine."""

    status = "DEADLINE_EXCEEDED"
    reason = "deadline"


class Unavailable(RequestError):
    """The server is loading or draining. Another server, or a later try, will answer."""

    status = "UNAVAILABLE"
    reason = "unavailable"


class Unauthenticated(RequestError):
    """The bearer token is missing or wrong."""

    status = "UNAUTHENTICATED"
    reason = "unauthenticated"


class NotAllowed(RequestError):
    """The token is good, but not for this call."""

    status = "PERMISSION_DENIED"
    reason = "not_allowed"


class LoadFailed(RequestError):
    """The model that a client asked to load cannot be served. The version served before stays."""

    status = "FAILED_PRECONDITION"
    reason = "refused"


class Unimplemented(RequestError):
    """The server was not started with what this call needs."""

    status = "UNIMPLEMENTED"
    reason = "not_offered"


class EngineError(RequestError):
    """The engine failed on this batch. The log holds the cause, the client gets a fixed text."""

    status = "INTERNAL"
    reason = "internal"


class UnexpectedStatus(RequestError):
    """A status that a Tablefold server never gives: something between client and server answered."""

    status = "UNKNOWN"
    reason = "unexpected"
