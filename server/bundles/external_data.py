"""The files that a graph reads its weights from.

A hostile one could name any file of the machine.
"""

from pathlib import Path
from typing import Any

from tablefold.server.engines.onnx_format import read_model


def _locations(message: Any) -> set[str]:
    found: set[str] = set()
    for field, value in message.ListFields():
        for child in value if field.is_repeated else [value]:
            if field.message_type is None:
                continue
            if field.message_type.name == "Entry":
                if child.key == "location":
                    found.add(child.value)
            else:
                found |= _locations(child)
    return found


def external_files(path: Path, graph: bytes) -> set[str]:
    """Return the names of all files that the graph of `path` reads its weights from.

    Raises BundleError where it is no ONNX model, or nested deeper than any that is exported.
    """
    return _locations(read_model(path, graph))
