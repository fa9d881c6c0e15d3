"""Calls and bytes in flight have limits; what ends makes room."""

import pytest

from tablefold.errors import BytesExceeded, CallsExceeded
from tablefold.server.fronts.in_flight import InFlight
from tablefold.server.gateway import in_flight_bytes
from tablefold.server.options import Options


def test_calls_and_bytes_are_refused_beyond_their_limits_and_fit_again_after_an_end() -> None:
    in_flight = InFlight(max_bytes=100, max_calls=2)
    in_flight.begin(60)
    with pytest.raises(BytesExceeded, match="max-inflight-bytes"):
        in_flight.begin(41)
    in_flight.begin(40)  # what was refused counts nothing
    with pytest.raises(CallsExceeded, match="max-inflight-calls"):
        in_flight.begin(0)
    in_flight.end(60)
    in_flight.begin(60)


def test_a_reply_counts_beyond_the_limit_until_it_is_read() -> None:
    in_flight = InFlight(max_bytes=100, max_calls=2)
    in_flight.take_reply(150)
    with pytest.raises(BytesExceeded):
        in_flight.take(1)
    in_flight.give_back(150)
    in_flight.take(100)


def test_by_default_a_quarter_of_the_memory_is_shared_by_the_workers(tmp_path) -> None:
    def limit(**options: int) -> int:
        return in_flight_bytes(Options(repository=tmp_path, **options))

    assert limit(memory_limit=4 << 30) == 1 << 30
    assert limit(memory_limit=4 << 30, workers=4) == 256 << 20
    assert limit(memory_limit=1 << 20) == 32 << 20  # two messages, or nothing would ever fit
    assert limit(memory_limit=4 << 30, max_inflight_bytes=5 << 20) == 5 << 20
