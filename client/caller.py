"""What the blocking and the asynchronous client are made of alike: whom they ask, and how patiently."""

from collections.abc import Sequence

from tablefold.client.session import Session
from tablefold.client.transport.credentials import Credentials, Pem
from tablefold.client.transport.hedging import Hedging
from tablefold.client.transport.target import Target

TIMEOUT_SECONDS = 10.0


class Caller:
    """The arguments of both clients, checked; see `Client`."""

    def __init__(
        self,
        server: str | Sequence[str],
        *,
        tls: bool = False,
        ca: Pem | None = None,
        cert: Pem | None = None,
        key: Pem | None = None,
        token: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        hedge_after: float | None = None,
    ) -> None:
        self._credentials = Credentials.of(tls=tls, ca=ca, cert=cert, key=key, token=token)
        self.target = Target.parse(server, tls=self._credentials.tls)
        self._session = Session(timeout)
        self._hedging = None if hedge_after is None else Hedging(hedge_after)
        self._open()

    def _open(self) -> None:
        """Ready the channel."""
        raise NotImplementedError
