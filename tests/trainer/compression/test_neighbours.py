"""What shares a row with a value: told as the row maps have it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tablefold.cli import app
from tablefold.encoding import decode, encode
from tablefold.errors import UsageError
from tablefold.schema import Encoding
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.compression.compress import compress
from tablefold.trainer.compression.neighbours import neighbours

Trained = Callable[..., tuple[Checkpoint, Path]]


@pytest.mark.parametrize("method", ["lhf", "hash", "qr+mlet", "full"])
def test_neighbours_are_the_ids_that_the_row_map_sends_to_the_same_row(method: str, trained: Trained) -> None:
    checkpoint = trained(method)[0]
    assert checkpoint.vocabularies is not None
    vocabulary, row_maps = checkpoint.vocabularies[2], checkpoint.row_maps[2]
    place = int(vocabulary.counts.argmax())
    found = neighbours(checkpoint, "C3", f"{vocabulary.ids[place]:x}", most=4)
    assert (found.id, found.count) == (vocabulary.ids[place], vocabulary.counts[place])
    assert [shared.row for shared in found.rows] == [row_map(vocabulary.ids)[place] for row_map in row_maps]
    for shared, row_map in zip(found.rows, row_maps, strict=True):
        sharing = row_map(vocabulary.ids) == shared.row
        assert (shared.ids, shared.count) == (sharing.sum(), vocabulary.counts[sharing].sum())
        assert (shared.ids == 1) >= (method == "full")
        counts = [count for _, count in shared.most_frequent]
        assert counts == sorted(vocabulary.counts[sharing].tolist(), reverse=True)[:4]
        for text, count in shared.most_frequent:
            assert vocabulary.counts[vocabulary.ids == encode([text], Encoding.HEX32)].tolist() == [count]


def test_unknown_and_missing_values_have_rows_too(trained: Trained) -> None:
    checkpoint = trained("lhf")[0]
    unknown = neighbours(checkpoint, "C3", "ffffffff")
    assert unknown.count == 0
    assert unknown.rows[0].row == checkpoint.row_maps[2][0].hashed_first
    missing = neighbours(checkpoint, "C3", "")
    assert missing.count > 0
    assert decode(missing.id, checkpoint.description.feature_schema.categorical[2].encoding) == ""
    assert neighbours(compress(checkpoint, row_ratio=2).checkpoint, "C3", "").count == missing.count


def test_what_cannot_be_answered_is_refused(trained: Trained) -> None:
    checkpoint = trained("lhf")[0]
    with pytest.raises(UsageError, match="--feature 'C99' is no categorical feature: there are C1, C2"):
        neighbours(checkpoint, "C99", "1")
    with pytest.raises(UsageError, match="--value of C3: 'xyz' is not 1 to 8 hexadecimal digits"):
        neighbours(checkpoint, "C3", "xyz")
    with pytest.raises(UsageError, match="does not know how often its ids occurred"):
        neighbours(replace(checkpoint, vocabularies=None), "C3", "1")


def test_the_command_says_the_same(trained: Trained) -> None:
    checkpoint, folder = trained("lhf")
    assert checkpoint.vocabularies is not None
    value = f"{np.median(checkpoint.vocabularies[2].ids).astype(int):x}"
    arguments = ["neighbours", str(folder), "--feature", "C3", "--value", value]
    found = neighbours(checkpoint, "C3", value)
    printed = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout
    assert json.loads(printed)["rows"][0]["most_frequent"] == [
        list(pair) for pair in found.rows[0].most_frequent
    ]
    shown = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert f"row {found.rows[0].row:,}: {found.rows[0].ids:,} ids" in shown
    assert found.rows[0].most_frequent[0][0] in shown
