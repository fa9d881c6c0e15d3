"""Raw values become ids and numbers by the rule of the logs, however Python holds them."""

from collections import deque
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tablefold.client.values import EncodedIds, categorical_ids, dense_numbers, one_row
from tablefold.encoding import encode
from tablefold.errors import InvalidRequest
from tablefold.schema import MISSING, CategoricalFeature, Encoding

INT = CategoricalFeature(name="user", encoding=Encoding.INT)
HEX = CategoricalFeature(name="item", encoding=Encoding.HEX32)
TEXT = CategoricalFeature(name="query", encoding=Encoding.STRING)
TAGS = CategoricalFeature(name="tags", encoding=Encoding.STRING, slots=3)
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=9)


def column(feature: CategoricalFeature, values: Any) -> list[int]:
    ids = categorical_ids(feature, values)
    assert ids.dtype == np.int64
    assert ids.shape == (len(ids), 1)
    return [int(value) for value in ids[:, 0]]


@given(st.lists(st.integers(-(2**63) + 1, 2**63 - 1), min_size=1, max_size=9))
def test_whole_numbers_are_one_id_in_every_form(numbers: list[int]) -> None:
    assert column(INT, numbers) == numbers
    assert column(INT, [str(number) for number in numbers]) == numbers
    assert column(INT, np.array(numbers)) == numbers
    assert column(INT, np.array(numbers, object)) == numbers
    assert column(INT, np.array([str(number) for number in numbers])) == numbers
    assert column(INT, deque(numbers)) == column(INT, iter(numbers)) == numbers
    assert column(INT, pl.Series(numbers)) == numbers
    assert column(INT, [*numbers, None]) == [*numbers, MISSING]
    assert column(TEXT, numbers) == column(TEXT, np.array(numbers)) == column(TEXT, list(map(str, numbers)))


@given(TEXTS)
@example(["\0", "a\0"])
def test_texts_are_one_id_in_every_form(texts: list[str]) -> None:
    ids = encode(texts, Encoding.STRING).tolist()
    assert column(TEXT, texts) == ids
    assert column(TEXT, np.array(texts, object)) == ids
    assert column(TEXT, np.array(texts, np.dtypes.StringDType())) == ids
    assert column(TEXT, [text.encode() for text in texts]) == ids
    assert column(TEXT, pl.Series(texts, dtype=pl.String)) == ids
    if not any(text.endswith("\0") for text in texts):  # numpy's own texts end there
        assert column(TEXT, np.array(texts, np.str_)) == ids


@given(st.lists(TEXTS, max_size=7))
def test_lists_are_filled_up_to_their_slots_and_cut_there(rows: list[list[str]]) -> None:
    expected = [[*encode(row[:3], Encoding.STRING).tolist(), *[MISSING] * (3 - len(row))] for row in rows]
    assert categorical_ids(TAGS, rows).tolist() == expected
    assert categorical_ids(TAGS, [tuple(row) for row in rows]).tolist() == expected
    assert categorical_ids(TAGS, pl.Series(rows, dtype=pl.List(pl.String))).tolist() == expected


def test_a_lone_value_is_a_row_of_one() -> None:
    (a, b), none = encode(["a", "b"], Encoding.STRING).tolist(), MISSING
    assert categorical_ids(TAGS, ["a", None, ["b", "a"]]).tolist() == [
        [a, none, none],
        [none, none, none],
        [b, a, none],
    ]
    assert categorical_ids(TAGS, np.array(["a", "b"])).tolist() == [[a, none, none], [b, none, none]]
    assert categorical_ids(TAGS, [[], []]).tolist() == [[none] * 3] * 2
    assert categorical_ids(TAGS, []).shape == (0, 3)
    assert categorical_ids(TAGS, np.array([["a"] * 5])).tolist() == [[a, a, a]]


@pytest.mark.parametrize("dtype", ["b", "B", "<h", ">h", "H", "i", "I", "q", "Q", "e", "f", "d", "g"])
def test_every_numeric_dtype_of_numpy(dtype: str) -> None:
    values = np.array([0, 1, 100], dtype)
    assert column(INT, values) == [0, 1, 100]
    assert dense_numbers("age", values).tolist() == [0, 1, 100]
    assert dense_numbers("age", values[:, None]).dtype == np.float32
    assert column(INT, values[:0]) == []
    assert dense_numbers("age", values[:0]).shape == (0,)
    assert column(INT, values[::-2]) == [100, 0]


def test_missing_values_in_every_form() -> None:
    for values in ([None, ""], [float("nan"), None], [np.float32("nan"), b""], np.array([np.nan, np.nan])):
        for feature in (INT, HEX, TEXT):
            assert column(feature, values) == [MISSING, MISSING]
    assert column(INT, [7.0, float("nan")]) == column(INT, np.array([7, np.nan])) == [7, MISSING]
    masked = np.ma.masked_array([7, 8], [False, True])
    assert column(INT, masked) == column(INT, pl.Series([7, None])) == [7, MISSING]
    for dense in ([1, None], [1, float("nan")], masked - 6, pl.Series([1, None])):
        np.testing.assert_array_equal(dense_numbers("age", dense), np.array([1, np.nan], np.float32))


