"""What a server's refusal means on the command line: one sentence that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import grpc.aio

from tablefold.client.protocols import PROTOCOLS
from tablefold.client.transport.address import Address
from tablefold.client.transport.statuses import error_of
from tablefold.errors import (
    BadReply,
    DeadlineExceeded,
    ModelNotFound,
    RequestError,
    Unauthenticated,
    Unavailable,
    UnexpectedStatus,
    Unimplemented,
    UsageError,
)


@contextmanager
def explain_refusals(address: Address, protocol: str, model: str) -> Iterator[None]:
    """Turn what a server refuses, and its bad replies, into UsageErrors that say what to do."""
    try:
        yield
    except BadReply as error:
        raise UsageError(f"model {model!r} does not answer as a recommender should: {error}") from error
    except RequestError as error:
        raise UsageError(_explain(error, address, protocol, model)) from error
    except grpc.aio.AioRpcError as error:
        raise UsageError(_explain(error_of(error, address), address, protocol, model)) from error


def _explain(error: RequestError, address: Address, protocol: str, model: str) -> str:
    match error:
        case Unavailable():
            return f"{error}; is it running, is this its gRPC port, and does it speak TLS (--tls-ca) or not?"
        case DeadlineExceeded() | UnexpectedStatus():
            return str(error)
        case Unauthenticated():
            return f"the server at {address} does not accept the token ({error}); check --token-file"
        case Unimplemented():
            other = ", ".join(name for name in PROTOCOLS if name != protocol)
            return f"the server at {address} does not speak {protocol!r} ({error}); try --protocol {other}"
        case ModelNotFound():
            return (
                f"the server at {address} does not have it: {error}; check --model, or the version asked for"
            )
    return f"the server at {address} refused with {error.status}: {error}"
