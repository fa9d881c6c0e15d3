"""Rounds of exports into one model at once, some killed on the way: run by `test_concurrent.py`.

    python concurrent_exports.py CHECKPOINT REPOSITORY ROUNDS

One is killed while it writes, before the rounds. After every round each version is whole and those of
earlier rounds are untouched. Prints one line of JSON, and its figures after every round to stderr.
"""

import json
import os
import random
import signal
import sys
import time
from functools import cache
from pathlib import Path

import torch
from torch.onnx._internal.exporter._registration import ONNXRegistry

from tablefold.bundle import check_files, read_manifest
from tablefold.exporter.export import export
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.checkpoint.files import load

AT_ONCE = 3
KILLED_SHARE = 0.5


def main(checkpoint: Path, repository: Path, rounds: int) -> None:
    torch.set_num_threads(1)  # a fork has no other threads
    # Read once, not by each export: see tests/conftest.py.
    ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))  # type: ignore[method-assign, assignment]
    random.seed(0)
    model, trained = repository / "m", load(checkpoint)
    seconds = _duration(trained, repository)
    counts = {"rounds": rounds, "written": 2, "killed": 0, "killed_after_writing": 0}
    before = _identities(model)
    _kill_while_it_writes(trained, repository)
    assert _identities(model) == before
    for finished in range(rounds):
        children = {_start(trained, repository): random.random() < KILLED_SHARE for _ in range(AT_ONCE)}
        started = time.monotonic()
        moments = sorted(
            (random.uniform(0, 1.5 * AT_ONCE * seconds), pid) for pid in children if children[pid]
        )
        for moment, pid in moments:
            time.sleep(max(0, started + moment - time.monotonic()))
            os.kill(pid, signal.SIGKILL)  # nobody has waited for it, so the number is still its own
        codes = [os.waitpid(pid, 0)[1] for pid in children]
        assert all(code in (0, signal.SIGKILL) for code in codes), codes
        after = _identities(model)
        assert {name: after[name] for name in before} == before, "a version of an earlier round was touched"
        for name in after:
            manifest = read_manifest(model / name)
            assert str(manifest.version) == name
            check_files(model / name, manifest)
        new, ended = len(after) - len(before), codes.count(0)
        assert new >= ended, f"{ended} exports ended, and {new} versions are there"
        counts["written"] += new
        counts["killed"] += codes.count(signal.SIGKILL)
        counts["killed_after_writing"] += new - ended
        before = after
        print(finished + 1, json.dumps(counts), file=sys.stderr, flush=True)
    numbers = sorted(int(name) for name in before)
    assert numbers == list(range(1, len(numbers) + 1)), numbers
    export(trained, repository, "m")
    left = sorted(path.name for path in model.iterdir() if not path.name.isdecimal())
    assert left == ["config.pbtxt"], left  # the drafts of the killed are gone
    print(json.dumps(counts))


def _duration(trained: Checkpoint, repository: Path) -> float:
    """Write the first versions here, so that the children need not import anything; time the second."""
    export(trained, repository, "m")
    started = time.monotonic()
    export(trained, repository, "m")
    return time.monotonic() - started


def _kill_while_it_writes(trained: Checkpoint, repository: Path) -> None:
    """Leave a draft whose graph is there: the proof has begun."""
    pid = _start(trained, repository)
    while not list((repository / "m").glob(".*.draft/model.onnx")):
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert list((repository / "m").glob(".*.draft/model.onnx"))


def _start(trained: Checkpoint, repository: Path) -> int:
    if pid := os.fork():
        return pid
    try:
        export(trained, repository, "m")
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        os._exit(1)
    os._exit(0)


def _identities(model: Path) -> dict[str, list[tuple[str, int, int]]]:
    """Name, inode and time of change of every file, by version."""
    return {
        folder.name: sorted(
            (file.name, file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.iterdir()
        )
        for folder in model.iterdir()
        if folder.name.isdecimal()
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
