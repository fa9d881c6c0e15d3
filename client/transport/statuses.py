"""gRPC's status codes as Tablefold's error classes."""

import re

import grpc

from tablefold.client.transport.address import Address
from tablefold.client.transport.target import Target
from tablefold.errors import (
    DeadlineExceeded,
    EngineError,
    InvalidRequest,
    LoadFailed,
    ModelNotFound,
    NotAllowed,
    Overloaded,
    RequestError,
    Unauthenticated,
    Unavailable,
    UnexpectedStatus,
    Unimplemented,
)

CLASSES: dict[str, type[RequestError]] = {
    error.status: error
    for error in (
        LoadFailed,
        DeadlineExceeded,
        EngineError,
        InvalidRequest,
        ModelNotFound,
        NotAllowed,
        Unimplemented,
        Overloaded,
        Unauthenticated,
        Unavailable,
    )
}
TOO_LARGE = re.compile(r"message larger than max \(([0-9]+) vs\. ([0-9]+)\)")
"""What gRPC says of a message beyond the limit: its bytes, and those allowed."""


def error_of(error: grpc.RpcError, server: Address | Target) -> RequestError:
    """The error of our own that stands for gRPC's. Keeps the server's words."""
    code, details = error.code(), error.details() or "no reason given"
    if sizes := TOO_LARGE.search(details):
        return InvalidRequest(
            f"the message takes {int(sizes[1]):,} bytes and the server at {server} allows {int(sizes[2]):,}: "
            "send fewer rows a call"
        )
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return Unavailable(f"no server answers at {server}: {details}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"the server at {server} did not answer in time: {details}")
    if code.name in CLASSES:
        return CLASSES[code.name](details)
    return UnexpectedStatus(f"the server at {server} answered {code.name}: {details}")
