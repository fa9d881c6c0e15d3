"""The site: `make docs`. Pages are Markdown (MyST); the Python reference comes from docstrings."""

from typing import Any

project = "Tablefold"
author = "The Tablefold authors"
extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "Tablefold"
html_show_sphinx = False
default_role = "code"  # docstrings put names between single backticks, as Markdown does
autodoc_member_order = "bysource"
toc_object_entries = False


def mark_code_blocks(app: Any, kind: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Docstrings indent code, as Markdown does; reStructuredText wants `::` before it."""
    text: list[str] = []
    for line in lines:
        before = next((earlier for earlier in reversed(text) if earlier), "")
        if line.startswith("    ") and text and not text[-1] and not before.startswith("    "):
            text += ["::", ""]
        text.append(line)
    lines[:] = text


def setup(app: Any) -> None:
    """Sphinx calls this."""
    app.connect("autodoc-process-docstring", mark_code_blocks)
