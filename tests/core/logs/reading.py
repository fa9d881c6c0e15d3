"""Reads a log both ways, into memory and through a cache, and holds that both say the same."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings

from tablefold.errors import UsageError
from tablefold.logs import EncodedLog, Log, read_rows, read_splits

SCHEMA = """
name = "shop"
label = "click"
[files]
format = "{format}"
path = "{path}"
{settings}
"""


def describe(folder: Path, path: str, *features: str, settings: str = "") -> str:
    """Write a schema of features such as `user int`, `tags string 2` or `price`; return its path."""
    kind = "parquet" if path.endswith("parquet") else "tsv" if ".tsv" in path else "csv"
    text = SCHEMA.format(format=kind, path=path, settings=settings)
    for feature in features:
        name, *encoding = feature.split()
        text += f'[[{"categorical" if encoding else "dense"}]]\nname = "{name}"\n'
        text += f'encoding = "{encoding[0]}"\n' if encoding else ""
        text += f"slots = {encoding[1]}\n" if len(encoding) > 1 else ""
    (folder / "schema.toml").write_text(text)
    return str(folder / "schema.toml")


def thorough() -> bool:
    """Whether pytest runs with --hypothesis-profile=thorough."""
    return settings.default is not None and settings.default.max_examples >= 2000


def in_memory(log: Log | EncodedLog) -> Log:
    return log.take(np.arange(len(log))) if isinstance(log, EncodedLog) else log


def read_both(spec: str) -> Log:
    """Return all rows of a log. Raises the one error that both ways of reading give."""
    found: list[Log | UsageError] = []
    with tempfile.TemporaryDirectory() as folder:
        for cache in (None, Path(folder) / "cache"):
            try:
                splits = read_splits(spec, cache=cache)[1]
                found.append(Log.concatenate([in_memory(getattr(splits, part)) for part in PARTS]))
            except UsageError as error:
                found.append(error)
    memory, cached = found
    if isinstance(memory, UsageError) or isinstance(cached, UsageError):
        assert str(memory) == str(cached)
        assert isinstance(memory, UsageError)
        raise memory
    np.testing.assert_array_equal(memory.ids, cached.ids)
    np.testing.assert_array_equal(memory.dense, cached.dense)
    np.testing.assert_array_equal(memory.labels, cached.labels)
    rows = read_rows(spec, part="all")[1]
    assert sorted(rows.ids.tolist()) == sorted(memory.ids.tolist())
    return memory


PARTS = ("train", "validation", "test")
