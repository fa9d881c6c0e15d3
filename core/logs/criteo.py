"""Criteo's display advertising logs: tab separated, no header: label, I1..I13, C1..C26 (hexadecimal).

Any value but the label may be empty, which means missing.
"""

from pathlib import Path

from tablefold.logs.log import Log
from tablefold.logs.parse import parse
from tablefold.logs.text import first_line, read_text
from tablefold.schema import CategoricalFeature, DenseFeature, Encoding, FeatureSchema, Transform

SCHEMA = FeatureSchema(
    name="criteo",
    dense=tuple(DenseFeature(name=f"I{i}", transform=Transform.LOG1P) for i in range(1, 14)),
    categorical=tuple(CategoricalFeature(name=f"C{i}", encoding=Encoding.HEX32) for i in range(1, 27)),
)
COLUMNS = [SCHEMA.label, *(f.name for f in SCHEMA.dense), *(f.name for f in SCHEMA.categorical)]


def read(path: Path) -> Log:
    """One file; Criteo's own test file, which lacks the label, reads as a log without labels."""
    labelled = first_line(path).count("\t") != len(COLUMNS) - 2
    return parse(
        read_text(path, separator="\t", columns=COLUMNS if labelled else COLUMNS[1:]), SCHEMA, file=path
    )
