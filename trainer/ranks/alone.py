"""Commands that one process does."""

import os

from tablefold.errors import UsageError


def require_alone(command: str) -> None:
    """Raise UsageError in one of several processes that were started together: each would do the same."""
    started = os.environ.get("WORLD_SIZE", "1")
    if started != "1":
        raise UsageError(
            f"`tablefold {command}` runs in one process, and {started} were started together (WORLD_SIZE): "
            "start it without torchrun; `tablefold train` is what several processes can do"
        )
