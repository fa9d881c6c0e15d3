"""Avazu's click logs: comma separated, 24 columns, with or without the header line.

`hour` is written YYMMDDHH; it becomes `day`, the day of the week (1 is Monday), and `hour` of the day:
what repeats, not a running number. The row's own `id` is not a feature.
"""

from functools import partial
from pathlib import Path

import polars as pl

from tablefold.errors import LogError
from tablefold.logs.formats.parse import parse
from tablefold.logs.formats.text import first_line, part, read_text, refuse_ragged_lines, scan_text
from tablefold.logs.log import Log
from tablefold.logs.log_file import LogFile
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
# strptime wants minutes beside hours.
WHEN = (pl.col("hour") + "00").str.to_datetime("%y%m%d%H%M", strict=False)
NO_TIME = pl.when(pl.col("hour").is_not_null()).then(pl.lit("not a time"))
"""What no integer is, so that it is refused."""
DAY_AND_HOUR = (
    pl.coalesce(WHEN.dt.weekday().cast(pl.String), NO_TIME).alias("day"),
    pl.coalesce(WHEN.dt.hour().cast(pl.String), NO_TIME).alias("hour"),
)


def open_file(path: Path) -> LogFile:
    """One file; the competition's test file, which lacks `click`, has no labels. Raises LogError."""
    fields = first_line(path).split(",")
    has_header = "hour" in fields
    unlabelled = [name for name in COLUMNS if name != "click"]
    columns = None if has_header else unlabelled if len(fields) == len(unlabelled) else COLUMNS
    scan = scan_text(path, separator=",", columns=columns)

    def read_part(first: int, rows: int | None) -> Log:
        frame = read_text(path, separator=",", columns=columns, rows=part(first, rows))
        header_lines = first + has_header
        if "hour" in frame.columns:
            _refuse_times(frame, path, header_lines)
            frame = frame.with_columns(*DAY_AND_HOUR)
        return parse(frame, SCHEMA, file=path, header_lines=header_lines)

    return LogFile(
        path=path,
        frame=scan.with_columns(*DAY_AND_HOUR).select("day", pl.exclude("day"))
        if "hour" in (columns or fields)
        else scan,
        read_part=read_part,
        require_whole_lines=partial(refuse_ragged_lines, path, ",", None, len(columns or fields)),
    )


def read(path: Path) -> Log:
    """All rows of one file. Raises LogError."""
    return open_file(path).read()


def _refuse_times(frame: pl.DataFrame, path: Path, header_lines: int) -> None:
    raw = frame["hour"]
    bad = frame.select(WHEN.is_null() & pl.col("hour").is_not_null()).to_series().arg_true()
    if len(bad):
        row = int(bad[0])
        raise LogError(
            f"{raw[row]!r} is not a time written YYMMDDHH",
            file=str(path), line=row + 1 + header_lines, feature="hour",
        )  # fmt: skip
