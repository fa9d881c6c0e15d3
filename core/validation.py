"""What pydantic refuses, in one line: which field, why, and what was found there."""

from pydantic import ValidationError

from tablefold.printable import VALUE_LETTERS, printable, shortened, shown


def first_fault(error: ValidationError) -> str:
    """Return the first fault, such as `config.dim: Input should be less than or equal to 1024, not 10**6`."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    problem = first["msg"].removeprefix("Value error, ")
    if first["type"] not in ("missing", "value_error"):
        problem += f", not {shown(first['input'])}"
    return printable(f"{shortened(place, VALUE_LETTERS)}: {problem}" if place else problem)
