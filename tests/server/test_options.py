"""Wrong values of every option of `serve`: one line, exit code 2, before anything listens."""

import signal
from pathlib import Path

import pytest

NUMBERS = (
    "port", "http-port", "poll-seconds", "workers", "engine-threads", "max-queue-rows", "max-batch-size",
    "max-message-bytes", "drain-seconds", "engine-timeout-seconds",
    "load-timeout-seconds", "memory-limit", "gpu-memory-limit",
)  # fmt: skip
FILES = ("tls-cert", "tls-key", "tls-client-ca", "token-file", "admin-token-file")
BAD_NUMBERS = ("-1", "inf", "-inf", "nan", "", "9" * 30, "1e400", "[3]")
BAD_HOSTS = ("", " ", "[b]", "a" * 300, "no such.host", "\udcff")
WRONG = [
    *((name, value) for name in NUMBERS for value in BAD_NUMBERS),
    ("max-message-bytes", str(1 << 31)),
    ("max-message-bytes", "0"),
    ("workers", "0"),
    ("engine-timeout-seconds", "0"),
    ("load-timeout-seconds", "0"),
    ("memory-limit", "0"),
    ("memory-limit", "٣GB"),
    *((name, value) for name in ("host", "http-host") for value in BAD_HOSTS),
    *(("device", value) for value in ("", "gpu", "cuda:", "cuda:-1", "cuda:٣", "cuda:" + "9" * 99, "[/b]")),
    *((name, value) for name in FILES for value in ("", "nowhere", "/", "/dev/zero", "[/b]", "\udcff")),
    *(("repository", value) for value in ("", "nowhere", "/dev/null", "[/b]", "\udcff")),
]  # fmt: skip


@pytest.fixture
def signals_as_before():
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGIO)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("signals_as_before")
@pytest.mark.parametrize(("name", "value"), WRONG, ids=lambda text: ascii(text)[:30])
def test_a_wrong_value_is_refused_in_plain_words(repository: Path, refused, name, value):
    options = {"repository": str(repository), "port": "0", "http-port": "0"}
    if name in {"tls-key", "tls-client-ca"}:
        options |= {"tls-cert": str(repository)}
    if name == "tls-cert":
        options |= {"tls-key": str(repository)}
    says = refused("serve", *(f"--{key}={text}" for key, text in (options | {name: value}).items()))
    assert "Traceback" not in says
    assert says.strip()
