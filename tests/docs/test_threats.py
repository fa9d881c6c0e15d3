"""The page of threats names tests that there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINES = [
    line for line in (ROOT / "docs/concepts/threats.md").read_text().splitlines() if line.startswith("| ")
][1:]


@pytest.mark.parametrize("line", LINES)
def test_every_threat_names_the_test_that_holds_it(line: str) -> None:
    file, name = re.search(r"`([\w/]+\.py)::(\w+)` \|$", line).groups()
    assert f"def {name}(" in (ROOT / "tests/server" / file).read_text()
