"""What went wrong in a store, whichever library asked it, as an OSError with one plain line and no secret."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from tablefold.errors import UsageError
from tablefold.printable import printable, redacted, shortened

PACKAGES = {"s3": "tablefold[cloud]", "gs": "gcsfs", "az": "adlfs", "https": "tablefold[cloud]"}
PACKAGES["http"] = PACKAGES["https"]
"""What pip installs for each scheme."""
UNREACHABLE = {
    "ClientConnectionError", "ClientPayloadError", "ConnectionError", "FSTimeoutError", "HTTPClientError",
    "IncompleteReadError", "ServiceRequestError", "ServiceResponseError", "TimeoutError",
}  # fmt: skip
"""Classes of errors, of whichever library a store is asked with."""


@contextmanager
def plain_errors(place: object, scheme: str) -> Iterator[None]:
    """Raise whatever the block raises as an OSError that names `place`, whose `str` holds no secret.

    Raises UsageError where the package for the scheme is missing.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        _refuse(error, str(place), scheme)


def _refuse(error: Exception, place: str, scheme: str) -> NoReturn:
    """Raise the one plain error. Nothing is chained to it: others' errors hold whole URLs."""
    causes = list(_causes(error))
    if any(isinstance(cause, ImportError) for cause in causes):
        raise UsageError(
            f"{place}: {scheme}:// needs a package more: pip install '{PACKAGES[scheme]}'"
        ) from None
    classes = {known.__name__ for cause in causes for known in type(cause).__mro__}
    status = next((int(cause.status) for cause in causes if hasattr(cause, "status")), 0)
    if classes & {"NoCredentialsError", "PartialCredentialsError"}:
        why = "no credentials were found: set them as the store's own tools want them"
        raise PermissionError(errno.EACCES, why, place) from None
    if isinstance(error, PermissionError) or status in (401, 403):
        why = "access is denied: check the credentials and what they may do"
        raise PermissionError(errno.EACCES, why, place) from None
    if classes & UNREACHABLE:
        why = "the store cannot be reached, or the connection was cut: check the address, then try again"
        raise ConnectionError(errno.EIO, why, place) from None
    if isinstance(error, FileNotFoundError):
        raise FileNotFoundError(errno.ENOENT, "there is no such file or folder", place) from None
    if isinstance(error, FileExistsError):
        raise FileExistsError(errno.EEXIST, "there is such a file already", place) from None
    text = shortened(printable(redacted(str(error).partition("\n")[0])), 300)
    raise OSError(errno.EIO, f"the store says: {text or type(error).__name__}", place) from None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
