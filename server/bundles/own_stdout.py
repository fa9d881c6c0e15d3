"""Standard output for a process's own messages: what a library prints there goes to standard error."""

import os
from typing import TextIO


def take_stdout() -> TextIO:
    """Return standard output as a file of its own, once. ONNX Runtime prints why it refuses some graphs."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own
