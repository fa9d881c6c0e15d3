"""The priority of a thread."""

import os
import sys
import threading

NICENESS = 10
"""Of who gives way: about a tenth of the time that another thread gets where there are too few cores."""


def give_way() -> None:
    """Let the system prefer the other threads of this process to the one that calls this."""
    if sys.platform == "linux":  # elsewhere only whole processes have a priority
        now = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, now + NICENESS))
