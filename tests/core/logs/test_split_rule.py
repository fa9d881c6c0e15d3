"""How rows were held out is said in words, and stays with all that is measured on them."""

from pathlib import Path

import pytest

from tablefold.logs import read_splits, split_log
from tablefold.logs.formats import synthetic
from tablefold.logs.read import read_part
from tablefold.logs.splits import SplitRule

HEAD = 'name = "s"\nlabel = "click"\n[files]\nformat = "csv"\n'
TAIL = '[[categorical]]\nname = "u"\nencoding = "int"\n'
TIMED = 'time = "ts"\n' + HEAD
ONE, TWO = 'path = "a.csv"\n', 'train = "a.csv"\ntest = "b.csv"\n'
THREE = TWO + 'validation = "b.csv"\n'


@pytest.mark.parametrize(
    ("schema", "rule", "words"),
    [
        (HEAD + ONE, None, "by order"),
        (HEAD + ONE, SplitRule.RANDOM, "at random with seed 7"),
        (TIMED + ONE, None, "by order of ts"),
        (TIMED + ONE, SplitRule.RANDOM, "at random with seed 7"),
        (HEAD + TWO, None, "by files, and by order where a part has none"),
        (TIMED + TWO, SplitRule.RANDOM, "by files, and by order of ts where a part has none"),
        (TIMED + THREE, SplitRule.RANDOM, "by files"),
    ],
)
def test_a_split_says_its_rule(tmp_path: Path, schema: str, rule: SplitRule | None, words: str) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("click,u,ts\n" + "".join(f"{i % 2},{i},{i}\n" for i in range(40)))
    (tmp_path / "s.toml").write_text(schema + TAIL)
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        splits = read_splits(str(tmp_path / "s.toml"), rule=rule, seed=7, cache=cache)[1]
        assert splits.rule == words
    test = read_part(str(tmp_path / "s.toml"), rule=rule, seed=7)
    assert test.rule == ("by files" if "test" in schema else words)
    assert read_part(str(tmp_path / "s.toml"), part="all").rule == ""


def test_a_log_in_memory_says_it_too() -> None:
    log = synthetic.generate(50)
    assert split_log(log).rule == "by order"
    assert split_log(log, rule="random", seed=3).rule == "at random with seed 3"
    assert read_splits("synthetic:100")[1].rule == "by order"
    assert read_splits("synthetic:100", rule=SplitRule.RANDOM)[1].rule == "at random with seed 0"
