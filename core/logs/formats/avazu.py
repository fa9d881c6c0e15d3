"""Avazu's click logs: comma separated, 24 columns, with or without the header line.

`hour` is written YYMMDDHH; it becomes `day`, the day of the week (1 is Monday), and `hour` of the day:
what repeats, not a running number. The row's own `id` is not a feature.
"""

import polars as pl

from tablefold.files.place import Place
from tablefold.logs.formats.public_files import mostly, open_files
from tablefold.logs.source import LogFormat, RawBatch, Source, Table
from tablefold.logs.tables.changed import ChangedTable
from tablefold.logs.tables.text import TextTable, first_line, first_widths
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


def open_file(path: Place) -> Table:
    """Return the table of a file; the competition's test file has no column of labels. Raises LogError."""
    header = "hour" in first_line(path).split(",")
    columns = None if header else COLUMNS
    if columns and mostly(first_widths(path, ","), len(COLUMNS) - 1):
        columns = [name for name in COLUMNS if name != SCHEMA.label]
    table = TextTable(path=path, separator=",", columns=columns)
    return ChangedTable(table=table, columns=["hour"], change=_day_and_hour)


def _day_and_hour(batch: RawBatch) -> pl.DataFrame:
    """Return the frame with `day` and `hour` of the time."""
    if "hour" not in batch.columns:
        return batch.frame
    raw, when = batch.frame["hour"], batch.frame.select(WHEN).to_series()
    wrong = (when.is_null() & raw.is_not_null()).arg_true()
    if len(wrong):
        row = int(wrong[0])
        batch.refuse(row, f"{raw[row]!r} is not a time written YYMMDDHH", "hour")
    return batch.frame.with_columns(
        when.dt.weekday().cast(pl.String).alias("day"), when.dt.hour().cast(pl.String).alias("hour")
    )


def _open(argument: str) -> Source:
    return open_files(argument, SCHEMA, open_file)


FORMAT = LogFormat(name="avazu", argument="PATH", schema=SCHEMA, open=_open)
