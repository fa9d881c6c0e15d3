"""Cells of ids, clustered in threads or on Ray: the same rows, whoever does it."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tablefold.cli import app
from tablefold.errors import TablefoldError, UsageError
from tablefold.logs.encoded.clusters import OnRay
from tablefold.logs.encoded.engines import Here
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.methods import cells, clustering
from tablefold.trainer.methods.cells import Cell, cluster_cell, clustering_on
from tablefold.trainer.methods.clustering import cluster, in_cells
from tablefold.trainer.methods.engine import clustering_engine

IDS, ROWS = 6000, 150


def ids() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(0, 1, (IDS, 3)).astype(np.float32) ** 3, np.floor(2 * rng.random(IDS) ** -0.8)


class Backwards:
    """Runs the last task first."""

    in_this_process = True
    tasks = 0

    def run(self, task, arguments: Sequence, *, brief: bool = False) -> Iterator:
        self.tasks += len(arguments)
        return iter([task(*given) for given in reversed(arguments)][::-1])


@pytest.fixture
def on_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many tasks each run on Ray had."""
    ray = pytest.importorskip("ray")
    tasks: list[int] = []
    run = OnRay.run

    def counting(self, task, arguments: Sequence, *, brief: bool = False) -> Iterator:
        tasks.append(len(arguments))
        return run(self, task, arguments, brief=brief)

    monkeypatch.setattr(OnRay, "run", counting)
    yield tasks
    ray.shutdown()


def test_rays_workers_however_many_find_the_same_rows(tmp_path: Path, on_ray: list[int]) -> None:
    import ray

    alone = in_cells(*ids(), ROWS, seed=1)
    assert len(np.unique(alone)) > ROWS // 2
    for workers in (1, 2):
        with clustering_on(OnRay(workers=workers), tmp_path):
            assert np.array_equal(in_cells(*ids(), ROWS, seed=1), alone)
        ray.shutdown()
    assert on_ray == [13, 13]
    assert not list(tmp_path.iterdir())  # what the cells read is gone


def test_the_order_of_the_cells_does_not_matter(tmp_path: Path) -> None:
    alone = in_cells(*ids(), ROWS, seed=1)
    backwards = Backwards()
    with clustering_on(backwards, tmp_path):
        assert np.array_equal(in_cells(*ids(), ROWS, seed=1), alone)
    assert backwards.tasks == 13


@pytest.mark.parametrize(("factor", "offset"), [(1e-4, 0), (1e4, 0), (1, 1000)])
def test_vectors_of_any_size_and_place_are_told_apart(factor: float, offset: float) -> None:
    """Cells hold 11 bits of a value's distance from the cell's mean, so neither size nor place costs any."""
    vectors, counts = ids()
    same = in_cells(vectors, counts, ROWS, seed=1)
    other = in_cells((vectors * factor + offset).astype(np.float32), counts, ROWS, seed=1)
    together = sum(len(np.unique(other[same == row])) == 1 for row in np.unique(same))
    assert together > 0.9 * len(np.unique(same))


def test_how_much_a_worker_held_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, cells.__name__):
        in_cells(*ids(), ROWS, seed=1)
    assert f"{IDS} ids in 13 cells" in caplog.text
    assert "MB at most" in caplog.text


def test_a_cell_whose_files_are_gone_is_an_error_of_the_disk(tmp_path: Path) -> None:
    cell = Cell(tmp_path / "gone", first=0, ids=5, dim=3, first_row=0, rows=2, seed=0)
    with pytest.raises(FileNotFoundError):
        cluster_cell(cluster, cell)
    with pytest.raises((TablefoldError, OSError)):
        list(Here().run(cluster_cell, [(cluster, cell)], brief=True))


def test_an_address_without_ray_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="--ray-address goes with --engine ray"),
        clustering_engine("local", "auto", tmp_path / "out"),
    ):
        pass


def test_train_on_rays_workers_writes_the_same_row_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_ray: list[int]
) -> None:
    # So that cells are made of few ids. Workers know nothing of it: no cell is so large that it would matter.
    monkeypatch.setattr(clustering, "COMPARISONS", 1e5)
    command = ["train", "--data", "synthetic:4000", "--method", "lhf", "--row-ratio", "4", "--epochs", "1"]
    command += ["--network", "deepfm", "--top", "8", "--dim", "4"]
    for engine in ("local", "ray"):
        done = CliRunner().invoke(app, [*command, "--engine", engine, "--out", str(tmp_path / engine)])
        assert done.exit_code == 0, done.output
        assert bool(sum(on_ray)) == (engine == "ray")
    local, ray = (checkpoints.load(tmp_path / name) for name in ("local", "ray"))
    for ours, theirs in zip(local.row_maps, ray.row_maps, strict=True):
        assert np.array_equal(ours[0].rows, theirs[0].rows)
    assert sorted(path.name for path in tmp_path.iterdir() if "cells" in path.name) == []
