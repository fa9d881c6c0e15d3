"""The budget of bytes in flight: what was received and is not answered, and answers that nobody has read."""

import threading

from tablefold.errors import BytesExceeded

MEBIBYTE = 1 << 20


class ByteBudget:
    """Counts bytes up to a limit, on any thread."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self.peak = 0
        """The most that was used since it was last set to 0."""
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Count bytes of a message. Raises BytesExceeded where they do not fit."""
        with self._lock:
            if self.used + size > self.limit:
                raise BytesExceeded(
                    f"{self.used / MEBIBYTE:.0f} MB of requests and replies are in flight, of "
                    f"{self.limit / MEBIBYTE:.0f} (--max-inflight-bytes): send less or later"
                )
            self._add(size)

    def take_reply(self, size: int) -> None:
        """Count bytes of a reply; it is there already, so that it counts beyond the limit too."""
        with self._lock:
            self._add(size)

    def give_back(self, size: int) -> None:
        """Count bytes no more."""
        with self._lock:
            self.used -= size

    def _add(self, size: int) -> None:
        self.used += size
        self.peak = max(self.peak, self.used)
