"""One self-contained HTML page: verdict first, then sections of text, tables and pictures.

It works offline, light and dark, and on a phone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from tablefold.report.writing import write_text


@dataclass(frozen=True)
class Text:
    """A paragraph; `code` keeps its line breaks and spaces, in a monospaced face."""

    kind: ClassVar[str] = "text"
    text: str
    code: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header; all columns but the first are right-aligned if `figures`."""

    kind: ClassVar[str] = "table"
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    figures: bool = True


@dataclass(frozen=True)
class Picture:
    """An SVG drawing, with words for those who cannot see it."""

    kind: ClassVar[str] = "picture"
    svg: str
    alt: str
    caption: str = ""

    @property
    def markup(self) -> Markup:
        """Return the drawing unescaped. It is our own; matplotlib escaped what came from outside."""
        return Markup(self.svg)

    def write(self, path: Path) -> None:
        """Write the drawing alone, on white. Raises UsageError."""
        write_text(path, self.svg.replace("<svg ", '<svg style="background: #fff" ', 1) + "\n")


@dataclass(frozen=True)
class Section:
    """A heading and the blocks under it."""

    heading: str
    blocks: Sequence[Text | Table | Picture]


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole page."""

    title: str
    verdict: str
    """What to remember, in a sentence or two."""
    sections: Sequence[Section]
    warnings: Sequence[str] = ()
    """Reasons not to trust the figures; shown with the verdict."""
    key_figures: Sequence[tuple[str, str]] = ()
    """(name, value) of a few numbers, shown large."""
    repeat: str = ""
    """The command that repeats the measurement."""
    footer: str = ""

    def render(self) -> str:
        """Return the page as HTML, with everything from outside escaped."""
        return _template().render(page=self)

    def write(self, path: Path) -> None:
        """Write the page. Raises UsageError."""
        write_text(path, self.render())


@cache
def _template() -> Template:
    loader = PackageLoader("tablefold.report", package_path="")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template("page.html")
