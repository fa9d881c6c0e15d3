"""The seam between gRPC and everything else: a front gives arrivals, each is answered or refused once."""

from typing import Any, Protocol

from tablefold.errors import RequestError


class Arrival(Protocol):
    """One call whose message is there."""

    method: str
    """As gRPC writes it: `/package.Service/Method`."""
    peer: str
    """The client's connection, as gRPC writes it."""
    metadata: Any
    """Pairs of name and value."""
    message: bytes
    arrived: float
    """Monotonic seconds, like `deadline`."""
    deadline: float | None
    cancelled: bool
    """Whether the client has left, or its deadline has passed."""
    call: Any
    """What the dispatcher has made of it; None at first."""

    def answer(self, reply: bytes) -> None:
        """Answer the call, on any thread; once, unless it is refused. Nothing happens if the client left."""

    def refuse(self, error: RequestError) -> None:
        """End the call with the status of an error, on any thread."""


class Front(Protocol):
    """Where calls come from; a `CallSource` of the engine threads is made of one."""

    waits: bool
    """Whether `receive` can wait. Otherwise the front rings `EngineThreads.ring`."""

    def ready(self) -> bool:
        """Return whether calls have come that nobody has received. False where `receive` waits."""

    def receive(self, max_calls: int, *, wait: bool) -> list[Arrival]:
        """Return the calls that have come, at most so many; `wait`: a little while, if there is none."""

    def flush(self) -> None:
        """Send off the answers that were given."""
