"""A process that wants a cache: makes it, or finds it made."""

import sys
from pathlib import Path

from tablefold.errors import TablefoldError
from tablefold.logs import EncodedLog, read_splits


def want_cache(spec: str, cache: Path) -> None:
    """Exit with 0 if the cache holds a log, else say why not."""
    try:
        train = read_splits(spec, cache=cache)[1].train
    except TablefoldError as error:
        sys.exit(str(error))
    assert isinstance(train, EncodedLog)
