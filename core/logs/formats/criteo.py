"""Criteo's display advertising logs: tab separated, no header: label, I1..I13, C1..C26 (hexadecimal).

Any value but the label may be empty, which means missing.
"""

from tablefold.files.place import Place
from tablefold.logs.formats.public_files import mostly, open_files
from tablefold.logs.source import LogFormat, Source
from tablefold.logs.tables.text import TextTable, first_widths
from tablefold.schema import CategoricalFeature, DenseFeature, Encoding, FeatureSchema, Transform

SCHEMA = FeatureSchema(
    name="criteo",
    dense=tuple(DenseFeature(name=f"I{i}", transform=Transform.LOG1P) for i in range(1, 14)),
    categorical=tuple(CategoricalFeature(name=f"C{i}", encoding=Encoding.HEX32) for i in range(1, 27)),
)
COLUMNS = [SCHEMA.label, *(f.name for f in SCHEMA.dense), *(f.name for f in SCHEMA.categorical)]


def open_file(path: Place) -> TextTable:
    """Return the table of a file; Criteo's own test file has no column of labels. Raises LogError."""
    labelled = not mostly(first_widths(path, "\t"), len(COLUMNS) - 1)
    return TextTable(path=path, separator="\t", columns=COLUMNS if labelled else COLUMNS[1:])


def _open(argument: str) -> Source:
    return open_files(argument, SCHEMA, open_file)


FORMAT = LogFormat(name="criteo", argument="PATH", schema=SCHEMA, open=_open)
