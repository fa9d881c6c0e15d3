"""Shuffled rows: every row once an epoch, in another order each time, from all over the log; can go on."""

from itertools import chain

import numpy as np
import pytest
import torch

from tablefold.logs import EncodedLog, Log
from tablefold.schema import MISSING, CategoricalFeature, Encoding, FeatureSchema
from tablefold.trainer.device import CPU
from tablefold.trainer.embedding.lookup_columns import LookupColumns
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.ranks.ranks import Ranks
from tablefold.trainer.training import shuffle
from tablefold.trainer.training.shuffle import ShuffledRows

SCHEMA = FeatureSchema(
    name="shop",
    categorical=(
        CategoricalFeature(name="item", encoding=Encoding.INT),
        CategoricalFeature(name="tags", encoding=Encoding.INT, slots=2),
    ),
)


def log_of(rows: int) -> Log:
    """Each row's number is its item and its dense value."""
    rng = np.random.default_rng(0)
    items = np.arange(rows, dtype=np.int64)
    tags = rng.choice([MISSING, -7, 2**53 + 1], (rows, 2))
    label = (items >= rows // 2).astype(np.float32)
    dense = items[:, None].astype(np.float32)
    return Log(dense=dense, ids=np.column_stack([items, tags]), label=label)


def shuffled(rows: int, batch_size: int, ranks: Ranks | None = None) -> ShuffledRows:
    encoded = EncodedLog.of(SCHEMA, log_of(rows))
    maps = [
        RowMap(keys=ids, rows=np.arange(len(ids)) + 1, hashed_first=0, hashed_rows=1) for ids in encoded.ids
    ]
    columns = LookupColumns.of(SCHEMA, [(row_map,) for row_map in maps])
    return ShuffledRows(
        encoded, columns, columns.row_indices(maps, encoded.ids), batch_size, ranks or Ranks(), CPU
    )


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shuffle, "BLOCK_ROWS", 16)
    monkeypatch.setattr(shuffle, "BUFFER_BLOCKS", 64)


@pytest.mark.parametrize("rows", [1, 15, 16, 1000, 1024, 1025, 5001])
@pytest.mark.parametrize("batch_size", [7, 128, 3000])
def test_an_epoch_shows_every_row_once_as_it_is(rows: int, batch_size: int) -> None:
    batches = list(shuffled(rows, batch_size).epoch(torch.Generator().manual_seed(0)))
    assert len(batches) == shuffled(rows, batch_size).batches
    assert [len(batch.label) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    numbers = torch.cat([batch.numbers for batch in batches])
    assert sorted(numbers.tolist()) == list(range(rows))
    log = log_of(rows)
    assert torch.equal(torch.cat([batch.dense[:, 0] for batch in batches]).long(), numbers)
    assert torch.equal(torch.cat([batch.label for batch in batches]), torch.from_numpy(log.labels)[numbers])
    looked_up = torch.cat([batch.rows for batch in batches]).numpy()
    assert np.array_equal(looked_up[:, 0] - 1, numbers.numpy())
    tags = np.unique(log.ids[:, 1:])
    assert np.array_equal(tags[looked_up[:, 1:] - 1], log.ids[numbers.numpy(), 1:])


@pytest.mark.parametrize("rows", [900, 5001])
def test_an_epoch_goes_on_after_any_batch(rows: int) -> None:
    def numbers(done: int) -> list[torch.Tensor]:
        order = torch.Generator().manual_seed(3)
        return [batch.numbers for batch in shuffled(rows, 100).epoch(order, done)]

    whole = numbers(0)
    for done in range(len(whole) + 1):
        rest = numbers(done)
        assert len(rest) == len(whole) - done
        assert all(map(torch.equal, rest, whole[done:]))


@pytest.mark.parametrize("rows", [900, 20_000])
def test_every_epoch_has_an_order_of_its_own_and_a_seed_repeats_all(rows: int) -> None:
    def epochs() -> list[list[int]]:
        log, order = shuffled(rows, 100), torch.Generator().manual_seed(3)
        return [torch.cat([batch.numbers for batch in log.epoch(order)]).tolist() for _ in range(2)]

    first, second = epochs()
    assert first != second
    assert epochs() == [first, second]


def test_batches_of_a_sorted_log_are_mixed() -> None:
    """All clicks stand at the end: the worst order there is. 64 of 1,250 blocks are in a buffer, so that a
    batch's share of clicks may be off by sqrt(1/4 (1/64 + 1/128)), times 4.5 for the largest of 160."""
    batches = list(shuffled(20_000, 128).epoch(torch.Generator().manual_seed(0)))
    shares = torch.stack([batch.label.mean() for batch in batches[:-1]])
    assert (shares - 0.5).abs().max() < 4.5 * (0.25 * (1 / 64 + 1 / 128)) ** 0.5
    numbers = torch.cat([batch.numbers for batch in batches]).double()
    following = torch.corrcoef(torch.stack([numbers[:-1], numbers[1:]]))[0, 1]
    assert abs(following) < 0.03


def test_encoded_rows_are_the_rows_they_were() -> None:
    log = log_of(500)
    encoded = EncodedLog.of(SCHEMA, log)
    numbers = np.array([3, 499, 0])
    taken, expected = encoded.take(numbers), log.take(numbers)
    assert np.array_equal(taken.ids, expected.ids)
    assert np.array_equal(taken.dense, expected.dense)
    assert np.array_equal(taken.labels, expected.labels)
    assert [int(counts.sum()) for counts in encoded.counts] == [500, 1000]


@pytest.mark.parametrize("rows", [1, 15, 1000, 5001])
@pytest.mark.parametrize("batch_size", [7, 3000])
@pytest.mark.parametrize("done", [0, 1])
def test_the_parts_of_all_ranks_are_the_batches_of_one_process(rows: int, batch_size: int, done: int) -> None:
    def batches(ranks: Ranks) -> list[list[int]]:
        drawn = shuffled(rows, batch_size, ranks).epoch(torch.Generator().manual_seed(0), done)
        return [batch.numbers.tolist() for batch in drawn]

    three = [Ranks() for _ in range(3)]
    for number, rank in enumerate(three):
        rank.rank, rank.world_size = number, 3
    whole, parts = batches(Ranks()), [batches(rank) for rank in three]
    assert [sorted(batch) for batch in whole] == [sorted(chain(*of)) for of in zip(*parts, strict=True)]
    if rows <= 1024:  # one buffer
        first = [sorted(chain(*part)) for part in parts]
        assert list(chain(*first)) == sorted(chain(*first)), "each rank reads rows side by side"
