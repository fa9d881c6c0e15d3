"""How well a checkout is kept: files per folder, layers, circles, names, words, what an import costs.

    python -m checks.house [CHECKOUT] [--python PYTHON] [--json]

PYTHON is an interpreter in which that checkout is installed; by default this one.
"""

import argparse
import ast
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

FOLDERS = ("core", "trainer", "exporter", "study", "server", "client", "protos", "loadtest")
PRONOUNS = {"its", "each", "told", "what"}
ENTRANCES = ("tablefold", "tablefold.client", "tablefold.server", "tablefold.server.app")
IMPORT = """
import sys, time
before, started = len(sys.modules), time.perf_counter()
import {module}
print((time.perf_counter() - started) * 1e3, len(sys.modules) - before)
"""


def main() -> None:
    """Print one line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", nargs="?", type=Path, default=Path())
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    given = parser.parse_args()
    figures = figures_of(given.checkout, given.python)
    if given.json:
        print(json.dumps(figures))
    else:
        for name, figure in figures.items():
            print(f"{name:<44} {figure}")


def figures_of(checkout: Path, python: str) -> dict[str, object]:
    """All figures by name."""
    sources = [
        file for folder in FOLDERS for file in (checkout / folder).rglob("*.py") if "_pb2" not in file.name
    ]
    files = Counter(str(file.parent.relative_to(checkout)) for file in sources if file.name != "__init__.py")
    lines = {file: len(file.read_text().splitlines()) for file in sources}
    longest = max(lines, key=lines.__getitem__)
    contracts = tomllib.loads((checkout / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layered = [contract for contract in contracts if contract["type"] == "layers"]
    tests = [*(checkout / "tests").rglob("*.py")]
    pages = [checkout / "README.md", *sorted((checkout / "docs").rglob("*.md"))]
    prose = {page: prose_of(page.read_text()) for page in pages}
    sentences = [
        sentence.split() for text in prose.values() for sentence in re.split(r"(?<=[.!?])\s+|\n\n", text)
    ]
    return {
        "folders": len(files),
        "files of the largest folders": ", ".join(f"{name} {count}" for name, count in files.most_common(4)),
        "longest file": f"{longest.relative_to(checkout)}, {lines[longest]} lines",
        "files above 200 lines": sum(count > 200 for count in lines.values()),
        "lines": sum(lines.values()),
        "contracts of imports": f"{len(contracts)}, {sum(len(c['layers']) for c in layered)} layers",
        "imports in circles": len(circular_imports(checkout, sources)),
        "pronouns as names": dict(pronouns(sources)),
        "pronouns as names in the tests": dict(pronouns(tests)),
        "words of the README": len(pages[0].read_text().split()),
        "words of the docs": sum(len(page.read_text().split()) for page in pages[1:]),
        "longest sentence, words": max(map(len, sentences)),
        "sentences above 25 words": f"{sum(len(s) > 25 for s in sentences)} of {len(sentences)}",
    } | {f"import {module}": cost_of(module, python) for module in ENTRANCES}


def module_of(file: Path, checkout: Path) -> str:
    """The import name of a source file."""
    folder, *parts = file.relative_to(checkout).with_suffix("").parts
    package = ["tablefold"] if folder == "core" else ["tablefold", folder]
    return ".".join(package + [part for part in parts if part != "__init__"])


def circular_imports(checkout: Path, sources: list[Path]) -> list[tuple[str, str]]:
    """Imports (who, whom) that lead back to where they start, those for type checkers alone included."""
    names = {module_of(file, checkout): file for file in sources}
    names.pop("tablefold")  # the front door names everything, lazily
    imports = {name: _imported(ast.parse(file.read_text()), names) - {name} for name, file in names.items()}

    def reachable(start: str) -> set[str]:
        found: set[str] = set()
        waiting = [start]
        while waiting:
            for name in imports[waiting.pop()] - found:
                found.add(name)
                waiting.append(name)
        return found

    return [(name, other) for name in names for other in imports[name] if name in reachable(other)]


def _imported(tree: ast.AST, names: dict[str, Path]) -> set[str]:
    """Modules of ours that a module imports, now, when it runs, or for type checkers."""
    found: set[str] = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in names else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        waiting += ast.iter_child_nodes(node)
    return found & names.keys()


def pronouns(sources: list[Path]) -> Counter[str]:
    """How often a variable or an argument is called by a pronoun."""
    return Counter(
        name
        for file in sources
        for node in ast.walk(ast.parse(file.read_text()))
        for name in [_bound(node)]
        if name in PRONOUNS
    )


def _bound(node: ast.AST) -> str:
    """The name that a node binds, or nothing."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    return node.arg if isinstance(node, ast.arg) else ""


def prose_of(markdown: str) -> str:
    """A page without code, tables, headings and links' addresses."""
    text = re.sub(r"^```.*?^```", "\n", markdown, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^(\||#|    |---|:::).*$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"^\s*([-*]|\d+\.) ", "\n\n", text, flags=re.MULTILINE)
    return re.sub(r"\]\([^)]*\)", "]", text)


def cost_of(module: str, python: str) -> str:
    """Milliseconds (the best of five) and modules that an import takes."""
    runs = []
    for _ in range(5):
        done = subprocess.run(
            [python, "-c", IMPORT.format(module=module)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            return "-"
        milliseconds, modules = done.stdout.split()
        runs.append((float(milliseconds), int(modules)))
    return f"{min(runs)[0]:.0f} ms, {min(runs)[1]} modules"


if __name__ == "__main__":
    main()
