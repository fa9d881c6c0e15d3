"""Avazu's click logs: comma separated, 24 columns, with or without the header line.

`hour` is written YYMMDDHH; it becomes `day`, the day of the week (1 is Monday), and `hour` of the day:
what repeats, not a running number. The row's own `id` is not a feature.
"""

from pathlib import Path

import polars as pl

from tablefold.errors import LogError
from tablefold.logs.log import Log
from tablefold.logs.parse import parse
from tablefold.logs.text import first_line, read_text
from tablefold.schema import CategoricalFeature, Encoding, FeatureSchema

HEX = ["site_id", "site_domain", "site_category", "app_id", "app_domain", "app_category"]
HEX += ["device_id", "device_ip", "device_model"]
COLUMNS = ["id", "click", "hour", "C1", "banner_pos", *HEX, "device_type", "device_conn_type"]
COLUMNS += [f"C{i}" for i in range(14, 22)]
FEATURES = ["day", *COLUMNS[2:]]

SCHEMA = FeatureSchema(
    name="avazu",
    label="click",
    categorical=tuple(
        CategoricalFeature(name=name, encoding=Encoding.HEX32 if name in HEX else Encoding.INT)
        for name in FEATURES
    ),
)


def read(path: Path) -> Log:
    """One file; the competition's test file, which lacks `click`, reads as a log without labels."""
    first = first_line(path).split(",")
    has_header = "hour" in first
    unlabelled = [name for name in COLUMNS if name != "click"]
    columns = None if has_header else unlabelled if len(first) == len(unlabelled) else COLUMNS
    frame = read_text(path, separator=",", columns=columns)
    if "hour" in frame.columns:
        frame = _split_hour(frame, path, header_lines=int(has_header))
    return parse(frame, SCHEMA, file=path, header_lines=int(has_header))


def _split_hour(frame: pl.DataFrame, path: Path, *, header_lines: int) -> pl.DataFrame:
    raw = frame["hour"]
    # strptime wants minutes beside hours.
    when = (raw + "00").str.to_datetime("%y%m%d%H%M", strict=False)
    bad = (when.is_null() & raw.is_not_null()).arg_true()
    if len(bad):
        row = int(bad[0])
        raise LogError(
            f"{raw[row]!r} is not a time written YYMMDDHH",
            file=str(path), line=row + 1 + header_lines, feature="hour",
        )  # fmt: skip
    return frame.with_columns(when.dt.weekday().alias("day"), when.dt.hour().alias("hour"))
