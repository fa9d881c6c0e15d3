"""The process that tries bundles: requests come in on stdin, whose end is the order to leave.

ready                                        once, when it has started
{"folder": "ads/3", "device": "cpu", "device_memory": null, "max_rows": 65536}   on stdin: load this bundle
{"error": null}                              on stdout: it is sound, or why it is not
"""

import json
import os
import queue
import resource
import sys
import threading
from contextlib import suppress
from pathlib import Path

from tablefold.bundle import read_manifest
from tablefold.server.bundles.own_stdout import take_stdout
from tablefold.server.bundles.warm_up import WarmUp, warm_up_engine
from tablefold.server.engines.device import Device
from tablefold.server.engines.opening import open_engine

OOM_SCORE = 1000
"""The kernel's highest: where memory runs out, this process ends and not the server."""


def main() -> None:
    """Try bundles until stdin ends, or none has come for as many seconds as the argument says."""
    idle_seconds = float(sys.argv[1])
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests,), daemon=True).start()
    replies = take_stdout()
    print("ready", file=replies, flush=True)
    while True:
        try:
            request = json.loads(requests.get(timeout=idle_seconds))
        except queue.Empty:
            os._exit(0)
        fault = _fault(
            Path(request["folder"]), request["device"], request["device_memory"], request["max_rows"]
        )
        print(json.dumps({"error": fault}), file=replies, flush=True)


def _read(requests: "queue.SimpleQueue[str]") -> None:
    """Pass the requests on. At the end leave at once, whatever the main thread does."""
    for line in sys.stdin:
        requests.put(line)
    os._exit(0)


def _fault(folder: Path, device: str, device_memory: int | None, max_rows: int) -> str | None:
    try:
        manifest = read_manifest(folder)
        engine = open_engine(folder, manifest, Device(device, device_memory))
        warm_up_engine(folder, manifest, engine, WarmUp(max_rows))
    except Exception as error:
        return str(error) or type(error).__name__
    return None


if __name__ == "__main__":
    main()
