"""Fake servers with known habits, each a process of its own, so that they can be killed and weighed."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Fake:
    process: subprocess.Popen[str]
    address: str

    def truth(self) -> dict[str, Any]:
        """Ends the server; what it did: calls, shed, seconds it took for each call it answered."""
        self.process.terminate()
        assert self.process.stdout is not None
        truth: dict[str, Any] = json.loads(self.process.stdout.readline())
        self.process.wait()
        return truth

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="session")
def start_fake() -> Iterator[Callable[..., Fake]]:
    """Starts a server with the habits given (see fake_server.Habits)."""
    started: list[Fake] = []

    def start(**habits: Any) -> Fake:
        program = Path(__file__).with_name("fake_server.py")
        process = subprocess.Popen(
            [sys.executable, str(program), json.dumps(habits)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        fake = Fake(process, f"127.0.0.1:{process.stdout.readline().strip()}")
        started.append(fake)
        return fake

    yield start
    for fake in started:
        fake.kill()
        assert fake.process.stdout is not None
        fake.process.stdout.close()


@pytest.fixture(scope="session")
def quick(start_fake: Callable[..., Fake]) -> Fake:
    """Answers at once, always."""
    return start_fake()


@pytest.fixture
def nobody(unused_tcp_port: int) -> str:
    """An address where nothing listens."""
    return f"127.0.0.1:{unused_tcp_port}"


@pytest.fixture
def criteo_file(tmp_path: Path) -> tuple[Path, list[float], list[int]]:
    """A file of 2,345 real-looking lines, the fake's score of each, and their labels."""
    lines, scores, labels = [], [], []
    for row in range(2345):
        first, label = (row * 7919) % 100_003, int((row * 7919) % 1000 + row % 400 > 600)
        dense = [str(row % 9) if column else "" for column in range(13)]
        ids = [f"{first:08x}", *(f"{row * 31 + column:08x}" for column in range(24)), ""]
        lines.append("\t".join([str(label), *dense, *ids]))
        scores.append(first % 1000 / 1000)
        labels.append(label)
    file = tmp_path / "rows.tsv"
    file.write_text("\n".join(lines) + "\n")
    return file, scores, labels
