"""Forgetting: ids that are left out have the row of unknown ids; all others keep their vectors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.compression.feature_table import feature_tables
from tablefold.trainer.compression.forget import without_rare

Trained = Callable[..., tuple[Checkpoint, Path]]
FROM = 5


@pytest.mark.parametrize("method", ["full", "lhf"])
def test_frequent_ids_keep_their_vectors_and_rare_ones_share_the_mean(method: str, trained: Trained) -> None:
    before = trained(method)[0]
    assert before.vocabularies is not None
    forgotten = 0
    for old, vocabulary in zip(feature_tables(before), before.vocabularies, strict=True):
        new = without_rare(old, vocabulary, FROM)
        (old_map,), (new_map,) = old.row_maps, new.row_maps
        often = vocabulary.ids[vocabulary.counts >= FROM]
        known = np.intersect1d(often, old_map.keys)
        assert np.array_equal(new_map.keys, known)
        assert np.array_equal(old.vectors[old_map(known)], new.vectors[new_map(known)])
        assert new.vectors[new_map.hashed_first].isfinite().all()
        assert len(new.rows) == len(np.unique(new_map.rows)) + 1
        if old.counts.sum():
            assert new.counts.sum() <= old.counts.sum()
        known_before = vocabulary.counts[np.isin(vocabulary.ids, old_map.keys)]
        forgotten += int((known_before < FROM).sum())
    assert forgotten > 0


def test_the_row_of_unknown_ids_is_the_mean_of_those_that_share_it(trained: Trained) -> None:
    before = trained("full")[0]
    assert before.vocabularies is not None
    for old, vocabulary in zip(feature_tables(before), before.vocabularies, strict=True):
        new = without_rare(old, vocabulary, 1 << 40)  # nothing is as frequent
        mean = np.average(old.rows.numpy(), axis=0, weights=old.counts.numpy())
        assert len(new.rows) == 1
        assert new.rows[0].numpy() == pytest.approx(mean, abs=1e-5)
