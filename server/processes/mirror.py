"""The process that mirrors a repository in a store for a server, beside those that serve.

It gets URL, folder and seconds in one line of JSON on stdin, whose end is the order to leave.

{"ready": true}      the one line on stdout, once the store was looked at
{"error": "..."}     or why there is nothing to serve
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from tablefold.console import LOG_FORMAT
from tablefold.errors import TablefoldError, UsageError
from tablefold.files.remote import RemotePath
from tablefold.server.models.mirror import Mirror

log = logging.getLogger(__name__)

RESTART_SECONDS = 1.0


def keep_mirrored(remote: RemotePath, cache: Path | None, seconds: float) -> Path:
    """Mirror a repository as long as this process lives, and return the folder, which holds what is there.

    Without `cache` the folder is a temporary one. Raises UsageError where there is nothing to serve.
    """
    folder = Path(tempfile.mkdtemp(prefix="tablefold-")) if cache is None else cache
    process = _start(remote, folder, seconds, temporary=cache is None)
    threading.Thread(
        target=_keep, args=(process, remote, folder, seconds, cache is None), name="mirror", daemon=True
    ).start()
    return folder


def _start(remote: RemotePath, folder: Path, seconds: float, *, temporary: bool) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        start_new_session=True,  # Ctrl-C is for the server, whose end is its order to leave
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    order = {"url": remote.url, "folder": str(folder), "seconds": seconds, "temporary": temporary}
    process.stdin.write(json.dumps(order) + "\n")  # arguments would show it to everybody
    process.stdin.flush()
    answer = json.loads(process.stdout.readline() or "{}")
    if not answer.get("ready"):
        code = _end(process)
        raise UsageError(answer.get("error", f"the process of the mirror ended with exit code {code}"))
    return process


def _end(process: subprocess.Popen[str]) -> int:
    """Tell the process to leave, and return its exit code."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    process.stdout.close()
    return process.wait()


def _keep(
    process: subprocess.Popen[str], remote: RemotePath, folder: Path, seconds: float, temporary: bool
) -> None:
    while True:
        process.wait()
        code = _end(process)
        log.error("the mirror of %s ended (exit code %d); another one starts", remote, code)
        while True:
            time.sleep(RESTART_SECONDS)
            try:
                process = _start(remote, folder, seconds, temporary=temporary)
                break
            except (TablefoldError, OSError) as error:
                log.error("the mirror cannot start; what is served stays: %s", error)


def main() -> None:
    """Mirror until the end of stdin."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a group's signal is for the server too
    logging.basicConfig(format=LOG_FORMAT)
    logging.getLogger("tablefold").setLevel(logging.INFO)
    order = json.loads(sys.stdin.buffer.readline())
    folder = Path(order["folder"])
    leaving = threading.Thread(target=_leave_when_told, args=(folder if order["temporary"] else None,))
    leaving.start()
    try:
        mirror, said = look(RemotePath(order["url"]), folder)
    except UsageError as error:
        _say(error=str(error))
        leaving.join()
    _say(ready=True)
    while order["seconds"]:
        time.sleep(order["seconds"])
        try:
            mirror.update()
            said = ""
        except OSError as error:
            text = f"{error.filename}: {error.strerror}"
            if text != said:  # once, and not at every look
                log.error("the store cannot be asked, what is served stays: %s", text)
            said = text
    leaving.join()


def look(remote: RemotePath, folder: Path) -> tuple[Mirror, str]:
    """Return the mirror after its first look, and why that failed. Raises UsageError for nothing to serve."""
    mirror, said = Mirror(remote, folder), ""
    try:
        mirror.update()
    except OSError as error:
        if mirror.empty:
            mirror.close()
            raise UsageError(f"--repository {error.filename}: {error.strerror}") from None
        said = f"{error.filename}: {error.strerror}"
        log.warning("the store cannot be asked, what was pulled before is served: %s", said)
    if mirror.empty:
        mirror.close()
        raise UsageError(
            f"{remote} holds no whole version of a model; "
            f"export one with: tablefold export CHECKPOINT --repository {remote}"
        )
    return mirror, said


def _say(**fields: object) -> None:
    with suppress(BrokenPipeError):  # the server left, and so does this process
        print(json.dumps(fields), flush=True)


def _leave_when_told(temporary: Path | None) -> NoReturn:
    """End the process at once when stdin ends, in the middle of a pull too: a draft is never served."""
    sys.stdin.buffer.read()
    if temporary is not None:
        shutil.rmtree(temporary, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    main()
