"""How public data sets lie on disk: one file, or a folder with train, validation and test files."""

from collections.abc import Callable

from tablefold.errors import LogError, UsageError
from tablefold.files.place import Place, place_of
from tablefold.logs.source import Order, Source, Table
from tablefold.logs.splits import Part
from tablefold.schema import FeatureSchema

FILE_NAMES: dict[Part, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("dev", "validation", "valid"),
    "test": ("test",),
}
SUFFIXES = [suffix + gz for suffix in (".csv", ".tsv", ".txt") for gz in ("", ".gz")]


def open_files(argument: str, schema: FeatureSchema, open_file: Callable[[Place], Table]) -> Source:
    """Return the source of a file or a folder, whose rows are in order of time. Raises UsageError."""
    path = existing(argument)
    if path.is_file():
        return Source(schema=schema, whole=open_file(path), order=Order.TIME, scored_whole=True)
    found: dict[Part, Place] = {}
    for part, names in FILE_NAMES.items():
        for name in [name + suffix for name in names for suffix in SUFFIXES]:
            if (path / name).is_file():
                found.setdefault(part, path / name)
    if "train" not in found:
        raise UsageError(f"{path} holds no train file (train.csv, .tsv or .txt, plain or .gz)")
    return Source(
        schema=schema, parts={part: open_file(file) for part, file in found.items()}, order=Order.TIME
    )


def existing(argument: str) -> Place:
    """Return the path. Raises LogError where there is nothing."""
    path = place_of(argument)
    if not path.exists():
        raise LogError("there is no such file or folder", file=str(path))
    return path


def mostly(widths: list[int], width: int) -> bool:
    """Whether most of the first lines have so many fields: a broken one does not decide."""
    return widths.count(width) > len(widths) / 2
