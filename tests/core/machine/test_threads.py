"""Threads of the libraries that compute, as the command line sets them before it imports any."""

import os
import subprocess
import sys

import pytest

SHOWN = "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"


def set_by_the_command(cores: int, machine: int, given: dict[str, str]) -> dict[str, str]:
    """What the variables are once the command has started."""
    script = (
        "import os, sys, tablefold.machine.threads as threads\n"
        f"threads.available_cores, os.cpu_count = lambda: {cores}, lambda: {machine}\n"
        "sys.argv = ['tablefold', '--version']\n"
        "from tablefold.__main__ import main\n"
        "assert 'numpy' not in sys.modules\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print(*(f'{{name}}={{os.environ[name]}}' for name in {SHOWN} if name in os.environ))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in SHOWN} | given
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(pair.split("=") for pair in done.stdout.splitlines()[-1].split())


PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"OMP_NUM_THREADS": "3"} | PASSIVE),
        ({"OMP_NUM_THREADS": "7"}, {"OMP_NUM_THREADS": "7"} | PASSIVE),
        ({"GOMP_SPINCOUNT": "5"}, {"OMP_NUM_THREADS": "3"} | PASSIVE | {"GOMP_SPINCOUNT": "5"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_NUM_THREADS": "3", "OMP_WAIT_POLICY": "ACTIVE"}),
    ],
)
def test_threads_are_as_many_as_the_quota_leaves_and_do_not_spin_unless_the_user_says_so(
    given: dict[str, str], expected: dict[str, str]
) -> None:
    assert set_by_the_command(3, 8, given) == expected


def test_where_the_whole_machine_may_be_used_the_libraries_choose() -> None:
    assert set_by_the_command(8, 8, {}) == PASSIVE  # torch takes physical cores, not logical ones
