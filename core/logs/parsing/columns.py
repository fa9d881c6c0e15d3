"""Which types of columns hold which values, and how each becomes numbers or text.

    column                     dense        label   int            hex32   string
    text, categorical, enum    as a number  0, 1    as an integer  digits  itself
    integer                    yes          0, 1    itself         no      its digits
    boolean                    0, 1         0, 1    0, 1           no      no
    float                      yes          0, 1    where whole    no      no
    decimal                    yes          0, 1    no             no      no
    null (nothing in it)       missing      no      missing        missing missing

A multi-valued feature takes lists and arrays of these, text with separators, or one value a row. Dates,
times, structs, binary and nested lists are refused. "" and null are missing, and so is a float NaN.
"""

import polars as pl
from polars import selectors

from tablefold.schema import MISSING, CategoricalFeature, Encoding

NUMBERS = "integers, floats, decimals, booleans, or text that holds numbers"
ACCEPTED = {
    Encoding.INT: "integers, whole floats, booleans, or text that holds integers",
    Encoding.HEX32: "text of 1 to 8 hexadecimal digits; for a column of integers give int",
    Encoding.STRING: "text or integers",
}
"""What a column of each encoding may be, in words."""
EXACT: dict[pl.DataType, int] = {pl.Float16(): 1 << 11, pl.Float32(): 1 << 24, pl.Float64(): 1 << 53}
"""Below this every whole number has a float of its own."""


def is_text(dtype: pl.DataType) -> bool:
    """Whether the values are text."""
    return isinstance(dtype, pl.String | pl.Categorical | pl.Enum)


def in_words(dtype: pl.DataType) -> str:
    """Return the type as a reader of the message knows it, such as `list of Int64`."""
    if isinstance(dtype, pl.List | pl.Array):
        return f"list of {in_words(dtype.inner)}"  # type: ignore[arg-type]  # never a class here
    return str(dtype.base_type())


def column(name: str) -> pl.Expr:
    """Return the column of this very name; `pl.col` takes `*` and `^...$` for patterns."""
    return selectors.by_name(name).as_expr()


def is_number(dtype: pl.DataType) -> bool:
    """Whether a dense value or a label can be read from the column."""
    return is_text(dtype) or dtype.is_numeric() or isinstance(dtype, pl.Boolean | pl.Null)


def number(name: str, dtype: pl.DataType, to: type[pl.DataType] = pl.Float32) -> pl.Expr:
    """Return the values as numbers; null for what is missing or no number."""
    raw = column(name).cast(pl.String) if is_text(dtype) else column(name)
    return raw.cast(to, strict=False)


def label(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return the labels as floats that have all digits: what is only near 0 or 1 is neither."""
    return number(name, dtype, pl.Float64)


def holds_ids(dtype: pl.DataType, encoding: Encoding) -> bool:
    """Whether ids of the encoding can be read from the column."""
    if is_text(dtype) or isinstance(dtype, pl.Null):
        return True
    if encoding is Encoding.STRING:
        return dtype.is_integer()
    return encoding is Encoding.INT and (
        dtype.is_integer() or dtype.is_float() or isinstance(dtype, pl.Boolean)
    )


def as_text(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return raw ids as text; null for what is missing, and for a number that is no id."""
    if dtype.is_float():
        whole = (value == value.round()) & (value.abs() < EXACT[dtype])
        value = pl.when(whole).then(value)
    if not is_text(dtype) and not isinstance(dtype, pl.Null):
        value = value.cast(pl.Int64, strict=False)
        value = pl.when(value != MISSING).then(value)
    return value.cast(pl.String)


def no_id(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return which numbers are no ids, bool. Text is looked at later, each distinct value once."""
    there = value.is_not_nan() & value.is_not_null() if dtype.is_float() else value.is_not_null()
    return (there & as_text(value, dtype).is_null()).fill_null(False)


def expected(dtype: pl.DataType, encoding: Encoding) -> str:
    """Return what a value should have been, for a message."""
    if dtype.is_float():
        return f"a whole number below {EXACT[dtype]:,}, from which on floats are not exact"
    if dtype.is_integer():
        encoding = Encoding.INT  # of a text too: larger numbers have no id of their own
    return {
        Encoding.INT: "a whole number of 64 bits",
        Encoding.HEX32: "1 to 8 hexadecimal digits",
        Encoding.STRING: "text",
    }[encoding]


def values_type(dtype: pl.DataType, feature: CategoricalFeature) -> pl.DataType:
    """Return the type of single values: of a multi-valued feature that of the lists' members."""
    if feature.slots > 1 and isinstance(dtype, pl.List | pl.Array):
        return dtype.inner  # type: ignore[return-value]  # never a class here
    return dtype


def slots_of(feature: CategoricalFeature) -> list[pl.Expr]:
    """Return the single values of a feature, slot by slot; several from what `as_list` returns."""
    values = column(feature.name)
    if feature.slots == 1:
        return [values]
    return [values.list.get(slot, null_on_oob=True) for slot in range(feature.slots)]


def as_list(feature: CategoricalFeature, dtype: pl.DataType, separator: str) -> pl.Expr:
    """Return the values of each row of a multi-valued feature as a list; missing ones are left out."""
    values = column(feature.name)
    inner = values_type(dtype, feature)
    if is_text(dtype):
        values = values.cast(pl.String).str.split(separator)
    elif isinstance(dtype, pl.Array):
        values = values.arr.to_list()
    elif not isinstance(dtype, pl.List):
        values = pl.concat_list(values)
    if is_text(inner):
        return values.list.eval(pl.element().cast(pl.String).filter(pl.element().cast(pl.String) != ""))
    return values.list.drop_nulls()
