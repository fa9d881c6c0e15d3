"""Which front serves: the native one where it holds every limit, or where the user trusts his network."""

import logging
from typing import NamedTuple

from tablefold.errors import UsageError
from tablefold.server.options import ServeOptions

log = logging.getLogger(__name__)


class Choice(NamedTuple):
    """The front's name, and why it was chosen."""

    name: str
    reason: str


def choose_front(options: ServeOptions) -> Choice:
    """Return the front of a server. Raises UsageError where `--front native` cannot be had."""
    if options.front == "grpcio":
        return Choice("grpcio", "asked for")
    if options.tls_cert is not None:
        if options.front == "native":
            raise UsageError("--front native has no TLS: leave --tls-cert out, or take --front grpcio")
        return Choice("grpcio", "the native front has no TLS")
    try:
        from tablefold.server.fronts.probe import missing_limit

        missing = missing_limit(options)
    except Exception as error:  # a broken package must not keep the server from serving
        if options.front == "native":
            raise UsageError(
                f"--front native: pygrpc-native cannot be used ({error}); "
                "pip install 'tablefold[serve-native]'"
            ) from error
        absent = isinstance(error, ModuleNotFoundError)
        return Choice(
            "grpcio", "pygrpc-native is not installed" if absent else f"pygrpc-native fails: {error}"
        )
    if missing is None:
        return Choice("native", "it holds every limit")
    if options.front == "auto":
        return Choice("grpcio", f"pygrpc-native does not hold the limits: {missing}")
    log.warning(
        "--front native: %s, and any number of connections; use it where you trust every client", missing
    )
    return Choice("native", "asked for")
