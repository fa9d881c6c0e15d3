"""Whoever asks the HTTP port, and however, must not take Python's lock from the calls."""

import socket
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import CollectorRegistry

from tablefold.server.telemetry.monitoring import Monitoring


class Slow:
    """A collector that says how often it was asked, and by how many at once."""

    def __init__(self) -> None:
        self.asked = self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()

    def describe(self):
        return []

    def collect(self):
        with self._lock:
            self.asked += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(0.02)
        with self._lock:
            self.at_once -= 1
        return []


@pytest.fixture
def slow():
    return Slow()


@pytest.fixture
def port(slow):
    registry = CollectorRegistry()
    registry.register(slow)
    monitoring = Monitoring("127.0.0.1", 0, registry, lambda: "ready", {})
    yield monitoring.port
    monitoring.close()


def test_pages_of_metrics_are_made_one_at_a_time(slow, port):
    def scrape(_):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return answer.status

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(scrape, range(8))) == [200] * 8
    assert (slow.asked, slow.most_at_once) == (8, 1)


def test_no_page_is_made_for_who_left_before_he_had_asked(slow, port):
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nx")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=10) as answer:
        assert answer.read() == b"live\n"
    time.sleep(0.1)
    assert slow.asked == 0
