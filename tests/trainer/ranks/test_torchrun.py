"""`torchrun ... -m tablefold train`: one run, whatever the number of processes; Ctrl-C ends all of them."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

TRAIN = [
    sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone",
    "-m", "tablefold", "train", "--data", "synthetic:4000", "--dim", "4", "--epochs", "6",
    "--batch-size", "64", "--patience", "6", "--checkpoint-every", "0.01", "--resume", "--out",
]  # fmt: skip


def wait_for(path: Path, running: subprocess.Popen[str]) -> None:
    started = time.monotonic()
    while not path.exists():
        assert running.poll() is None
        assert time.monotonic() - started < 300
        time.sleep(0.05)


def test_ctrl_c_ends_all_ranks_and_the_same_command_goes_on(tmp_path: Path) -> None:
    out = tmp_path / "m"
    with subprocess.Popen([*TRAIN, str(out)], stderr=subprocess.PIPE, text=True) as running:
        try:
            wait_for(out, running)  # the first epoch's checkpoint
            ranks = psutil.Process(running.pid).children(recursive=True)
            running.send_signal(signal.SIGINT)
            says = running.communicate(timeout=300)[1]
        finally:
            running.terminate()
    assert psutil.wait_procs(ranks, timeout=60)[1] == []
    assert "KeyboardInterrupt" not in says
    assert "RankLost" not in says
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "m.metrics.jsonl", "m.state"]

    done = subprocess.run([*TRAIN, str(out)], capture_output=True, text=True, check=True)
    assert done.stderr.count("synthetic:4000: 3,200 training") == 1
    assert done.stderr.count("resumed after") == 1
    lines = [json.loads(line) for line in (tmp_path / "m.metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if "validation_auc" in line] == list(range(1, 7))
    assert {line["world_size"] for line in lines} == {2}


def test_torchrun_starts_killed_ranks_again_and_they_go_on(tmp_path: Path) -> None:
    shorter = [argument if argument != "6" else "2" for argument in TRAIN]
    subprocess.run([*shorter, str(tmp_path / "whole")], capture_output=True, check=True)
    started_again = [*shorter, str(tmp_path / "m")]
    started_again[started_again.index("--standalone")] = "--standalone --max-restarts 3"
    command = [word for argument in started_again for word in argument.split()]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        try:
            wait_for(tmp_path / "m.state", running)  # kept within the first epoch
            processes = psutil.Process(running.pid).children(recursive=True)
            ranks = {process.environ().get("RANK"): process for process in processes}
            ranks["1"].kill()
            says = running.communicate(timeout=300)[1]
        finally:
            running.terminate()
    assert running.returncode == 0, says
    assert "rank 0 of 2 cannot go on: another rank has ended" in says
    assert "resumed after" in says
    for name in ("model.safetensors", "checkpoint.json"):
        assert (tmp_path / "m" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list(tmp_path.glob("*.state*"))
