"""Every error Tablefold raises on purpose.

    TablefoldError
    ├── TrainingError         a run that cannot go on
    ├── VerificationError     a bundle that is not its checkpoint
    ├── UsageError            wrong usage or bad input on the command line: exit code 2
    │   ├── SchemaError       a feature schema that cannot be
    │   ├── LogError          a line of a log that cannot be read (file, line, feature)
    │   ├── CheckpointError   a checkpoint that is incomplete or does not fit
    │   └── BundleError       a bundle that is incomplete, damaged or hostile
    └── RequestError          a request that is answered with a status instead of probabilities
        ├── InvalidRequest    INVALID_ARGUMENT
        ├── ModelNotFound     NOT_FOUND
        ├── Overloaded        RESOURCE_EXHAUSTED
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


class CheckpointError(UsageError):
    """A checkpoint that is incomplete, damaged or does not fit its own description."""


class BundleError(UsageError):
    """A bundle that is incomplete, damaged or points outside its own folder."""


class RequestError(TablefoldError):
    """A request that gets a status instead of probabilities; `status` is gRPC's name of the code."""

    status: ClassVar[str]


class InvalidRequest(RequestError):
    """Wrong dtype, shape, length or value."""

    status = "INVALID_ARGUMENT"


class ModelNotFound(RequestError):
    """No such model, or no such version of it."""

    status = "NOT_FOUND"


class Overloaded(RequestError):
    """The queue holds as many rows as it may."""

    status = "RESOURCE_EXHAUSTED"


class DeadlineExceeded(RequestError):
    """The deadline passed, or cannot be met, before the rows reached the engine."""

    status = "DEADLINE_EXCEEDED"


class Unavailable(RequestError):
    """The server is loading or draining; another one, or a later try, will answer."""

    status = "UNAVAILABLE"


class Unauthenticated(RequestError):
    """No bearer token, or a wrong one."""

    status = "UNAUTHENTICATED"


class BundleRefused(RequestError):
    """A load call whose bundle cannot be served; what was served before is served on."""

    status = "FAILED_PRECONDITION"


class NotOffered(RequestError):
    """A call that this server was not started to answer."""

    status = "UNIMPLEMENTED"


class EngineFault(RequestError):
    """The engine failed on this batch; the log holds the reason, the client a fixed text."""

    status = "INTERNAL"
