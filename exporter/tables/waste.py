"""Row types without waste: none that takes no fewer bytes than one that is nearer to the values."""

from collections.abc import Sequence

from tablefold.exporter.options import RowType
from tablefold.trainer.embedding.table import PADDING_ROWS

FINEST_LAST = (RowType.INT8, RowType.FP16, RowType.FP32)


def table_bytes(row_type: RowType, feature_rows: Sequence[int], width: int) -> int:
    """Return the bytes of the rows of some features in one type, their scales and the padding included."""
    rows = (PADDING_ROWS + sum(feature_rows)) * row_type.bytes_of_row(width)
    return rows + len(feature_rows) * row_type.scales_of_feature(width)


def without_waste(row_types: Sequence[RowType], feature_rows: Sequence[int], width: int) -> list[RowType]:
    """Return the row type of each feature; a finer one in place of one that would be no smaller."""
    stored = list(row_types)
    for row_type in set(row_types):
        own = [rows for rows, given in zip(feature_rows, row_types, strict=True) if given is row_type]
        size = table_bytes(row_type, own, width)
        finer = FINEST_LAST[FINEST_LAST.index(row_type) + 1 :] if row_type in FINEST_LAST else FINEST_LAST
        for other in finer:
            if table_bytes(other, own, width) <= size:
                stored = [
                    other if given is row_type else kept
                    for given, kept in zip(row_types, stored, strict=True)
                ]
                size = table_bytes(other, own, width)
    return stored


def describe_waste(names: Sequence[str], asked: Sequence[str], stored: Sequence[str]) -> list[str]:
    """Return a sentence about features whose rows are not stored as asked for; none where there are none."""
    other = [entry for entry in zip(names, asked, stored, strict=True) if entry[1] != entry[2]]
    if not other:
        return []
    name, before, after = other[0]
    more = f" and {len(other) - 1} more" if len(other) > 1 else ""
    return [f"rows of {name}{more} are stored as {after}: {before} would take no fewer bytes"]