@pytest.mark.parametrize(
    ("feature", "values", "says"),
    [
        (INT, [1, 2**63], r"row 1: '9223372036854775808' does not fit"),
        (INT, [1, -(2**63)], r"row 1: .* does not fit"),
        (INT, np.array([1, 2**63], np.uint64), r"row 1: .* does not fit"),
        (INT, np.array([MISSING]), r"row 0: .* does not fit"),
        (INT, [2**63, -1], r"row 0: .* does not fit"),
        (INT, np.array([1.0, 2.0**53]), r"row 1: .* is a float; give a whole number below 2\^53"),
        (INT, [7.0, 7.5], r"row 1: 7.5 is a float"),
        (INT, [1, float("inf")], r"row 1: inf is a float"),
        (INT, [1, True], r"row 1: True is a truth value"),
        (INT, np.array([True, False]), r"row 0: True is a truth value"),
        (INT, ["1", "٣"], r"row 1: '٣' is not a whole number"),
        (INT, [" 1"], r"row 0: ' 1' is not a whole number"),
        (INT, [Decimal(1)], r"row 0: Decimal\('1'\) is Decimal"),
        (INT, [1j], r"row 0: 1j is complex"),
        (INT, np.array(["2020-01-01"], "M8[D]"), r"row 0: .* is date"),
        (HEX, [1], r"row 0: 1 is a number; give its hexadecimal digits as text"),
        (HEX, np.array([1, 2]), r"row 0: 1 is a number"),
        (HEX, ["123456789"], r"row 0: '123456789' is not 1 to 8"),
        (HEX, ["0x12"], r"row 0: '0x12' is not 1 to 8"),
        (TEXT, [1.5], r"row 0: 1.5 is a float; give text"),
        (TEXT, [True], r"row 0: True is a truth value"),
        (TEXT, ["a", "\ud800"], r"row 1: .* is not text in UTF-8"),
        (TEXT, [b"\xff"], r"row 0: .* is not text in UTF-8"),
        (TEXT, [["a", "b"]], r"takes one value a row, but a row holds 2"),
        (TEXT, np.zeros((2, 2, 2)), "3 dimensions"),
        (TEXT, "abc", "is str: give a list or array"),
        (TEXT, b"abc", "is bytes: give a list"),
        (TEXT, 5, "is int: give a list"),
        (TEXT, None, "is NoneType: give a list"),
        (TEXT, {"a": 1}, "is dict: give a list"),
        (TEXT, {"a"}, "is set: give a list"),
        (TEXT, np.array(5), "is ndarray: give a list"),
        (TEXT, [{"a"}], r"row 0: \{'a'\} is set"),
        (TEXT, [object()], r"row 0: <object"),
        (TAGS, [["a"], ["b", 2.5]], r"row 1, value 1: 2.5 is a float"),
        (INT, EncodedIds(np.array([1.0])), "encoded ids are int64"),
        (TEXT, EncodedIds(np.zeros((2, 2), np.int64)), "takes one value a row"),
    ],
)
def test_what_has_no_id_is_refused_with_its_row(feature: CategoricalFeature, values: Any, says: str) -> None:
    with pytest.raises(InvalidRequest, match=f"(?s)feature '{feature.name}'.*{says}"):
        categorical_ids(feature, values)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([1, 1e39], "row 1: 1e[+]39 is no finite number of 32 bits"),
        ([10**400], "row 0: inf is no finite"),
        (np.array([-np.inf]), "row 0: -inf is no finite"),
        ([1, "2"], "row 1: '2' is str, not a number"),
        (["1"], "row 0: '1' is str, not a number"),
        (np.array(["1"]), "give numbers, not <U1"),
        (np.array([1j]), "give numbers, not complex"),
        ([1j], "row 0: 1j is complex"),
        ([[1, 2]], r"row 0: \[1, 2\] is list"),
        (np.zeros((2, 2)), "one number a row"),
        (3, "is int: give a list"),
        (EncodedIds(np.array([1])), "is EncodedIds|is ndarray"),
    ],
)
def test_what_is_no_number_is_refused_with_its_row(values: Any, says: str) -> None:
    with pytest.raises(InvalidRequest, match=f"feature 'age'.*{says}"):
        dense_numbers("age", values)


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("value", ["a", ["a"], np.array(["a"]), [["a"]]])
def test_a_context_is_one_row_in_every_form(slots: int, value: Any) -> None:
    feature = TAGS.model_copy(update={"slots": slots})
    [a] = encode(["a"], Encoding.STRING).tolist()
    assert categorical_ids(feature, one_row(slots, value)).tolist() == [[a, *[MISSING] * (slots - 1)]]
    encoded = EncodedIds(categorical_ids(feature, ["a"])[0])
    assert categorical_ids(feature, one_row(slots, encoded)).tolist() == [[a, *[MISSING] * (slots - 1)]]
