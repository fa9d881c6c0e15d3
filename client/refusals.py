"""What a server's refusal means on the command line: one sentence that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import grpc.aio

from tablefold.client.address import Address
from tablefold.client.protocols import PROTOCOLS
from tablefold.errors import BadReply, UsageError


@contextmanager
def explain_refusals(address: Address, protocol: str, model: str) -> Iterator[None]:
    """Turn gRPC's refusals and bad replies into UsageErrors that say what to do."""
    try:
        yield
    except BadReply as error:
        raise UsageError(f"model {model!r} does not answer as a recommender should: {error}") from error
    except grpc.aio.AioRpcError as error:
        code, details = error.code(), error.details() or "no reason given"
        if code is grpc.StatusCode.UNAVAILABLE:
            message = (
                f"no server answers at {address} ({details}); is it running, is this its gRPC port, "
                "and does it speak TLS (--tls-ca) or not?"
            )
        elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
            message = f"the server at {address} did not answer in time ({details})"
        elif code is grpc.StatusCode.UNAUTHENTICATED:
            message = f"the server at {address} does not accept the token ({details}); check --token-file"
        elif code is grpc.StatusCode.UNIMPLEMENTED:
            other = ", ".join(name for name in PROTOCOLS if name != protocol)
            message = (
                f"the server at {address} does not speak {protocol!r} ({details}); try --protocol {other}"
            )
        elif code is grpc.StatusCode.NOT_FOUND:
            message = f"the server at {address} has no model {model!r} ({details}); check --model"
        else:
            message = f"the server at {address} refused with {code.name}: {details}"
        raise UsageError(message) from error
