"""Figures as people read them."""


def number(value: float | None, unit: str = "", digits: int = 2) -> str:
    """Return the value with thousands separated; a dash for None."""
    return "-" if value is None else f"{value:,.{digits}f}{unit}"


def times(value: float) -> str:
    """Return a ratio with the digits that matter."""
    return f"{value:.3f}" if value < 10 else f"{value:,.0f}"


def duration_words(seconds: float) -> str:
    """Return a duration in seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def megabytes(value: int | None) -> str:
    """Return bytes in MB; a dash for None."""
    return number(None if value is None else value / 1e6, " MB", 1)
