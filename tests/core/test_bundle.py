"""A manifest is read by its format: newer formats are refused by name, new fields are ignored."""

import json
from pathlib import Path
from typing import Any

import pytest

from tablefold.bundle import FORMAT, GRAPH, MANIFEST, Manifest, read_manifest
from tablefold.errors import BundleError

STORED = next(Path(__file__).parents[1].glob("formats/**/manifest.json"))


@pytest.fixture
def content() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(STORED.read_text())
    return stored


def read(folder: Path, content: object) -> Manifest:
    (folder / MANIFEST).write_text(json.dumps(content))
    return read_manifest(folder)


def test_fields_that_a_newer_tablefold_adds_are_ignored(content: dict[str, Any], tmp_path: Path) -> None:
    as_it_was = read(tmp_path, content)
    content["carbon"] = 1
    content["footprint"]["parts"]["ghosts"] = 0
    content["feature_schema"]["categorical"][0]["colour"] = "red"
    content["files"][GRAPH]["blake3"] = "00"
    assert read(tmp_path, content) == as_it_was


def test_a_newer_format_is_refused_by_name_whatever_else_it_holds(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=rf"manifest\.json: the bundle has format {FORMAT + 1}, and this"):
        read(tmp_path, {"format": FORMAT + 1, "tables": "elsewhere"})


def test_a_manifest_without_a_format_is_of_the_first(content: dict[str, Any], tmp_path: Path) -> None:
    del content["format"]
    assert read(tmp_path, content).format == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tolerance", 0.5),
        ("tolerance", float("nan")),
        ("tolerance", 0),
        ("version", 0),
        ("version", 1 << 63),
        ("format", "1"),
        ("format", 0),
        ("name", "../m"),
        ("files", {"../x": {}}),
        ("golden", None),
    ],
)
def test_a_wrong_field_is_named(content: dict[str, Any], tmp_path: Path, field: str, value: object) -> None:
    with pytest.raises(BundleError, match=rf"manifest\.json: the manifest is damaged: {field}"):
        read(tmp_path, content | {field: value})


@pytest.mark.parametrize(
    "text", ["", "[]", "{", "null", '{"format": 1}', "[" * 100_000, "\0", '{"a": 1e999}']
)
def test_what_is_no_manifest_is_one_error(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=r"manifest\.json: the manifest is damaged"):
        read_manifest(tmp_path)
