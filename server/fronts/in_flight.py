"""What is in flight: calls and bytes that are not answered, and answers that nobody has read."""

import threading

from tablefold.errors import BytesExceeded, CallsExceeded

MEBIBYTE = 1 << 20


class InFlight:
    """Counts calls and bytes up to a limit of each, on any thread."""

    def __init__(self, max_bytes: int, max_calls: int) -> None:
        self.max_bytes, self._max_calls = max_bytes, max_calls
        self._bytes = self._calls = 0
        self._lock = threading.Lock()

    @property
    def calls(self) -> int:
        """That have no answer yet."""
        return self._calls

    @property
    def bytes(self) -> int:
        """Of requests, and of replies that nobody has read."""
        return self._bytes

    def begin(self, size: int) -> None:
        """Count a call with a message of so many bytes. Raises CallsExceeded, BytesExceeded."""
        with self._lock:
            if self._calls >= self._max_calls:
                raise CallsExceeded(
                    f"{self._calls} calls are in flight, as many as may be (--max-inflight-calls)"
                )
            self._take(size)
            self._calls += 1

    def end(self, size: int) -> None:
        """Count a call no more."""
        with self._lock:
            self._calls -= 1
            self._bytes -= size

    def take(self, size: int) -> None:
        """Count bytes. Raises BytesExceeded."""
        with self._lock:
            self._take(size)

    def take_reply(self, size: int) -> None:
        """Count bytes of a reply; it is there already, so that it counts beyond the limit too."""
        with self._lock:
            self._bytes += size

    def give_back(self, size: int) -> None:
        """Count bytes no more."""
        with self._lock:
            self._bytes -= size

    def _take(self, size: int) -> None:
        if self._bytes + size > self.max_bytes:
            raise BytesExceeded(
                f"{self._bytes / MEBIBYTE:.0f} MB of requests and replies are in flight, of "
                f"{self.max_bytes / MEBIBYTE:.0f} (--max-inflight-bytes): send less or later"
            )
        self._bytes += size
