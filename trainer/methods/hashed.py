"""Row map builders that learn nothing: identity, hashes, quotient-remainder, a private head, a lottery.

full     every known id has a row of its own
hash     the hashing trick: no dictionary, every id is hashed
double   two such hashes over half of the rows each, summed: few ids share both (arXiv 2007.14523)
qr       quotient and remainder of an id's index in the vocabulary, summed: known ids share one of them at
         most (arXiv 1909.02107)
head     the most frequent ids have rows of their own, the others are hashed over the rest
random   every row has about the same number of known ids, drawn by lot: the control for a learned hash,
         which needs a dictionary too
"""

from math import isqrt

import numpy as np

from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.methods.builder import (
    FeatureSize,
    RowMapBuilder,
    RowMapRequest,
    RowMapSize,
    shared_rows,
)


class Identity(RowMapBuilder):
    """`full`"""

    def build(self, request: RowMapRequest) -> tuple[RowMap, ...]:
        """One row for each known id, one for all others."""
        ids = request.vocabulary.ids
        return (RowMap(keys=ids, rows=np.arange(len(ids)), hashed_first=len(ids), hashed_rows=1),)

    def sizes(self, size: FeatureSize, rows: int) -> tuple[RowMapSize, ...]:
        """As many rows as known ids, whatever `rows` is."""
        return (RowMapSize(size.known, size.known, 1),)


class Hash(RowMapBuilder):
    """`hash`"""

    def build(self, request: RowMapRequest) -> tuple[RowMap, ...]:
        """All ids hashed over all rows."""
        return (_stateless(0, request.rows, request.seed),)

    def sizes(self, size: FeatureSize, rows: int) -> tuple[RowMapSize, ...]:
        """No dictionary."""
        return (RowMapSize(0, 0, rows),)


class DoubleHash(RowMapBuilder):
    """`double`"""

    def build(self, request: RowMapRequest) -> tuple[RowMap, ...]:
        """Two independent hashes."""
        # Neighbouring salts give neighbouring hashes: what collides in one would collide in the other.
        salts = np.random.default_rng(request.seed).integers(-(2**63), 2**63 - 1, 2)
        first, second = _halves(request.rows)
        return _stateless(0, first, int(salts[0])), _stateless(first, second, int(salts[1]))

    def sizes(self, size: FeatureSize, rows: int) -> tuple[RowMapSize, ...]:
        """No dictionary; half of the rows each."""
        return tuple(RowMapSize(0, 0, half) for half in _halves(rows))


class QuotientRemainder(RowMapBuilder):
    """`qr`"""

    def build(self, request: RowMapRequest) -> tuple[RowMap, ...]:
        """One map by quotient, one by remainder."""
        ids = request.vocabulary.ids
        part = _part_rows(len(ids), request.rows)
        index = np.arange(len(ids))
        # Ids of one quotient are at most `part` neighbours, so their remainders differ. All in integers: a
        # float32 no longer tells indices above 2^24 apart.
        quotient, remainder = index * part // max(1, len(ids)), index % part
        return (
            RowMap(keys=ids, rows=quotient, hashed_first=part, hashed_rows=1),
            RowMap(keys=ids, rows=part + 1 + remainder, hashed_first=2 * part + 1, hashed_rows=1),
        )

    def sizes(self, size: FeatureSize, rows: int) -> tuple[RowMapSize, ...]:
        """The same dictionary twice."""
        return (RowMapSize(size.known, _part_rows(size.known, rows), 1),) * 2


class PrivateHead(RowMapBuilder):
    """`head`"""

    def build(self, request: RowMapRequest) -> tuple[RowMap, ...]:
        """A dictionary of the most frequent ids over half of the rows, a hash over the rest."""
        vocabulary = request.vocabulary
        head = _head_rows(len(vocabulary), request.rows)
        frequent = np.sort(np.argsort(-vocabulary.counts, kind="stable")[:head])
        return (
            RowMap(
                keys=vocabulary.ids[frequent],
                rows=np.arange(head),
                hashed_first=head,
                hashed_rows=request.rows - head,
                salt=request.seed,
            ),
        )

    def sizes(self, size: FeatureSize, rows: int) -> tuple[RowMapSize, ...]:
        """The most frequent ids are in the dictionary."""
        head = _head_rows(size.known, rows)
        return (RowMapSize(head, head, rows - head),)


class Random(RowMapBuilder):
    """`random`"""

    def build(self, request: RowMapRequest) -> tuple[RowMap, ...]:
        """Known ids dealt out over the rows."""
        ids = request.vocabulary.ids
        rows = shared_rows(len(ids), request.rows)
        drawn = np.random.default_rng(request.seed).permutation(len(ids)) % rows
        return (RowMap(keys=ids, rows=drawn, hashed_first=rows, hashed_rows=1),)


def _stateless(first: int, rows: int, salt: int) -> RowMap:
    none = np.zeros(0, np.int64)
    return RowMap(keys=none, rows=none, hashed_first=first, hashed_rows=rows, salt=salt)


def _halves(rows: int) -> tuple[int, int]:
    first = max(1, rows // 2)
    return first, max(1, rows - first)


def _part_rows(known: int, rows: int) -> int:
    """Return the rows of quotients, and of remainders, without the out-of-vocabulary row: half of what there
    is, but at least the square root of the ids, or two ids would share both."""
    root = isqrt(max(0, known - 1)) + 1
    return max(1, min(known, max(root, rows // 2 - 1)))


def _head_rows(known: int, rows: int) -> int:
    """Return half of the rows, if there are as many ids."""
    return min(known, rows // 2)
