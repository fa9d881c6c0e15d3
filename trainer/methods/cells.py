"""Cells of ids as tasks: each is clustered alone, in threads or on Ray (`clustering_on`), with the same rows.

They take their ids from files:

    vectors float16 [n, d]   cell after cell: their distance from the cell's mean, the largest value being 1
    weights float32 [n]      rows int32 [n]
"""

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, Protocol

import numpy as np

from tablefold.logs.encoded.engines import Engine, Here

log = logging.getLogger(__name__)


class Cluster(Protocol):
    """Clusters the ids of a cell; see `clustering.cluster`."""

    def __call__(self, vectors: np.ndarray, weights: np.ndarray, rows: int, *, seed: int) -> np.ndarray:
        """Return the row of each id."""
        ...


class Place(NamedTuple):
    """Who clusters cells, and where their files are; a temporary folder where it is None."""

    engine: Engine
    folder: Path | None


class Cell(NamedTuple):
    """Some ids, and the rows that they share."""

    folder: Path
    first: int
    ids: int
    dim: int
    first_row: int
    rows: int
    seed: int


PLACE: ContextVar[Place | None] = ContextVar("PLACE", default=None)


@contextmanager
def clustering_on(engine: Engine, folder: Path) -> Iterator[None]:
    """Cluster cells on an engine from here on; all its workers see `folder`, which must exist."""
    before = PLACE.set(Place(engine, folder))
    try:
        yield
    finally:
        PLACE.reset(before)


def run_cells(
    cluster: Cluster,
    vectors: np.ndarray,
    weights: np.ndarray,
    cell_of: np.ndarray,
    allotted: np.ndarray,
    *,
    seed: int,
) -> np.ndarray:
    """Return int64 [n]: the row of each id. Cells have rows of their own, one cell's after another's.

    `cell_of` int64 [n] is the cell of each id, `allotted` int64 [cells] the number of its rows.
    """
    import faiss

    sizes = np.bincount(cell_of)
    first, first_row = np.cumsum(sizes) - sizes, np.cumsum(allotted) - allotted
    order = np.argsort(cell_of, kind="stable")
    engine, shared = PLACE.get() or Place(Here(threads=faiss.omp_get_max_threads()), None)
    with TemporaryDirectory(dir=shared, prefix="cells-") as name:
        folder = Path(name)
        cells = [
            Cell(folder, start, count, vectors.shape[1], row, rows, seed)
            for start, count, row, rows in zip(
                first.tolist(), sizes.tolist(), first_row.tolist(), allotted.tolist(), strict=True
            )
        ]
        _write(folder, cells, vectors, weights, order)
        most = max(engine.run(cluster_cell, [(cluster, cell) for cell in cells], brief=True))
        log.info(
            "%d ids in %d cells, the largest of %d: a worker held %.0f MB at most",
            len(vectors), len(cells), sizes.max(), most,
        )  # fmt: skip
        row_of = np.empty(len(vectors), np.int64)
        row_of[order] = np.fromfile(folder / "rows", np.int32)
    return row_of


def cluster_cell(cluster: Cluster, cell: Cell) -> float:
    """Write the rows of a cell; return how many megabytes this process has held at most."""
    import faiss

    # A thread a cell: two threads on the same small cell would wait for each other most of the time.
    faiss.omp_set_num_threads(1)
    at, values = cell.first, cell.ids * cell.dim
    vectors = np.fromfile(cell.folder / "vectors", np.float16, values, offset=2 * at * cell.dim)
    weights = np.fromfile(cell.folder / "weights", np.float32, cell.ids, offset=4 * at)
    wide = vectors.reshape(cell.ids, cell.dim).astype(np.float32)
    rows = cell.first_row + cluster(wide, weights, cell.rows, seed=cell.seed)
    with (cell.folder / "rows").open("r+b") as file:
        file.seek(4 * at)
        file.write(rows.astype(np.int32).data)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _write(
    folder: Path, cells: list[Cell], vectors: np.ndarray, weights: np.ndarray, order: np.ndarray
) -> None:
    """Write what the cells are clustered by, and room for their rows."""
    with (folder / "vectors").open("wb") as file:
        for cell in cells:
            part = vectors[order[cell.first : cell.first + cell.ids]]
            part -= part.mean(axis=0)  # clusters stay the same; 11 bits tell its ids apart wherever it lies
            part /= np.abs(part).max() or 1
            file.write(part.astype(np.float16).data)
    weights[order].astype(np.float32).tofile(folder / "weights")
    np.zeros(len(order), np.int32).tofile(folder / "rows")
