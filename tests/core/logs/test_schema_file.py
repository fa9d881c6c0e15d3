"""A SCHEMA.toml that is not valid: which feature, what was found, what may stand there."""
# ruff: noqa: E501  a case a line

import os
from pathlib import Path

import pytest

from tablefold.errors import SchemaError
from tablefold.logs.formats.schema_file import KEYS, read_schema

TOML = """
name = "shop"
label = "click"
[files]
format = "csv"
train = "train.csv"
[[dense]]
name = "price"
[[categorical]]
name = "user"
encoding = "int"
[[categorical]]
name = "tags"
encoding = "string"
slots = 4
"""
LAST_FEATURE = TOML[TOML.rindex("[[categorical]]") :]
TAGS = "[[categorical]], feature 'tags': "


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('encoding = "string"\n', "", TAGS + '`encoding` is missing; give "int", "hex32" or "string"'),
        ('"string"', '"text"', TAGS + "`encoding` is 'text'; give \"int\", \"hex32\" or \"string\""),
        ("slots = 4", "slots = 0", TAGS + "`slots` is 0; give a whole number from 1 to 1024"),
        ("slots = 4", "slots = 1.5", TAGS + "`slots` is 1.5; give a whole number from 1 to 1024"),
        ("slots = 4", 'slots = "many"', TAGS + "`slots` is 'many'; give a whole number from 1 to 1024"),
        ("slots = 4", "slot = 4", TAGS + "unknown key `slot`; did you mean `slots`?"),
        ("slots = 4", "max_len = 4", TAGS + "unknown key `max_len`; did you mean `slots`?"),
        ("slots = 4", "mincount = 4", TAGS + "unknown key `mincount`; did you mean `min_count`?"),
        ("slots = 4", "zzz = 4", TAGS + "unknown key `zzz`; the keys here are name, encoding, min_count, slots, pooling, optional"),
        ("slots = 4", "optionl = true", TAGS + "unknown key `optionl`; did you mean `optional`?"),
        ("slots = 4", 'optional = "maybe"', TAGS + "`optional` is 'maybe'; give true or false"),
        ('name = "shop"', 'name = "shop"\nformat = "csv"', "`format` is 'csv'; give 1 or leave it out; the format of the log is `format` under [files]"),
        ("slots = 4", 'pooling = "max"', TAGS + "`pooling` is 'max'; give \"sum\" or \"mean\""),
        ("slots = 4", "min_count = -1", TAGS + "`min_count` is -1; give a whole number from 1 to 2^63 - 1"),
        ("slots = 4", "min_count = 9223372036854775808", TAGS + "`min_count` is 9223372036854775808; give a whole number from 1"),
        ("slots = 4", "slots = true", TAGS + "`slots` is True; give a whole number from 1 to 1024"),
        ("slots = 4", 'slots = "4"', TAGS + "`slots` is '4'; give a whole number from 1 to 1024"),
        ("slots = 4", "slots = 4.0", TAGS + "`slots` is 4.0; give a whole number from 1 to 1024"),
        ("slots = 4", "min_count = true", TAGS + "`min_count` is True; give a whole number"),
        ("slots = 4", "optional = 1", TAGS + "`optional` is 1; give true or false"),
        ('"tags"', '"ta\\u001b[2Jgs"', "[[categorical]], feature 'ta\\x1b[2Jgs': `name` is 'ta\\x1b[2Jgs'; give a text of 1 to 200 characters, no control"),
        ('"tags"', f'"{"t" * 300}"', f"[[categorical]], feature '{'t' * 49} ... {'t' * 49}': `name` is '{'t' * 49} ... {'t' * 49}'; give a text of 1 to 200"),
        ("slots = 4", f'{"k" * 300} = 4', TAGS + f"unknown key `{'k' * 50} ... {'k' * 50}`; the keys here are"),
        ("slots = 4", '"\\u001b[2J" = 4', TAGS + "unknown key `\\x1b[2J`; the keys here are"),
        ('name = "shop"', 'name = "shop"\nfeature_schema = 1', "unknown key `feature_schema`; "),
        ("[files]", 'time = "click"\n[files]', "`time` names the label: that would split the log by its labels"),
        ("[files]", 'time = "a\\nb"\n[files]', "`time` is 'a\\nb'; give the name of a column, a text of 1 to 200"),
        ('"click"', f'"{"c" * 201}"', f"`label` is '{'c' * 49} ... {'c' * 49}'; give the name of a column, a text of 1 to 200"),
        ('name = "tags"\n', "", "[[categorical]], feature number 2: `name` is missing"),
        ('name = "tags"', 'name = ""', "[[categorical]], feature number 2: `name` is ''; give a text"),
        ('name = "price"', 'name = "price"\ntransform = "log"', "[[dense]], feature 'price': `transform` is 'log'; give \"none\" or \"log1p\""),
        ('name = "tags"', 'name = "user"', "the name 'user' is used twice"),
        ('name = "tags"', 'name = "click"', "the name 'click' is used twice"),
        ('train = "train.csv"', 'train = "train.csv"\ndev = "dev.csv"', "[files]: unknown key `dev`; did you mean `validation`?"),
        ('name = "shop"', 'name = "shop"\ndev = "dev.csv"', "unknown key `dev`; did you mean `validation` under [files]?"),
        ('name = "shop"', 'name = "shop"\nlist_separator = ";"', "unknown key `list_separator`; did you mean `list_separator` under [files]?"),
        ("[files]", "[files]\ndense = [\"price\"]", "[files]: unknown key `dense`; did you mean `dense` above all tables?"),
        ('label = "click"', 'target = "click"', "unknown key `target`; did you mean `label`?"),
        ('name = "shop"\n', "", "`name` is missing; give a text"),
        ('name = "shop"', "name = 7", "`name` is 7; give a text"),
        ('format = "csv"\n', "", '[files]: `format` is missing; give "csv", "tsv" or "parquet"'),
        ('"csv"', '"json"', "[files]: `format` is 'json'; give \"csv\", \"tsv\" or \"parquet\""),
        ('train = "train.csv"', "train = 7", "[files]: `train` is 7; give a path or a list of paths"),
        ('train = "train.csv"', "train = []", "[files]: `train` is []; give a path or a list of paths"),
        ('train = "train.csv"', 'train = ["a", 7]', "[files]: `train` is 7; give a path or a list of paths"),
        ('train = "train.csv"', 'train = ""', "[files]: `train` is ''; give a path or a list of paths"),
        ('train = "train.csv"', "", "[files]: give either `path` (one log) or `train`"),
        ('train = "train.csv"', 'path = "a.csv"\ntest = "b.csv"', "[files]: `path` is one log to be split"),
        ('train = "train.csv"', 'train = "a"\nlist_separator = ""', "[files]: `list_separator` is ''; give a text of at least one character"),
        ('"csv"', '"tsv"\nquoting = true', "[files]: `quoting` is for csv; in tsv a quote is a character"),
        ('"csv"', '"csv"\nquoting = "no"', "[files]: `quoting` is 'no'; give true or false"),
        ("[files]", "[file]", "unknown key `file`; did you mean `files`?"),
        ("[[dense]]", "[dense]", "`dense` is {'name': 'price'}; give each dense feature as a table [[dense]]"),
        ("[files]", "time = 7\n[files]", "`time` is 7; give the name of a column"),
        ("[files]", "[files", "not TOML"),
    ],
)  # fmt: skip
def test_a_schema_file_that_is_not_valid_says_what_to_mend(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    path = tmp_path / "shop.toml"
    before, found, after = TOML.rpartition(old) if old in LAST_FEATURE else TOML.partition(old)
    assert found
    path.write_text(before + new + after)
    with pytest.raises(SchemaError) as error:
        read_schema(path)
    assert str(error.value).startswith(f"{path}: {says}")
    assert "pydantic" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("table", "key"), [(table, key) for table, keys in KEYS.items() for key in keys])
