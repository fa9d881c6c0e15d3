"""Text that others chose, made safe to show: no letter of it is obeyed by a terminal, none breaks a line,
none is of a URL's password."""

import re

MOST_LETTERS = 2000
"""Of a message. Longer ones hold a value of megabytes: where it stands and what to do are at the ends."""

VALUE_LETTERS = 100
"""Of a value in a message."""


def printable(text: str) -> str:
    """Return the text with every character that does not show as itself as its escape, such as `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def shown(value: object) -> str:
    """Return a value as a message shows it: as Python writes it, on one line, 100 letters of it."""
    return shortened(repr(value), VALUE_LETTERS)


def shortened(text: str, most: int = MOST_LETTERS) -> str:
    """Return the text with its middle left out if it has more than `most` letters."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"


def redacted(text: str) -> str:
    """Return a text without the user and the password of any URL in it, and without any query."""
    return re.sub(r"\?\S*=[^\s'\")]*", "?...", re.sub(r"://[^/\s]*@", "://", text))
