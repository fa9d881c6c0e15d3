"""Row maps that nothing is learned for: identity, hashes, quotient-remainder, a private head, a lottery.

full     every known id has a row of its own
hash     the hashing trick: no dictionary, every id is hashed
double   two such hashes over half of the rows each, summed: few ids share both (arXiv 2007.14523)
qr       quotient and remainder of an id's place in the vocabulary, summed: known ids share one of
         them at most (arXiv 1909.02107)
head     the most frequent ids have rows of their own, the others are hashed over the rest
random   as many known ids a row as any other, drawn by lot: what a learned hash must beat, as it has a
         dictionary too
"""

from math import isqrt

import numpy as np

from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.methods.builder import FeatureSize, RowMapBuilder, RowMapRequest, RowMapSize


def _identity(request: RowMapRequest) -> tuple[RowMap, ...]:
    ids = request.vocabulary.ids
    return (RowMap(keys=ids, rows=np.arange(len(ids)), hashed_first=len(ids), hashed_rows=1),)


def _identity_sizes(size: FeatureSize, rows: int) -> tuple[RowMapSize, ...]:
    return (RowMapSize(size.known, size.known, 1),)


def _hash(request: RowMapRequest) -> tuple[RowMap, ...]:
    return (_stateless(0, request.rows, request.seed),)


def _hash_sizes(size: FeatureSize, rows: int) -> tuple[RowMapSize, ...]:
    return (RowMapSize(0, 0, rows),)


def _double_hash(request: RowMapRequest) -> tuple[RowMap, ...]:
    # Neighbouring salts give neighbouring hashes: what collides in one would collide in the other.
    salts = np.random.default_rng(request.seed).integers(-(2**63), 2**63 - 1, 2)
    first, second = _halves(request.rows)
    return _stateless(0, first, int(salts[0])), _stateless(first, second, int(salts[1]))


def _double_hash_sizes(size: FeatureSize, rows: int) -> tuple[RowMapSize, ...]:
    return tuple(RowMapSize(0, 0, half) for half in _halves(rows))


def _quotient_remainder(request: RowMapRequest) -> tuple[RowMap, ...]:
    ids = request.vocabulary.ids
    part = _part_rows(len(ids), request.rows)
    place = np.arange(len(ids))
    # Ids of one quotient are at most `part` neighbours, so their remainders differ: all in integers, since a
    # float32 no longer tells places above 2^24 apart.
    quotient, remainder = place * part // max(1, len(ids)), place % part
    return (
        RowMap(keys=ids, rows=quotient, hashed_first=part, hashed_rows=1),
        RowMap(keys=ids, rows=part + 1 + remainder, hashed_first=2 * part + 1, hashed_rows=1),
    )


def _quotient_remainder_sizes(size: FeatureSize, rows: int) -> tuple[RowMapSize, ...]:
    return (RowMapSize(size.known, _part_rows(size.known, rows), 1),) * 2


def _private_head(request: RowMapRequest) -> tuple[RowMap, ...]:
    vocabulary = request.vocabulary
    head = _head_rows(len(vocabulary), request.rows)
    frequent = np.sort(np.argsort(-vocabulary.counts, kind="stable")[:head])
    tail = _stateless(head, request.rows - head, request.seed)
    return (
        RowMap(
            keys=vocabulary.ids[frequent],
            rows=np.arange(head),
            hashed_first=tail.hashed_first,
            hashed_rows=tail.hashed_rows,
            salt=tail.salt,
        ),
    )


def _private_head_sizes(size: FeatureSize, rows: int) -> tuple[RowMapSize, ...]:
    head = _head_rows(size.known, rows)
    return (RowMapSize(head, head, rows - head),)


def _random(request: RowMapRequest) -> tuple[RowMap, ...]:
    ids = request.vocabulary.ids
    rows = _shared_rows(len(ids), request.rows)
    drawn = np.random.default_rng(request.seed).permutation(len(ids)) % rows
    return (RowMap(keys=ids, rows=drawn, hashed_first=rows, hashed_rows=1),)


def _random_sizes(size: FeatureSize, rows: int) -> tuple[RowMapSize, ...]:
    return (RowMapSize(size.known, _shared_rows(size.known, rows), 1),)


def _shared_rows(known: int, rows: int) -> int:
    """Rows of known ids, without the out-of-vocabulary row."""
    return max(1, min(known, rows - 1))


def _stateless(first: int, rows: int, salt: int) -> RowMap:
    none = np.zeros(0, np.int64)
    return RowMap(keys=none, rows=none, hashed_first=first, hashed_rows=rows, salt=salt)


def _halves(rows: int) -> tuple[int, int]:
    first = max(1, rows // 2)
    return first, max(1, rows - first)


def _part_rows(known: int, rows: int) -> int:
    """Rows of quotients, and of remainders, without the out-of-vocabulary row: half of what there is; at
    least the square root of the ids, or two ids would share both."""
    root = isqrt(max(0, known - 1)) + 1
    return max(1, min(known, max(root, rows // 2 - 1)))


def _head_rows(known: int, rows: int) -> int:
    """Half of the rows, if there are as many ids."""
    return min(known, rows // 2)


IDENTITY = RowMapBuilder(_identity, _identity_sizes)
HASH = RowMapBuilder(_hash, _hash_sizes)
DOUBLE_HASH = RowMapBuilder(_double_hash, _double_hash_sizes)
QUOTIENT_REMAINDER = RowMapBuilder(_quotient_remainder, _quotient_remainder_sizes)
PRIVATE_HEAD = RowMapBuilder(_private_head, _private_head_sizes)
RANDOM = RowMapBuilder(_random, _random_sizes)
