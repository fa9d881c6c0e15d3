"""Criteo's display advertising logs: tab separated, no header: label, I1..I13, C1..C26 (hexadecimal).

Any value but the label may be empty, which means missing.
"""

from functools import partial
from pathlib import Path

from tablefold.logs.formats.parse import parse
from tablefold.logs.formats.text import first_line, part, read_text, refuse_ragged_lines, scan_text
from tablefold.logs.log import Log
from tablefold.logs.log_file import LogFile
from tablefold.schema import CategoricalFeature, DenseFeature, Encoding, FeatureSchema, Transform

SCHEMA = FeatureSchema(
    name="criteo",
    dense=tuple(DenseFeature(name=f"I{i}", transform=Transform.LOG1P) for i in range(1, 14)),
    categorical=tuple(CategoricalFeature(name=f"C{i}", encoding=Encoding.HEX32) for i in range(1, 27)),
)
NUMBERS = [feature.name for feature in SCHEMA.dense]
COLUMNS = [SCHEMA.label, *NUMBERS, *(f.name for f in SCHEMA.categorical)]


def open_file(path: Path) -> LogFile:
    """One file; Criteo's own test file, which lacks the label, is a log without labels. Raises LogError."""
    labelled = first_line(path).count("\t") != len(COLUMNS) - 2
    columns = COLUMNS if labelled else COLUMNS[1:]

    def read_part(first: int, rows: int | None) -> Log:
        frame = read_text(path, separator="\t", columns=columns, rows=part(first, rows))
        return parse(frame, SCHEMA, file=path, header_lines=first)

    return LogFile(
        path=path,
        frame=scan_text(path, separator="\t", columns=columns, numbers=NUMBERS),
        read_part=read_part,
        require_whole_lines=partial(refuse_ragged_lines, path, "\t", None, len(columns)),
    )


def read(path: Path) -> Log:
    """All rows of one file. Raises LogError."""
    return open_file(path).read()
