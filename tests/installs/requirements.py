"""What each extra declares, and what it brings by the metadata of what is installed here."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from tomllib import loads

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = loads((ROOT / "pyproject.toml").read_text())
BASE: list[str] = PROJECT["project"]["dependencies"]
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]


def declared(extra: str) -> set[str]:
    """The distributions that every install has and those of an extra, with the extras it includes."""
    names = {canonicalize_name(Requirement(line).name) for line in BASE}
    for requirement in map(Requirement, EXTRAS[extra]):
        if requirement.name == "tablefold":
            names |= set().union(*map(declared, requirement.extras))
        else:
            names.add(canonicalize_name(requirement.name))
    return names


def with_requirements(distributions: Iterable[str]) -> set[str]:
    """These distributions and all that they require in turn, their own extras aside."""
    found: set[str] = set()
    waiting = list(distributions)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        try:
            requirements = map(Requirement, requires(name) or [])
        except PackageNotFoundError:  # another platform's
            continue
        waiting += [
            canonicalize_name(requirement.name)
            for requirement in requirements
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        ]
    return found
