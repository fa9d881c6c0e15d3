"""A table that is shared out among ranks makes the run of ranks that each have all of it, to the bit."""

import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from typer.testing import CliRunner

from tablefold.cli import app
from tablefold.errors import UsageError
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.checkpoint.tensor_file import TensorParts, write_tensors
from tablefold.trainer.embedding.table import FusedRows
from tablefold.trainer.ranks import sharded_rows
from tablefold.trainer.ranks.sharded_rows import ShardedRows
from tests.trainer.ranks.program import Losses, Plan, run
from tests.trainer.ranks.test_ranks import end, losses, settings, start, together

NAMES = ("sgd", "two stages", "warm", "one example", "dropping", "diverging")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what ranks make that each have the whole table."""
    folder = tmp_path_factory.mktemp("whole")
    together(Plan(runs={str(folder / name): settings(name) for name in NAMES}))
    return folder


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what ranks make that each have a part."""
    folder = tmp_path_factory.mktemp("sharded")
    runs = {str(folder / name): settings(name) for name in NAMES}
    together(Plan(runs=runs, shard_tables=True))
    return folder


def require_same(one: Path, two: Path) -> None:
    for name in (checkpoints.ARRAYS, checkpoints.DESCRIPTION, checkpoints.VALIDATION):
        assert (one / name).read_bytes() == (two / name).read_bytes()


@pytest.mark.parametrize("name", NAMES[:-1])
def test_it_is_the_same_run_to_the_bit(whole: Path, sharded: Path, name: str) -> None:
    assert losses(sharded / name) == losses(whole / name)
    require_same(sharded / name, whole / name)
    assert not list(sharded.glob("*.state*"))


def test_a_loss_that_is_no_number_ends_it_as_it_does_others(whole: Path, sharded: Path) -> None:
    assert (sharded / "diverging.error").read_text() == (whole / "diverging.error").read_text()


