"""One self-contained HTML page: verdict first, then sections of text, tables and pictures.

Works offline, light and dark, on a phone. Knows layout. Does not know what it reports.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from tablefold.report.files import write_text


@dataclass(frozen=True)
class Text:
    """A paragraph; `code` keeps its lines and spaces and is set in a monospaced face."""

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
    """An SVG made by `charts`, with words for those who cannot see it."""

    kind: ClassVar[str] = "picture"
    svg: str
    alt: str
    caption: str = ""

    @property
    def markup(self) -> Markup:
        """The drawing as it is. It is our own: what came from outside was escaped by matplotlib."""
        return Markup(self.svg)

    def write(self, path: Path) -> None:
        """Write the drawing alone, on white, whole or not at all. Raises UsageError."""
        write_text(path, self.svg.replace("<svg ", '<svg style="background: #fff" ', 1) + "\n")


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    heading: str
    blocks: Sequence[Text | Table | Picture]


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole page."""

    title: str
    verdict: str
    """What the reader should take away, in a sentence or two."""
    sections: Sequence[Section]
    warnings: Sequence[str] = ()
    """What the reader must know before believing a figure; shown with the verdict."""
    key_figures: Sequence[tuple[str, str]] = ()
    """(name, value) of a few numbers, large."""
    repeat: str = ""
    """The command that makes this page again."""
    footer: str = ""

    def render(self) -> str:
        """The page as HTML; everything from outside escaped."""
        return _template().render(page=self)

    def write(self, path: Path) -> None:
        """Write the page whole or not at all. Raises UsageError."""
        write_text(path, self.render())


@cache
def _template() -> Template:
    loader = PackageLoader("tablefold.report", package_path="")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template("page.html")
