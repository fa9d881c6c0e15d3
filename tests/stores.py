"""A real S3 server on loopback (moto) that checks keys, and a wire to it that can be cut."""

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import fsspec
import pytest

BUCKET = "bucket"
ALLOW_S3 = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


@dataclass(frozen=True)
class Store:
    """The server, and the key that may read and write its bucket."""

    endpoint: str
    key: str
    secret: str

    def put(self, path: str, content: bytes | str) -> str:
        """Write a file; return its URL."""
        text = content.encode() if isinstance(content, str) else content
        fsspec.filesystem("s3", use_listings_cache=False).pipe_file(f"{BUCKET}/{path}", text)
        return f"s3://{BUCKET}/{path}"

    def names(self, path: str) -> set[str]:
        """The files below a folder."""
        top = f"{BUCKET}/{path}/"
        return {name.removeprefix(top) for name in fsspec.filesystem("s3").find(top)}

    def use(self, patch: pytest.MonkeyPatch, *, secret: str = "", endpoint: str = "") -> None:
        """Let this process, and those that it starts, ask the server, maybe by another key or wire."""
        patch.setenv("AWS_ENDPOINT_URL", endpoint or self.endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", self.key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", secret or self.secret)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        s3 = fsspec.get_filesystem_class("s3")
        s3.clear_instance_cache()
        patch.setattr(s3, "retries", 1)


@contextmanager
def served() -> Iterator[Store]:
    """A server with one bucket and one user, in a process of its own, until the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        assert process.stdout is not None
        yield Store(*json.loads(process.stdout.readline()))
        process.kill()


def main() -> None:
    """Serve until killed; the one line on stdout is what a Store holds."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    root = {"aws_access_key_id": "root", "aws_secret_access_key": "root", "region_name": "us-east-1"}
    iam = boto3.client("iam", endpoint_url=endpoint, **root)
    iam.create_user(UserName="user")
    iam.put_user_policy(UserName="user", PolicyName="s3", PolicyDocument=json.dumps(ALLOW_S3))
    key = iam.create_access_key(UserName="user")["AccessKey"]
    boto3.client("s3", endpoint_url=endpoint, **root).create_bucket(Bucket=BUCKET)
    from_now_on = urllib.request.Request(
        f"{endpoint}/moto-api/reset-auth", data=b"0", headers={"Content-Type": "application/octet-stream"}
    )
    urllib.request.urlopen(from_now_on).close()
    print(json.dumps([endpoint, key["AccessKeyId"], key["SecretAccessKey"]]), flush=True)
    sys.stdin.read()  # the end of the tests, however they end


class Wire:
    """A port that leads to the server, and cuts every connection once so many bytes of answers passed."""

    def __init__(self, store: Store) -> None:
        self.passed, self.left = 0, 1 << 60
        self._target = int(store.endpoint.rpartition(":")[2])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Refuse from now on."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self._target))
                threading.Thread(target=self._copy, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._copy, args=(server, client, True), daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(1 << 16):
                if answers:
                    piece = piece[: self.left]
                    self.passed += len(piece)
                    self.left -= len(piece)
                    if not piece:
                        break
                target.sendall(piece)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()  # the other thread closes the other


def wait_until(done, seconds: float = 20.0) -> None:
    """Wait for what other processes do."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


if __name__ == "__main__":
    main()