def test_a_killed_run_goes_on_with_the_table_whole_or_shared_out(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    runs = {str(out): settings("dropping")}
    steps = len(losses(whole / "dropping"))
    for rank, after, shard in ((1, 60, True), (0, steps - 120, False), (1, 40, True)):
        killed = Plan(
            runs=runs, resume=True, signal=signal.SIGKILL, rank=rank, steps=after, shard_tables=shard
        )
        processes = start(killed)
        says = end(processes)
        assert processes[rank].returncode == -signal.SIGKILL, says
        assert "of 2 cannot go on: another rank has ended" in says[1 - rank]
    together(Plan(runs=runs, resume=True, shard_tables=True))
    assert len(losses(out)) < steps - 60
    require_same(out, whole / "dropping")
    assert not list(tmp_path.glob("*.state*"))


def test_a_state_that_does_not_fit_on_the_disk_does_not_end_the_run(tmp_path: Path) -> None:
    wide = settings("full") | {"dim": 32, "epochs": 1}
    together(Plan(runs={str(tmp_path / "roomy"): wide}, shard_tables=True))
    most = (tmp_path / "roomy" / checkpoints.ARRAYS).stat().st_size * 5 // 4
    together(Plan(runs={str(tmp_path / "full"): wide}, shard_tables=True, most_bytes=most))
    assert "full.state could not be written" in (tmp_path / "full.warnings").read_text()
    require_same(tmp_path / "full", tmp_path / "roomy")
    assert not list(tmp_path.glob("*.state*"))


def test_ranks_that_share_and_ranks_that_do_not_are_refused(tmp_path: Path) -> None:
    runs = {str(tmp_path / "m"): settings("full")}
    processes = start(Plan(runs=runs), others=Plan(runs=runs, shard_tables=True))
    says = end(processes)
    assert [process.returncode for process in processes] == [1, 1]
    assert "UsageError: give --shard-tables to all ranks or to none" in says[1]


class Alone:
    """One of so many ranks that draws its rows and asks nobody."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size


@pytest.mark.parametrize("width", [1, 5])
def test_ranks_draw_the_rows_of_a_whole_table(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    features = [3, 1, 0, 1000, 77]
    torch.manual_seed(1)
    expected = FusedRows(features, width).weight
    after = torch.rand(3)
    monkeypatch.setattr(sharded_rows, "PIECE_BYTES", 4 * 64)
    for world_size in (1, 2, 3):
        for rank in range(world_size):
            torch.manual_seed(1)
            made = ShardedRows(Alone(rank, world_size), features, width)  # type: ignore[arg-type]
            assert torch.equal(torch.rand(3), after)
            assert torch.equal(made.weight, made.own(expected.detach()))


class Threads(Alone):
    """One of several ranks that are threads."""

    def __init__(self, rank: int, board: list[Any], barrier: Barrier) -> None:
        super().__init__(rank, len(board))
        self._board, self._barrier = board, barrier

    def _all(self, mine: Any) -> list[Any]:
        self._board[self.rank] = mine
        self._barrier.wait()
        every = list(self._board)
        self._barrier.wait()
        return every

    def exchange(self, values: torch.Tensor, to: Sequence[int], of: Sequence[int]) -> torch.Tensor:
        every = self._all(values.split(list(to)))
        parts = [sent[self.rank] for sent in every]
        assert [len(part) for part in parts] == list(of)
        return torch.cat(parts)

    def to_lead(self, values: torch.Tensor) -> list[torch.Tensor] | None:
        every = self._all(values)
        return None if self.rank else every

    def of_lead(self, values: list[torch.Tensor] | None, mine: torch.Tensor) -> None:
        mine.copy_(self._all(values)[0][self.rank])


def test_three_ranks_look_up_and_learn_what_a_whole_table_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded_rows, "PIECE_BYTES", 4 * 64)
    features, width = [3, 1, 0, 50, 8], 5
    whole = FusedRows(features, width)
    other = torch.rand(whole.num_embeddings, 2, width)
    board, barrier = [None] * 3, Barrier(3, timeout=60)
    tables = [ShardedRows(Threads(rank, board, barrier), features, width) for rank in range(3)]
    rows = [torch.randint(0, whole.num_embeddings, shape) for shape in ((7, 6), (1, 6), (0, 6))]
    rows[0][:, 0] = 0
    weights = [torch.rand(*of_rank.shape, width) for of_rank in rows]

    def work(rank: int) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
        table = tables[rank]
        table.fill(table.weight.detach(), whole.weight.detach() if rank == 0 else None)
        looked_up = table(rows[rank])
        (looked_up * weights[rank]).sum().backward()
        moments = table.own(other)
        copy = torch.zeros_like(moments)
        table.fill(copy, other if rank == 0 else None)
        assert torch.equal(copy[1:], moments[1:])
        return looked_up.detach(), list(table.pieces(table.weight.detach())), table.weight.grad

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(work, range(3)))
    for of_rank, (looked_up, _, _) in zip(rows, found, strict=True):
        assert torch.equal(looked_up, whole(of_rank).detach())
    sum((whole(r) * w).sum() for r, w in zip(rows, weights, strict=True)).backward()
    expected = whole.weight.grad.to_dense()
    for table, (_, _, gradient) in zip(tables, found, strict=True):
        torch.testing.assert_close(gradient.to_dense()[1:], table.own(expected)[1:])
        assert not gradient.to_dense()[0].any()
    assert [len(pieces) > 0 for _, pieces, _ in found] == [True, False, False]
    assert torch.equal(torch.cat(found[0][1]), whole.weight.detach())


def test_one_process_goes_on_from_a_table_that_was_shared_out(whole: Path, tmp_path: Path) -> None:
    out, wanted = tmp_path / "m", checkpoints.load(whole / "warm").description.metrics
    killed = Plan(
        runs={str(out): settings("warm")}, signal=signal.SIGKILL, rank=0, steps=130, shard_tables=True
    )
    end(start(killed))
    (rows,) = tmp_path.glob("m*.state-rows-*")
    hidden = rows.rename(tmp_path / "hidden")
    with pytest.raises(UsageError, match=r"\.state is damaged; without --resume the run starts anew"):
        run(out, settings("warm"), Losses(Plan(runs={}), 0), resume=True)
    hidden.rename(rows)
    run(out, settings("warm"), Losses(Plan(runs={}), 0), resume=True, state_minutes=1.0)
    assert 0 < len(losses(out)) < len(losses(whole / "warm")) - 50
    assert checkpoints.load(out).description.metrics["test_auc"] == pytest.approx(
        wanted["test_auc"], abs=2e-4
    )


def test_a_file_written_in_parts_is_that_of_safetensors(tmp_path: Path) -> None:
    tensors = {
        "b": torch.arange(12.0).reshape(4, 3), "a": torch.ones(2, dtype=torch.int64), "c": torch.tensor(3.0),
        "é": torch.tensor([True, False, True]), "none": torch.zeros(0, 2),
        "one": torch.ones(1, dtype=torch.int64).expand(1), "same": torch.tensor([7]).as_strided((1,), (0,)),
        "half": torch.ones(3).half(),
    }  # fmt: skip
    parts = TensorParts(shape=(4, 3), dtype=torch.float32, parts=tensors["b"].split([1, 0, 3]))
    write_tensors(tmp_path / "file", {**tensors, "b": parts})
    assert (tmp_path / "file").read_bytes() == save(tensors)
    assert torch.equal(load_file(tmp_path / "file")["b"], tensors["b"])


def test_one_process_says_what_starts_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    arguments = ["train", "--data", "synthetic:2000", "--shard-tables", "--out", str(tmp_path / "m")]
    ended = CliRunner().invoke(app, arguments)
    assert isinstance(ended.exception, UsageError)
    assert "this process is alone: start it by torchrun --nproc-per-node N" in str(ended.exception)
    assert not list(tmp_path.iterdir())
