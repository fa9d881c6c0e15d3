"""The reference is what the code says."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_commands_is_what_the_command_line_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS.parent)
    from checks.commands import page

    written = (DOCS / "reference/commands.md").read_text()
    assert written == page(), "run `make reference`"


def test_every_page_stands_in_an_index() -> None:
    indices = [DOCS / "index.md", DOCS / "results/index.md"]
    links = {
        (index.parent / link).resolve()
        for index in indices
        for link in re.findall(r"\]\(([^)#]+\.md)", index.read_text())
    }
    assert {page for page in DOCS.rglob("*.md") if page not in links} <= set(indices)
