"""Import what the user names as `package.module:Name`: their own network, their own row map builder.

Code is imported only here, and only for a name that the caller gives: a checkpoint records such names but
never chooses what runs.
"""

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path

from tablefold.errors import UsageError


def is_import_name(name: str) -> bool:
    """Return whether a name has the form `package.module:Name`."""
    module, colon, attribute = name.partition(":")
    return bool(colon) and attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))


def import_object(option: str, name: str, known: Iterable[str]) -> object:
    """Return what `package.module:Name` names; the current folder is searched last.

    Raises UsageError, naming the option and the names it knows, where there is no such thing.
    """
    if not is_import_name(name):
        raise UsageError(f"{option} {name!r} is not known: give {', '.join(known)} or package.module:Factory")
    current_folder = str(Path.cwd())
    if current_folder not in sys.path:  # the installed command, unlike `python -m`, starts without it
        sys.path.append(current_folder)
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise UsageError(f"{option} {name}: {error}") from error
