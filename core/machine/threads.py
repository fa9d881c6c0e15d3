"""Threads of the libraries that compute: as many as this process has cores, and none that spins for long."""

import os

from tablefold.machine.cores import available_cores

SPINS = "10000"
"""Some microseconds: training wakes its threads thousands of times a second, and a sleep each time costs."""


def limit_threads() -> None:
    """Set what OpenMP (of torch and faiss) reads when it is loaded; call it before they are imported.

    By itself it takes the machine's cores, whatever a control group leaves of them, and a thread that waits
    for the others spins. Beside other work they take the cores from those they wait for. What the user has
    set stays.
    """
    cores = available_cores()
    if cores < (os.cpu_count() or 1):
        os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)  # GNU's OpenMP alone knows it, and heeds it first
