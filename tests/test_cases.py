"""Inputs that once went wrong, row by row, each with what it gives now: `make cases`.

The inputs are made by `../shared/cases/make.py`, beside the checkout; its README says what is right. Rows
that need a server or an export are in test_cases_served.py.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tablefold.errors import TablefoldError
from tablefold.logs import read_splits

MAKE = Path(__file__).parents[2] / "shared" / "cases" / "make.py"

LOGS = {
    "quotes": "200 examples",
    "inch": "200 examples",
    "linebreak": "60 examples",
    "one_feature": "4000 examples",
    "fractions": r"fractions\.parquet, row \d+, feature 'sku': \S+ is not ",
    "list_ids": "list_ids.parquet, feature 'sku': the column's type is ",
    "struct_ids": "struct_ids.parquet, feature 'sku': the column's type is ",
    "binary_ids": "binary_ids.parquet, feature 'sku': the column's type is ",
    "null_ids": "400 examples",
    "category_texts": "400 examples",
    "cut": "cut.csv.gz: .*cut off",
    "brackets": "20000 examples",
    "two_a": "3000 examples",
    "pairs": "60000 examples",
}
"""What reading gives, as a number of examples or as a pattern of the message."""

COMMANDS = {
    "seed": (["--seed", "-1", "--method", "double"], "--seed -1: "),
    "row-ratio": (["--row-ratio", "inf"], "--row-ratio inf: "),
    "one feature": (["--data", "{cases}/one_feature.toml", "--epochs", "3"], "test AUC 0.8"),
    "brackets": (["--out", "o[/b]"], "wrote o[/b]"),
}
"""Options of `train`, and what is printed."""

MARKS = (
    "quotes.toml", "inch.toml", "linebreak.toml", "one_feature.toml", "fractions.toml", "list_ids",
    "cut.toml", "brackets.toml", "two_b.toml", "pairs.toml", "--seed -1", "`export` commands at once",
    "20240611120000", "serving.toml", "float64, float16", "loadtest --rows 70000", "shared_memory_region",
    "keepalive", "config.pbtxt", "tritonclient", "SIGTERM", "silent TCP connection",
)  # fmt: skip
"""A word of each row of the README, in its order: what is tried here or in test_cases_served.py."""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the inputs."""
    if not MAKE.is_file():
        pytest.skip(f"the inputs are made by {MAKE}, which is not there")
    folder = tmp_path_factory.mktemp("cases")
    subprocess.run([sys.executable, str(MAKE), str(folder)], check=True)
    return folder


def outcome(schema: Path, cache: Path | None) -> str:
    """The number of examples that are read, or the message."""
    try:
        splits = read_splits(str(schema), cache=cache)[1]
    except TablefoldError as error:
        return str(error)
    return f"{sum(len(part) for part in (splits.train, splits.validation, splits.test))} examples"


@pytest.mark.parametrize("case", LOGS)
def test_a_log_gives_the_same_in_memory_and_in_a_cache(
    case: str, cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    in_memory = outcome(cases / f"{case}.toml", None)
    cached = outcome(cases / f"{case}.toml", tmp_path / "cache")
    with capsys.disabled():
        print(f"\n{case}: {in_memory}")
    assert in_memory == cached
    assert re.search(LOGS[case], in_memory)


@pytest.mark.parametrize("case", COMMANDS)
def test_train_says_what_it_should(
    case: str, cases: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, wanted = COMMANDS[case]
    arguments = ["--data", "synthetic:100", "--epochs", "1", "--out", "m", "--bottom", "8", "--top", "8"]
    arguments += [text.format(cases=cases) for text in given]
    command = [sys.executable, "-m", "tablefold", "train", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    shown = next((line for line in done.stderr.splitlines() if wanted in line), done.stderr)
    with capsys.disabled():
        print(f"\ntrain {' '.join(given)}: {shown.strip()}")
    assert wanted in done.stderr
    assert "Traceback" not in done.stderr


def test_every_row_of_the_readme_is_tried() -> None:
    readme = MAKE.with_name("README.md")
    if not readme.is_file():
        pytest.skip(f"the rows stand in {readme}, which is not there")
    rows = [line for line in readme.read_text().splitlines() if line.startswith("| ")][1:]
    for row, mark in zip(rows, MARKS, strict=True):
        assert mark in row.split(" | ")[0]
