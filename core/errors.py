"""Every error Tablefold raises on purpose.

    TablefoldError
    ├── TrainingError         a run that cannot go on
    ├── VerificationError     a bundle that is not its checkpoint
    ├── QualityError          a bundle that would cost more quality than was allowed
    ├── UsageError            wrong usage or bad input on the command line: exit code 2
    │   ├── SchemaError       a feature schema that cannot be
    │   ├── LogError          a line of a log that cannot be read (file, line, feature)
    │   ├── CacheError        an encoded log that is damaged or of other files
    │   ├── CheckpointError   a checkpoint that is incomplete or does not fit
    │   └── BundleError       a bundle that is incomplete, damaged or hostile
    │       └── OverLimit     one that does not fit into the memory allowed
    └── RequestError          a request that is answered with a status instead of probabilities
        ├── InvalidRequest    INVALID_ARGUMENT
        ├── ModelNotFound     NOT_FOUND
        ├── Overloaded        RESOURCE_EXHAUSTED
        ├── TooLate           RESOURCE_EXHAUSTED
        ├── DeadlineExceeded  DEADLINE_EXCEEDED
        ├── Unavailable       UNAVAILABLE
        ├── Unauthenticated   UNAUTHENTICATED
        ├── BundleRefused     FAILED_PRECONDITION
        ├── NotOffered        UNIMPLEMENTED
        └── EngineFault       INTERNAL

A message says what was wrong, where, and what to do; the command line prints it in one line and exits with
2 (UsageError) or 1. Anything else that is raised is a bug: the command line exits with 1 and a traceback, the
server answers INTERNAL with a fixed text and logs it.
"""

from typing import ClassVar


class TablefoldError(Exception):
    """Base of every error raised on purpose."""


class TrainingError(TablefoldError):
    """A training run that cannot go on, such as a loss that is no longer a number."""


class VerificationError(TablefoldError):
    """A bundle that does not give its checkpoint's probabilities; it is not written."""


class QualityError(TablefoldError):
    """A bundle whose fewer bits cost more than was allowed; it is not written."""


class UsageError(TablefoldError):
    """Wrong usage or bad input: the caller can mend it."""


class SchemaError(UsageError):
    """A feature schema that cannot be."""


class LogError(UsageError):
    """A log that cannot be read; names the file and, where known, line (from 1) and feature."""

    def __init__(
        self, problem: str, *, file: str, line: int | None = None, feature: str | None = None
    ) -> None:
        place = file if line is None else f"{file}, line {line}"
        if feature is not None:
            place += f", feature {feature!r}"
        super().__init__(f"{place}: {problem}")
        self.file, self.line, self.feature = file, line, feature


class CacheError(UsageError):
    """An encoded log that is damaged, was made from other files, or cannot be written."""


class CheckpointError(UsageError):
    """A checkpoint that is incomplete, damaged or does not fit its own description."""


class BundleError(UsageError):
    """A bundle that is incomplete, damaged or points outside its own folder."""


class OverLimit(BundleError):
    """A bundle that does not fit into the memory allowed as things are."""


class RequestError(TablefoldError):
    """A request that gets a status instead of probabilities."""

    status: ClassVar[str]
    """gRPC's name of the code."""
    reason: ClassVar[str]
    """What it is counted under."""


class InvalidRequest(RequestError):
    """Wrong dtype, shape, length or value."""

    status = "INVALID_ARGUMENT"
    reason = "invalid"


class ModelNotFound(RequestError):
    """No such model, or no such version of it."""

    status = "NOT_FOUND"
    reason = "not_found"


class Overloaded(RequestError):
    """The queue holds as many rows as it may."""

    status = "RESOURCE_EXHAUSTED"
    reason = "queue_full"


class TooLate(RequestError):
    """What came first would take longer than the caller's time."""

    status = "RESOURCE_EXHAUSTED"
    reason = "too_late"


class DeadlineExceeded(RequestError):
    """The deadline passed before the rows reached the engine."""

    status = "DEADLINE_EXCEEDED"
    reason = "deadline"


class Unavailable(RequestError):
    """The server is loading or draining; another one, or a later try, will answer."""

    status = "UNAVAILABLE"
    reason = "unavailable"


class Unauthenticated(RequestError):
    """No bearer token, or a wrong one."""

    status = "UNAUTHENTICATED"
    reason = "unauthenticated"


class BundleRefused(RequestError):
    """A load call whose bundle cannot be served; what was served before is served on."""

    status = "FAILED_PRECONDITION"
    reason = "refused"


class NotOffered(RequestError):
    """A call that this server was not started to answer."""

    status = "UNIMPLEMENTED"
    reason = "not_offered"


class EngineFault(RequestError):
    """The engine failed on this batch; the log holds the reason, the client a fixed text."""

    status = "INTERNAL"
    reason = "internal"
