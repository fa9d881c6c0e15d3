"""A real server of a repository, started as a user starts one."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(repository: Path | str, *options: str) -> Iterator[str]:
    """The address of a server on a free port; SIGTERM must end it with exit code 0."""
    command = [sys.executable, "-m", "tablefold", "serve", "--repository", str(repository)]
    with subprocess.Popen(
        [*command, "--port", "0", "--http-port", "0", *options], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        ready = re.search(r"ready on (\S+) ", process.stdout.readline())
        assert ready is not None
        yield ready[1]
        process.terminate()
        assert process.wait(timeout=30) == 0
