"""Errors of a SCHEMA.toml in words: which feature, what was found, what may stand there."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from tablefold.printable import printable, shortened

Keys = Mapping[str, tuple[str, ...]]
"""The keys of each table of a SCHEMA.toml; those outside of all tables are under the empty name."""

NAME = "a text of 1 to 200 characters, no control characters among them"
VALUES = {
    "files": "a table [files] with `format` and `path`",
    "dense": "each dense feature as a table [[dense]]",
    "categorical": "each categorical feature as a table [[categorical]], one at least",
    "encoding": '"int", "hex32" or "string"',
    "transform": '"none" or "log1p"',
    "pooling": '"sum" or "mean"',
    "format": '"csv", "tsv" or "parquet"',
    "min_count": "a whole number from 1 to 2^63 - 1",
    "slots": "a whole number from 1 to 1024",
    "name": NAME,
    "label": f"the name of a column, {NAME}",
    "time": f"the name of a column, {NAME}",
    "list_separator": "a text of at least one character",
    "quoting": "true or false",
    "optional": "true or false",
    "path": "a path or a list of paths",
    "train": "a path or a list of paths",
    "validation": "a path or a list of paths",
    "test": "a path or a list of paths",
}
TOP_VALUES = {"format": "1 or leave it out; the format of the log is `format` under [files]"}
"""Of keys that mean something else outside of all tables."""
MOST_LETTERS = 100
"""Of a value or key in a message."""
OTHER_WORDS = {
    "dev": "validation", "valid": "validation", "val": "validation", "data": "path", "file": "path",
    "files": "path", "paths": "path", "target": "label", "label_column": "label", "type": "encoding",
    "dtype": "encoding", "timestamp": "time", "time_column": "time", "time_col": "time", "sep": "format",
    "separator": "format", "delimiter": "format", "vocab_size": "min_count", "max_len": "slots",
    "max_length": "slots", "combiner": "pooling", "normalize": "transform", "quote": "quoting",
    "features": "categorical", "sparse": "categorical", "numeric": "dense", "numerical": "dense",
}  # fmt: skip
"""Keys that other tools know these by."""


def explain(error: ValidationError, content: Mapping[str, Any], keys: Keys) -> str:
    """Return the first fault in words. `content` is the parsed TOML."""
    first = error.errors()[0]
    place = list(first["loc"][first["loc"][:1] == ("feature_schema",) :])
    key = next((str(part) for part in reversed(place) if isinstance(part, str)), "")
    where, table = _where(place, content, keys)
    values = VALUES if table else VALUES | TOP_VALUES
    if first["type"] == "value_error":
        return f"{'[files]: ' if place == ['files'] else where}{first['ctx']['error']}"
    if first["type"] == "extra_forbidden":
        return f"{where}unknown key `{printable(_shown(key))}`; {_right_key(key, table, keys)}"
    if first["type"] == "missing":
        return f"{where}`{key}` is missing; give {values[key]}"
    return f"{where}`{key}` is {_shown(repr(first['input']))}; give {values[key]}"


def _shown(text: str) -> str:
    return shortened(text, MOST_LETTERS)


def _where(place: list[Any], content: Mapping[str, Any], keys: Keys) -> tuple[str, str]:
    """Return the words for a place, and the table of TOML that it is in."""
    if not place or place[0] not in keys:
        return "", ""
    table = str(place[0])
    if len(place) == 1:
        return "", ""
    if not isinstance(place[1], int):
        return f"[{table}]: ", table
    entries = content.get(table)
    entry = entries[place[1]] if isinstance(entries, list) and place[1] < len(entries) else None
    name = entry.get("name") if isinstance(entry, dict) else None
    named = f"feature {_shown(repr(name))}" if name else f"feature number {place[1] + 1}"
    return f"[[{table}]], {named}: ", table


def _right_key(key: str, table: str, keys: Keys) -> str:
    """Say which key was meant, or which ones there are."""
    everywhere = [known for names in keys.values() for known in names]
    close = get_close_matches(key.lower(), keys[table]) or [OTHER_WORDS.get(key.lower(), "")]
    close += get_close_matches(key.lower(), everywhere)
    for name in close:
        for where, names in sorted(keys.items(), key=lambda item: item[0] != table):
            if name in names:
                place = f" under [{where}]" if where else " above all tables"
                return f"did you mean `{name}`{'' if where == table else place}?"
    return f"the keys here are {', '.join(keys[table])}"
