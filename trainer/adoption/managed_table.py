"""A managed-collision table of TorchRec (`MCHManagedCollisionModule`): it brings its raw ids.

    _mch_sorted_raw_ids           raw ids; the largest int64 where there is none
    _mch_remapped_ids_mapping     their rows
    _output_segments_tensor       each segment's last row is that of unknown ids

Names: torchrec 1.8, `modules/mc_modules.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from tablefold.errors import CheckpointError
from tablefold.schema import MISSING, CategoricalFeature
from tablefold.trainer.adoption.plain_table import first_odd, not_numbers, require_table
from tablefold.trainer.adoption.sharded_files import ShardedFiles

NO_ID = torch.iinfo(torch.int64).max


@dataclass(frozen=True, kw_only=True, eq=False)
class ManagedTable:
    """One feature's rows: those that an id has, in the order of the table.

    Unknown ids have the last row of their segment; where there are several segments, the mean of those rows.
    In memory are one feature's ids, no vectors but those of a part.
    """

    files: ShardedFiles
    feature: CategoricalFeature
    table: str
    prefix: str
    num_ids: int
    """How many ids it knows."""
    num_rows: int
    """How many rows they have."""
    ends: tuple[int, ...]
    """The rows of unknown ids."""

    @classmethod
    def of(cls, files: ShardedFiles, feature: CategoricalFeature, table: str, prefix: str) -> Self:
        """`prefix`: of the names of its ids. Raises CheckpointError for what does not fit, by feature."""
        names = [prefix + name for name in ("_mch_sorted_raw_ids", "_mch_remapped_ids_mapping")]
        segments_name = prefix + "_output_segments_tensor"
        missing = [name for name in (*names, segments_name) if name not in files]
        if missing:
            raise CheckpointError(f"feature {feature.name!r}: {files.folder} has no {missing[0]!r}")
        require_table(files, feature, table)
        segments = files.read([segments_name])[segments_name]
        ends = torch.unique(segments[segments > 0])
        size = files.shape(table)[0]
        same = files.shape(names[0]) == files.shape(names[1]) and len(files.shape(names[0])) == 1
        if not same or not len(ends) or int(ends[-1]) > size:
            raise _leads_out(feature, table)
        ids, places = _known(files, prefix)
        if ((places < 0) | (places >= size)).any():
            raise _leads_out(feature, table)
        twice = ids[1:][ids[1:] == ids[:-1]]
        if len(twice):
            raise CheckpointError(f"feature {feature.name!r} has the id {int(twice[0])} twice")
        if feature.slots > 1 and len(ids) and ids[0] == MISSING:
            raise CheckpointError(
                f"feature {feature.name!r} has a vector for the missing value, which is padding: leave it out"
            )
        return cls(
            files=files,
            feature=feature,
            table=table,
            prefix=prefix,
            num_ids=len(ids),
            num_rows=int(_used(places, size).sum()),
            ends=tuple((ends.long() - 1).tolist()),
        )

    @property
    def width(self) -> int:
        """Of a vector."""
        return self.files.shape(self.table)[1]

    def ids(self) -> Iterator[Tensor]:
        """Give int64 [num_ids], ascending."""
        yield _known(self.files, self.prefix)[0]

    def rows(self) -> Iterator[Tensor]:
        """Give the row of each id: which of the used rows it is."""
        places = _known(self.files, self.prefix)[1]
        used = _used(places, self.files.shape(self.table)[0])
        yield (used.cumsum(0) - 1)[places]

    def vectors(self) -> Iterator[Tensor]:
        """Give float32 [num_rows + 1, width], the last row that of unknown ids. Raises CheckpointError for
        what is not numbers."""
        ids, places = _known(self.files, self.prefix)
        used = _used(places, self.files.shape(self.table)[0])
        unknown, start = [], 0
        for part in self.files.parts(self.table):
            vectors, stop = part.float(), start + len(part)
            unknown += [vectors[end - start] for end in self.ends if start <= end < stop]
            here = used[start:stop]
            odd = first_odd(vectors[here])
            if odd is not None:
                place = start + int(here.nonzero()[odd])
                raise not_numbers(self.feature, int(ids[places == place][0]))
            yield vectors[here]
            start = stop
        mean = torch.stack(unknown).mean(dim=0)
        if not torch.isfinite(mean).all():
            raise CheckpointError(
                f"feature {self.feature.name!r}: the vector of unknown ids is not all numbers"
            )
        yield mean[None]


def _known(files: ShardedFiles, prefix: str) -> tuple[Tensor, Tensor]:
    """Return the ids that have a row, int64 [n] ascending, and their places in the table."""
    names = [prefix + name for name in ("_mch_sorted_raw_ids", "_mch_remapped_ids_mapping")]
    ids, places = files.read(names).values()
    known = ids != NO_ID
    ids, order = ids[known].sort()
    return ids, places[known][order]


def _used(places: Tensor, size: int) -> Tensor:
    """Return bool [size]: the rows that some id has."""
    used = torch.zeros(size, dtype=torch.bool)
    used[places] = True
    return used


def _leads_out(feature: CategoricalFeature, table: str) -> CheckpointError:
    return CheckpointError(
        f"feature {feature.name!r}: the ids of table {table!r} lead to rows that it has not"
    )
