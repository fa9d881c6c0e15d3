"""Learned hash functions: which ids may share a row, learned from vectors and access counts.

After "Learning to Collide" (arXiv 2203.15837), of which only the abstract is public; the construction is
ours. Merging ids i and j, accessed f_i and f_j times, into one row costs about
f_i f_j / (f_i + f_j) |v_i - v_j|^2 (Ward): k-means over the vectors of a cheap first-stage model, weighted
by f, minimises just that sum. Starting from the most accessed ids keeps those nearly private.

Where it is quick, every id is compared with every row. Otherwise a coarse k-means cuts the ids into cells,
and each cell is clustered alone into its share of the rows: n ids to m rows take about n sqrt(m)
comparisons, not n m.

faiss is imported where it works: the exporter knows the methods and clusters nothing.
"""

from math import ceil, sqrt

import numpy as np

from tablefold.trainer.methods.cells import run_cells

ITERATIONS = 20
POINTS_PER_ROW = 256
"""k-means learns from at most this many ids a row; all ids are assigned."""
COMPARISONS = 5e10
"""Of ids with rows, some twenty seconds of two cores: more than this many, and cells are made first."""


def cluster(vectors: np.ndarray, weights: np.ndarray, rows: int, *, seed: int) -> np.ndarray:
    """Return int64 [n] from 0 to at most rows - 1: the row of each id, every row used.

    `vectors` float32 [n, d0] are the ids' first-stage vectors, `weights` [n] what a merge costs: access
    counts, or ones.
    """
    if rows >= len(vectors):
        return np.arange(len(vectors))
    vectors, weights = np.ascontiguousarray(vectors, np.float32), weights.astype(np.float32)
    comparisons = rows * (ITERATIONS * min(len(vectors), POINTS_PER_ROW * rows) + len(vectors))
    method = brute_force if comparisons <= COMPARISONS else in_cells
    return _renumbered(method(vectors, weights, rows, seed=seed))


def brute_force(vectors: np.ndarray, weights: np.ndarray, rows: int, *, seed: int) -> np.ndarray:
    """Return int64 [n]: `cluster` by one k-means; some rows may be unused."""
    return _kmeans(vectors, weights, rows, seed)[0]


def in_cells(vectors: np.ndarray, weights: np.ndarray, rows: int, *, seed: int) -> np.ndarray:
    """Return int64 [n]: `cluster` by a coarse k-means, then one in each cell; some rows may be unused."""
    cell_of, distances = _kmeans(vectors, weights, min(rows, ceil(sqrt(rows))), seed)
    cell_of = _renumbered(cell_of)
    sizes = np.bincount(cell_of)
    if len(sizes) == 1:  # all alike: any split is as good
        return np.arange(len(vectors)) % rows
    allotted = _allot(rows, np.bincount(cell_of, weights * distances), sizes, vectors.shape[1])
    return run_cells(cluster, vectors, weights, cell_of, allotted, seed=seed)


def _kmeans(vectors: np.ndarray, weights: np.ndarray, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest of `rows` centroids, int64 [n], and the squared distance to it, float32 [n]."""
    import faiss

    kmeans = faiss.Kmeans(
        vectors.shape[1],
        rows,
        niter=ITERATIONS,
        seed=seed % 2**31,  # faiss takes 32 bits
        min_points_per_centroid=1,
        max_points_per_centroid=POINTS_PER_ROW,
    )
    heaviest = np.argsort(-weights, kind="stable")[:rows]
    kmeans.train(vectors, weights=weights, init_centroids=vectors[heaviest])
    distances, nearest = kmeans.index.search(vectors, 1)
    return nearest[:, 0], distances[:, 0]


def _allot(rows: int, costs: np.ndarray, sizes: np.ndarray, dim: int) -> np.ndarray:
    """Return int64 [cells] that sum to `rows`: at least one a cell, no more than it has ids.

    r rows in a cell that costs c with one lower that to about c r^(-2/d); the sum is least where rows are in
    proportion to c^(d / (d + 2)) (Zador 1982).
    """
    wanted = costs ** (dim / (dim + 2))
    wanted += 1e-9 * wanted.max() or 1.0  # a cell that costs nothing takes what nobody else can use
    low, high = 0.0, rows / wanted.min()
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(middle * wanted, 1, sizes).sum() < rows else (low, middle)
    shares = np.clip(low * wanted, 1, sizes)
    allotted = shares.astype(np.int64)
    missing = rows - allotted.sum()
    allotted[np.argsort(allotted - shares, kind="stable")[:missing]] += 1
    return allotted


def _renumbered(numbers: np.ndarray) -> np.ndarray:
    """Return the same groups, numbered from 0 on without gaps."""
    return np.unique(numbers, return_inverse=True)[1].astype(np.int64)
