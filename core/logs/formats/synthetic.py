"""Generated click logs in Criteo's shape, whose best reachable AUC is known.

Every field's ids follow a power law over as many ids as Criteo-Kaggle's field has. Ids belong to planted
groups: a group has an effect of its own and takes part in interactions between fields, an id adds a little
to its group's effect. So ids of one group are alike, which is what a learned hash looks for and what a
random one destroys. The click is drawn from the probability the row really has, so the AUC of that very
probability is the best any model can reach: `bayes_auc`.

Rows are made in blocks with seeds of their own: `generate(1000)` is the beginning of `generate(2000)`, and
memory is bounded by the rows asked for.
"""

import numpy as np

from tablefold.errors import UsageError
from tablefold.logs.formats import criteo
from tablefold.logs.log import Log
from tablefold.logs.source import LogFormat, Order, Source
from tablefold.schema import MISSING

SCHEMA = criteo.SCHEMA.model_copy(update={"name": "synthetic"})
FIELD_SIZES = (
    1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194,
    27, 14992, 5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572,
)  # fmt: skip
"""Distinct ids of Criteo-Kaggle's 26 fields (MLET, arXiv 2006.05623)."""

FEWEST_ROWS = 100
"""Fewer leave no tenth to validate on."""
BLOCK = 1 << 16
"""Rows that are generated from one seed."""
EXPONENT = 1.3
"""Of the power law: the r-th most frequent id has weight r^-EXPONENT."""
GROUPS = 40
"""Groups of ids a field has at most."""
PAIRS = 24
"""Interacting pairs of fields."""
INTERCEPT = -1.45
MISSING_IDS = 0.04
"""Share of missing values in every third field."""


def generate(rows: int, *, seed: int = 0) -> Log:
    """`rows` rows of the log that `seed` stands for."""
    return generate_with_probability(rows, seed=seed)[0]


def generate_with_probability(rows: int, *, seed: int = 0) -> tuple[Log, np.ndarray]:
    """The same rows, and each row's true click probability, float64 [rows]."""
    world = _World(seed)
    dense = np.empty((rows, len(SCHEMA.dense)), np.float32)
    ids = np.empty((rows, len(FIELD_SIZES)), np.int64)
    label = np.empty(rows, np.float32)
    probability = np.empty(rows)
    for block, start in enumerate(range(0, rows, BLOCK)):
        part = slice(start, min(start + BLOCK, rows))
        size = part.stop - part.start
        rng = np.random.default_rng([seed, block])
        block_dense, block_ids, p = world.rows(rng)
        clicks = rng.random(BLOCK) < p
        dense[part], ids[part], probability[part], label[part] = (
            block_dense[:size], block_ids[:size], p[:size], clicks[:size]
        )  # fmt: skip
    return Log(dense=dense, ids=ids, label=label), probability


def bayes_auc(probability: np.ndarray) -> float:
    """The expected AUC of ranking rows by their true probability [rows]: no model can be better."""
    p = np.sort(probability)
    clicks, others = p, 1 - p
    # Each row is a click with weight p and none with weight 1 - p; ties among equal p count one half.
    below = np.cumsum(others) - others
    return float((clicks * (below + others / 2)).sum() / (clicks.sum() * others.sum()))


class _World:
    """The constants behind the rows: effects of groups, interacting pairs, weights of dense values."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 0xF01D])
        fields = len(FIELD_SIZES)
        self.effect = rng.normal(0, 0.28, (fields, GROUPS))
        self.latent = rng.normal(0, 1, (fields, GROUPS, 4))
        self.pairs = np.array([rng.choice(fields, 2, replace=False) for _ in range(PAIRS)])
        self.pair_weight = rng.normal(0, 0.13, PAIRS)
        self.dense_weight = rng.normal(0, 0.08, len(SCHEMA.dense))

    def rows(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """dense float32 [BLOCK, 13], ids int64 [BLOCK, 26], probability float64 [BLOCK]."""
        counts = np.floor(np.exp(rng.normal(1.2, 1.3, (BLOCK, len(SCHEMA.dense)))))
        counts[rng.random(counts.shape) < 0.1] = np.nan
        logit = INTERCEPT + np.nan_to_num(np.log1p(counts)) @ self.dense_weight
        ids = np.empty((BLOCK, len(FIELD_SIZES)), np.int64)
        groups = np.empty_like(ids)
        for field, size in enumerate(FIELD_SIZES):
            ids[:, field] = _raw_id(field, _rank(rng, size))
            mixed = _mix(ids[:, field].astype(np.uint64) + np.uint64(field << 32))
            groups[:, field] = mixed % np.uint64(min(size, GROUPS))
            own = (mixed >> np.uint64(40)) / 2**24 - 0.5
            logit += self.effect[field, groups[:, field]] + 0.2 * own
            if field % 3 == 2:
                ids[rng.random(BLOCK) < MISSING_IDS, field] = MISSING
        for (left, right), weight in zip(self.pairs, self.pair_weight, strict=True):
            a, b = self.latent[left, groups[:, left]], self.latent[right, groups[:, right]]
            logit += weight * np.einsum("nd,nd->n", a, b)
        return counts.astype(np.float32), ids, 1 / (1 + np.exp(-logit))


def _rank(rng: np.random.Generator, size: int) -> np.ndarray:
    """int64 [BLOCK] in 0 .. size - 1 by the power law (its continuous form, inverted)."""
    power = 1 - EXPONENT
    u = rng.random(BLOCK)
    position: np.ndarray = (1 + u * ((size + 1) ** power - 1)) ** (1 / power)
    rank: np.ndarray = np.minimum(position.astype(np.int64) - 1, size - 1)
    return rank


def _raw_id(field: int, rank: np.ndarray) -> np.ndarray:
    """int64: an unsigned 32-bit id without visible order; one to one within a field."""
    low = np.uint64(0xFFFFFFFF)
    x = (rank.astype(np.uint64) * np.uint64(0x9E3779B1) + np.uint64(field * 0x85EBCA6B)) & low
    x ^= x >> np.uint64(16)
    raw: np.ndarray = ((x * np.uint64(0xC2B2AE35)) & low).astype(np.int64)
    return raw


def _mix(x: np.ndarray) -> np.ndarray:
    """uint64: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x


def _open(argument: str) -> Source:
    try:
        rows = int(argument.replace("_", ""))
    except ValueError:
        rows = 0
    if rows < FEWEST_ROWS:
        raise UsageError(f"synthetic:{argument}: give a number of rows of at least {FEWEST_ROWS}")
    return Source(schema=SCHEMA, whole=generate(rows), order=Order.TIME)


FORMAT = LogFormat(name="synthetic", argument="ROWS", schema=SCHEMA, open=_open)