def test_a_wrong_value_of_any_key_says_what_may_stand_there(tmp_path: Path, table: str, key: str) -> None:
    tables = {
        "": {"name": '"shop"'},
        "files": {"format": '"csv"', "path": '"log.csv"'},
        "dense": {"name": '"price"'},
        "categorical": {"name": '"user"', "encoding": '"int"'},
    }
    tables[table][key] = "1979-05-27"  # of no key's type
    if not table:
        tables.pop(key, None)
    lines = []
    for name, values in tables.items():
        lines += [f"[{name}]" if name == "files" else f"[[{name}]]"] * bool(name)
        lines += [f"{value_key} = {value}" for value_key, value in values.items()]
    path = tmp_path / "shop.toml"
    path.write_text("\n".join(lines))
    with pytest.raises(SchemaError) as error:
        read_schema(path)
    place, _, values = str(error.value).partition(f"`{key}` is datetime.date(1979, 5, 27); give ")
    assert values
    assert table in place


def test_features_and_files_that_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    for content, says in [
        ("", "`name` is missing"),
        ('name = "shop"\n[files]\nformat = "csv"\npath = "a"', "`categorical` is missing"),
        (
            TOML.replace("[files]\n", "").replace('format = "csv"\ntrain = "train.csv"', ""),
            "`files` is missing",
        ),
        ('categorical = []\nname = "s"\n[files]\nformat = "csv"\npath = "a"', "`categorical` is []"),
    ]:
        path.write_text(content)
        with pytest.raises(SchemaError) as error:
            read_schema(path)
        assert str(error.value).startswith(f"{path}: {says}")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SchemaError, match="not TOML"):
        read_schema(path)
    with pytest.raises(SchemaError, match="No such file"):
        read_schema(tmp_path / "none.toml")
    with pytest.raises(SchemaError, match="Is a directory"):
        read_schema(tmp_path)
    path.write_text("a = " + "[" * 100_000)
    with pytest.raises(SchemaError, match="not TOML that can be read: it is nested too deep"):
        read_schema(path)
    path.write_text("a = [{b = 0x" + "f" * 5000 + "}]")
    with pytest.raises(SchemaError, match="holds a number of more than 128 bits"):
        read_schema(path)
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(SchemaError, match="not a regular file"):
        read_schema(tmp_path / "pipe.toml")
