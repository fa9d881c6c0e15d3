"""A text file whose separator has several characters, such as MovieLens' `::`."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from tablefold.files.place import Place
from tablefold.logs.source import RawBatch
from tablefold.logs.tables.blocks import read_blocks


@dataclass(frozen=True, kw_only=True)
class FieldsTable:
    """A text file without a header; a byte that is not UTF-8 is replaced, as old files are in Latin-1."""

    path: Place
    separator: str
    columns: Sequence[str]

    @property
    def files(self) -> Sequence[Place]:
        """The one file."""
        return [self.path]

    def count(self) -> int:
        """Return the number of rows. Raises LogError."""
        return sum(block.rows for block in read_blocks(self.path, separator=self.separator, quoting=False))

    def batches(self, columns: Sequence[str], numbers: Collection[str] = ()) -> Iterator[RawBatch]:
        """Yield the rows in order, with all columns. Raises LogError."""
        row = 0
        for block in read_blocks(self.path, separator=self.separator, quoting=False):
            text = block.content.decode(errors="replace").removesuffix("\n")
            lines = pl.Series(text.split("\n")).str.strip_suffix("\r")
            batch = RawBatch(
                frame=_split(lines, self.separator, self.columns),
                columns=self.columns, file=self.path, line_of=block.line_of, first_row=row,
            )  # fmt: skip
            fields = lines.str.count_matches(self.separator, literal=True) + 1
            wrong = (fields != len(self.columns)).arg_true()
            if len(wrong):
                batch.refuse(
                    int(wrong[0]), f"does not have {len(self.columns)} fields separated by {self.separator!r}"
                )
            yield batch
            row += len(lines)


def _split(lines: pl.Series, separator: str, columns: Sequence[str]) -> pl.DataFrame:
    fields = lines.str.split_exact(separator, len(columns) - 1)
    return fields.struct.rename_fields(columns).struct.unnest()
