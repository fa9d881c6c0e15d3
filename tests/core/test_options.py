"""A field of a configuration class is an option: its type, bounds and docstring stand in one place."""

from typing import Annotated, Literal

import pytest
import typer
from pydantic import BaseModel, ConfigDict, Field
from typer.testing import CliRunner

from tablefold.errors import UsageError
from tablefold.options import options_of


class Oven(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    heat: Annotated[float, Field(gt=0, le=300)] = 180.0
    """Degrees in the middle."""
    trays: Annotated[int, Field(ge=1)] = 1
    mode: Literal["fan", "grill"] = "fan"
    preheat: bool = False
    heights: tuple[int, ...] = (1, 2)
    minutes_of: dict[str, Annotated[float, Field(ge=0)]] = {}


baked: list[tuple[str, Oven]] = []
app = typer.Typer()


@app.command()
@options_of("oven", Oven)
def bake(dish: str, oven: Oven = Oven()) -> None:  # noqa: B008
    baked.append((dish, oven))


def run(*arguments: str) -> tuple[str, Oven]:
    CliRunner().invoke(app, arguments, catch_exceptions=False, standalone_mode=False)
    return baked[-1]


def test_options_fill_the_configuration_and_say_which_were_given() -> None:
    given = ["--heat", "200", "--mode", "grill", "--preheat", "--heights", "3,4"]
    dish, oven = run("pie", *given, "--minutes-of", "crust=5", "--minutes-of", "a=b=1.5")
    wanted = {"mode": "grill", "preheat": True, "heights": (3, 4), "minutes_of": {"crust": 5, "a=b": 1.5}}
    assert (dish, oven) == ("pie", Oven(heat=200, **wanted))
    assert oven.model_fields_set == {"heat", "mode", "preheat", "heights", "minutes_of"}
    assert run("bread") == ("bread", Oven())


def test_help_has_the_docstring_the_default_and_the_bounds() -> None:
    shown = " ".join(CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output.split())
    assert "Degrees in the middle. (default 180, more than 0, at most 300)" in shown
    assert "fan|grill" in shown
    assert "FEATURE=MINUTES" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--heat", "0"], r"--heat 0\.0: .*greater than 0"),
        (["--heat", "nan"], r"--heat nan: .*finite"),
        (["--trays", "-3"], r"--trays -3: .*greater than or equal to 1"),
        (["--heights", "1,,2"], r"--heights : .*valid integer"),
        (["--minutes-of", "crust"], r"--minutes-of 'crust': give FEATURE=MINUTES"),
        (["--minutes-of", "crust=-1"], r"--minutes-of crust=-1: .*greater than or equal to 0"),
    ],
)
def test_a_wrong_value_is_refused_by_the_option_it_came_from(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run("pie", *arguments)
