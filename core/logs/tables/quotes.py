"""Where quotes stand in text, whether they are well-formed (RFC 4180), and where records end."""

from typing import NoReturn

import numpy as np

from tablefold.errors import LogError
from tablefold.files.place import Place

NEWLINE, CARRIAGE_RETURN, QUOTE = b'\n\r"'


def record_ends(content: bytes, quotes: np.ndarray | None) -> np.ndarray:
    """Return where the newline of each record stands, int64 [records]; those inside quotes end none."""
    ends = np.flatnonzero(np.frombuffer(content, np.uint8) == NEWLINE)
    if content and not content.endswith(b"\n"):
        ends = np.append(ends, len(content))
    return ends if quotes is None else ends[np.searchsorted(quotes, ends) % 2 == 0]


def quotes_of(content: bytes, path: Place, line: int, separator: str, *, last: bool) -> np.ndarray | None:
    """Return where quotes stand, int64, or None. Raises LogError for quotes that are not well-formed."""
    if b'"' not in content:
        return None
    text = np.frombuffer(content, np.uint8)
    quotes = np.flatnonzero(text == QUOTE)
    _require_quotes(text, quotes, path, line, ord(separator))
    if last and len(quotes) % 2:
        _refuse_quote(text, int(quotes[-1]), path, line, "opens a quoted value that never closes")
    return quotes


def _require_quotes(text: np.ndarray, quotes: np.ndarray, path: Place, line: int, separator: int) -> None:
    """Raise LogError for the first quote that does not stand at the edge of a value.

    A doubled quote closes its value and opens it again, so it is well-formed by the same rule.
    """
    opening, closing = quotes[::2], quotes[1::2]
    before = text[np.maximum(opening - 1, 0)]
    opens = (opening == 0) | (before == separator) | (before == NEWLINE) | (before == QUOTE)
    after = text[np.minimum(closing + 1, len(text) - 1)]
    closes = (closing == len(text) - 1) | (after == separator) | (after == NEWLINE) | (after == QUOTE)
    closes |= after == CARRIAGE_RETURN
    bad_opening, bad_closing = np.flatnonzero(~opens), np.flatnonzero(~closes)
    if len(bad_opening) and not (len(bad_closing) and bad_closing[0] < bad_opening[0]):
        _refuse_quote(text, int(opening[bad_opening[0]]), path, line, "has a quote inside a value")
    if len(bad_closing):
        at = int(opening[bad_closing[0]])
        _refuse_quote(text, at, path, line, "has a quoted value that more text follows")


def _refuse_quote(text: np.ndarray, position: int, path: Place, line: int, problem: str) -> NoReturn:
    line += int(np.count_nonzero(text[:position] == NEWLINE))
    raise LogError(
        f"{problem}; quote the value and double the quotes in it, or set `quoting = false` under [files]",
        file=str(path),
        line=line,
    )
