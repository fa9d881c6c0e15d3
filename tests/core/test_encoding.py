"""Raw values to ids: one value at a time on the wire, a column at a time in logs, the same rule."""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tablefold.encoding import encode, hash_string
from tablefold.errors import LogError
from tablefold.logs.memory import read_log
from tablefold.logs.source import RawBatch
from tablefold.schema import MISSING, CategoricalFeature, Encoding, FeatureSchema

RAW = {
    Encoding.INT: st.one_of(
        st.integers(MISSING + 1, 2**63 - 1).map(str),
        st.sampled_from(["+5", "-0", "007", "-" + "0" * 5000 + "7", "9" * 5000, " 5", "5.0", "1_0", "x"]),
    ),
    Encoding.HEX32: st.one_of(
        st.text("0123456789abcdefABCDEF", min_size=1, max_size=9),
        st.sampled_from(["+f", "-f", "0x1", "g", " a"]),
    ),
    Encoding.STRING: st.text(min_size=1),
}


class Values:
    """A table of one column `c`."""

    files = (Path("log"),)

    def __init__(self, values: list[str | None]) -> None:
        self._frame = pl.DataFrame({"c": values}, schema={"c": pl.String})

    def count(self) -> int:
        return self._frame.height

    def batches(self, columns: Sequence[str], numbers: Collection[str] = ()) -> Iterator[RawBatch]:
        yield RawBatch(frame=self._frame, columns=["c"], file=Path("log"))


@pytest.mark.parametrize("encoding", list(Encoding))
def test_a_log_and_the_wire_encode_alike(encoding: Encoding) -> None:
    schema = FeatureSchema(name="x", categorical=(CategoricalFeature(name="c", encoding=encoding),))

    @given(RAW[encoding])
    def alike(value: str) -> None:
        try:
            expected = int(encode([value], encoding)[0])
        except ValueError:
            with pytest.raises(LogError, match="feature 'c'"):
                read_log([Values([value])], schema, labelled=False)
            return
        log = read_log([Values([value, None])], schema, labelled=False)
        assert log.ids[:, 0].tolist() == [expected, MISSING]

    alike()


def test_the_string_hash_never_changes() -> None:
    # A bundle outlives the program that trained it, so these numbers are for ever.
    assert [hash_string(text) for text in ("Comedy", "é")] == [-2365825670817287826, 1717938401253289848]
    assert encode([""], Encoding.STRING).tolist() == [MISSING]


@pytest.mark.parametrize("value", [str(MISSING), str(2**63), "12a", ""])
def test_what_does_not_fit_is_refused_or_missing(value: str) -> None:
    if value == "":
        assert encode([value], Encoding.INT).tolist() == [MISSING]
    else:
        with pytest.raises(ValueError, match=value):
            encode([value], Encoding.INT)
