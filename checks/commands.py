"""The page of all commands and flags, written from the command line itself.

python -m checks.commands    writes docs/reference/commands.md; a test holds it to the code
"""

import argparse
import re
from pathlib import Path

import typer.main
from typer.core import TyperCommand

from tablefold.cli import app

PAGE = Path(__file__).parents[1] / "docs/reference/commands.md"
HEAD = """# Commands

<!-- `make reference` writes this page from the code. -->

`tablefold --version` prints the version. `tablefold --install-completion` teaches your shell the commands.
Exit codes: 0 done, 2 wrong usage or bad input, 1 anything else.
"""


def page() -> str:
    """The page as Markdown."""
    group = typer.main.get_command(app)
    commands: dict[str, TyperCommand] = group.commands  # type: ignore[attr-defined]
    return HEAD + "".join(section(name, command) for name, command in commands.items())


def section(name: str, command: TyperCommand) -> str:
    """One command: what it does, then its arguments and options, panel by panel."""
    context = command.context_class(command, info_name=f"tablefold {name}")
    tables: dict[str, list[str]] = {}
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is None or parameter.name == "help":
            continue
        names, meaning = record
        panel = getattr(parameter, "rich_help_panel", None) or ""
        tables.setdefault(panel, []).append(f"| `{in_a_cell(names)}` | {in_a_cell(meaning)} |")
    text = [f"\n## {name}\n", prose(command.help or "")]
    for panel, rows in tables.items():
        text.append("\n".join([f"| {panel or 'Option'} | Meaning |", "|---|---|", *rows]) + "\n")
    return "\n".join(text)


def prose(text: str) -> str:
    """The paragraphs of a docstring."""
    return text.replace("<", "&lt;").strip() + "\n"


def in_a_cell(text: str) -> str:
    """In one line, without what would end a table's cell."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def main() -> None:
    """Write the page."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
