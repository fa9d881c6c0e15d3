"""Learned hash functions: which ids may share a row, learned from vectors and access counts.

After "Learning to Collide" (arXiv 2203.15837), of which only the abstract is public; the construction is
ours. Merging ids i and j, accessed f_i and f_j times, into one row costs about
f_i f_j / (f_i + f_j) |v_i - v_j|^2 (Ward): k-means over the vectors of a cheap first-stage model, weighted
by f, minimises just that sum. Starting from the most accessed ids keeps those nearly private.
"""

import faiss
import numpy as np

ITERATIONS = 20
POINTS_PER_ROW = 256
"""k-means learns from at most this many ids a row; all ids are assigned."""


def cluster(vectors: np.ndarray, counts: np.ndarray, rows: int, *, seed: int) -> np.ndarray:
    """int64 [n] in 0 .. at most rows - 1: the row of each id, every row used.

    `vectors` float32 [n, d0] are the ids' first-stage vectors, `counts` [n] their access counts.
    """
    if rows >= len(vectors):
        return np.arange(len(vectors))
    kmeans = faiss.Kmeans(
        vectors.shape[1],
        rows,
        niter=ITERATIONS,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=POINTS_PER_ROW,
    )
    vectors = np.ascontiguousarray(vectors, np.float32)
    heaviest = np.argsort(-counts, kind="stable")[:rows]
    kmeans.train(vectors, weights=counts.astype(np.float32), init_centroids=vectors[heaviest])
    _, nearest = kmeans.index.search(vectors, 1)
    return np.unique(nearest[:, 0], return_inverse=True)[1].astype(np.int64)
