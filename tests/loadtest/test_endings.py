"""How the command ends: exit code, last words, and nothing left behind, whenever it is interrupted."""

import json
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.loadtest.test_trouble import client_processes

COMMAND = [sys.executable, "-m", "tablefold", "loadtest", "--model", "ctr", "--rows", "5", "--processes", "1"]


def start(fake, *words):
    return subprocess.Popen(
        [*COMMAND, "--server", fake.address, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """Exit code, stdout and stderr, which holds no traceback."""
    output, problems = process.communicate(timeout=60)
    assert "Traceback" not in problems
    return process.returncode, output, " ".join(problems.split())


def wait_for(condition):
    until = time.monotonic() + 60
    while not (outcome := condition()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return outcome


def is_loading(process):
    return client_processes(psutil.Process(process.pid))


@pytest.mark.parametrize("mode", ["run", "sweep", "comparison"])
def test_when_no_call_succeeds_the_reason_is_told_with_exit_code_2_and_reports_are_written(
    start_fake, tmp_path, mode
):
    full = start_fake(shed_every=1)
    words = ["--duration", "0.5", "--warmup", "0", "--json", tmp_path / "r.json"]
    more = {
        "run": [],
        "sweep": ["--sweep"],
        "comparison": ["--versus", f"{full.address}/ctr@tablefold", "--repeats", "2"],
    }
    code, output, problems = finish(start(full, *words, *more[mode]))
    assert code == 2
    assert "succeeded: RESOURCE_EXHAUSTED" in problems
    assert "(the queue is full)" in problems
    assert "RESOURCE_EXHAUSTED" in output or mode != "run"
    assert json.loads((tmp_path / "r.json").read_text())["kind"] == mode


@pytest.mark.parametrize("mode", [[], ["--sweep"]])
def test_a_run_too_short_for_a_call_says_so(quick, mode):
    code, _, problems = finish(start(quick, "--duration", "1e-9", "--warmup", "0", *mode))
    assert code == 2
    assert "raise --duration" in problems


def test_a_sweep_says_beforehand_how_long_it_takes_and_what_is_left(quick):
    process = start(quick, "--sweep", "--duration", "0.3", "--warmup", "0.1", "--slo", "p50=2s")
    code, output, problems = finish(process)
    assert code == 0
    assert "This sweep takes about" in problems
    assert "run 1 of about" in problems
    assert "p50=2s" in output
    assert "keeps up with a rate if" in " ".join(output.split())


def test_ctrl_c_before_the_first_call_ends_the_command(start_fake):
    hanging = start_fake(delay=[50, 50])
    process = start(hanging, "--timeout", "60")
    wait_for(lambda: any(c.status == psutil.CONN_ESTABLISHED for c in connections(process)))
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    code, output, _ = finish(process)
    assert code != 0
    assert output == ""


def connections(process):
    return psutil.Process(process.pid).net_connections()


def test_a_second_ctrl_c_leaves_at_once(start_fake):
    stuck = start_fake(stall=[40, 50.0])
    process = start(stuck, "--rate", "20", "--duration", "50", "--timeout", "60")
    clients = wait_for(lambda: is_loading(process))
    time.sleep(4.0)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    finish(process)
    psutil.wait_procs(clients, timeout=20)
    assert not any(client.is_running() for client in clients)


def test_client_processes_do_not_outlive_a_load_test_that_is_killed(quick):
    process = start(quick, "--rate", "50", "--duration", "50")
    clients = wait_for(lambda: is_loading(process))
    time.sleep(2.0)
    process.kill()
    _, _, problems = finish(process)
    _, alive = psutil.wait_procs(clients, timeout=20)
    assert not alive
    assert "BrokenPipe" not in problems


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0, 3.0])
def test_ctrl_c_at_any_moment_ends_the_command_without_a_traceback(quick, seconds):
    process = start(quick)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    interrupted = time.monotonic()
    finish(process)
    assert time.monotonic() - interrupted < 8  # a whole run takes 15 seconds
