"""Options of the command line: those that several commands share, and those made from configuration classes.

A field of a configuration class is declared once: its name, type, default, bounds and docstring are those of
the option. `options_of` puts one option for each field in the place of a command's parameter:

    @options_of("config", TrainConfig)
    def train(data: Data, config: TrainConfig) -> None: ...

An option that is not given is not set, so `config.model_fields_set` says what the user chose.
"""

import inspect
import re
from collections.abc import Callable, Collection, Iterator
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_origin

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from tablefold.errors import UsageError
from tablefold.files.place import local_path

Config = TypeVar("Config", bound=BaseModel)

LOG_FORMS = "criteo:PATH, avazu:PATH, movielens:PATH, frappe:PATH, synthetic:ROWS or a SCHEMA.toml"
Data = Annotated[str, typer.Option(metavar="LOG", help=f"The log: {LOG_FORMS}.", show_default=False)]
Cache = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        parser=local_path,
        help="Encode the log there once and map it into memory: for logs larger than memory, and for many "
        "runs of one log.",
        show_default=False,
    ),
]


def options_of(
    parameter: str,
    config: type[BaseModel],
    *,
    only: Collection[str] = (),
    leave_out: Collection[str] = (),
    chosen: Collection[str] = (),
    panel: str | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace a command's parameter by one option for each field of a configuration class.

    The fields are those in `only`, by default all that are not in `leave_out`; the log decides the default of
    those in `chosen`; `panel` is their heading in the help. The command is called with the configuration, or
    UsageError names the option that is wrong.
    """
    fields = {
        name: field
        for name, field in config.model_fields.items()
        if name in (only or config.model_fields) and name not in leave_out
    }

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command)
        made = [_option(name, field, panel, chosen=name in chosen) for name, field in fields.items()]

        @wraps(command)
        def run(**given: Any) -> None:
            values = {name: given.pop(name) for name in fields}
            command(**given, **{parameter: configuration(config, values)})

        parameters: list[inspect.Parameter] = []
        for declared in signature.parameters.values():
            options = made if declared.name == parameter else [declared]
            parameters += [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {option.name: option.annotation for option in parameters}
        return run

    return decorate


def configuration(config: type[Config], given: dict[str, Any]) -> Config:
    """Return the configuration of options as the command line gives them; None is an option that was not
    given. Raises UsageError that names the option."""
    values: dict[str, object] = {}
    for name, value in given.items():
        field = config.model_fields[name]
        if value is None or value == []:
            continue
        if _is_mapping(field):
            values[name] = dict(_by_feature(name, value))
        elif get_origin(field.annotation) is tuple:
            values[name] = tuple(value.split(","))
        else:
            values[name] = value
    try:
        return config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:  # found by comparing several options
            raise UsageError(message) from error
        option = option_name(str(first["loc"][0]))
        of_feature = f"{first['loc'][1]}=" if _is_mapping(config.model_fields[str(first["loc"][0])]) else ""
        raise UsageError(f"{option} {of_feature}{first['input']}: {message}") from error


def option_name(field: str) -> str:
    """Return the option of a field."""
    return "--" + field.replace("_", "-")


def _option(name: str, field: FieldInfo, panel: str | None, *, chosen: bool) -> inspect.Parameter:
    text = inspect.cleandoc(field.description or "").replace("\n", " ")
    bounds = ", ".join(_bounds(field, chosen=chosen))
    information: dict[str, Any] = {
        "help": f"{text} ({bounds})" if bounds else text,
        "rich_help_panel": panel,
        "show_default": False,
    }
    kind: Any
    if field.annotation is bool:
        kind = Annotated[
            bool | None, typer.Option(option_name(name), **{**information, "show_default": False})
        ]
    elif _is_mapping(field):
        metavar = f"FEATURE={name.removesuffix('_of').upper()}"
        kind = Annotated[list[str] | None, typer.Option(metavar=metavar, **information)]
    elif get_origin(field.annotation) is tuple:
        kind = Annotated[str | None, typer.Option(metavar="N,N,...", **information)]
    else:
        kind = Annotated[field.annotation | None, typer.Option(**information)]  # type: ignore[operator]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def _is_mapping(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is dict


def _bounds(field: FieldInfo, *, chosen: bool) -> Iterator[str]:
    """Say what the default is, and in which range a number must be."""
    default = field.get_default(call_default_factory=True)
    if chosen:
        yield "default by the log"
    elif default is not False and default not in ({}, None):
        text = ",".join(map(str, default)) if isinstance(default, tuple) else f"{default}"
        yield f"default {text.removesuffix('.0')}"
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    for constraint in field.metadata:
        for name, word in words.items():
            if hasattr(constraint, name):
                yield f"{word} {getattr(constraint, name)}"


def _by_feature(name: str, given: list[str]) -> Iterator[tuple[str, str]]:
    for text in given:
        feature, _, value = text.rpartition("=")
        if not feature or not value:
            metavar = name.removesuffix("_of").upper()
            raise UsageError(f"{option_name(name)} {text!r}: give FEATURE={metavar}")
        yield feature, value


UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?|[0-9]{1,18}) ?([KMG]I?B)?", re.IGNORECASE | re.ASCII)


def parse_bytes(text: str, option: str) -> int:
    """Return the bytes of a size such as 500MB or 2GiB, at least 1.

    Raises UsageError that names the option.
    """
    parts = SIZE.fullmatch(text.strip())
    size = 0 if parts is None else int(float(parts[1]) * UNITS[(parts[2] or "").upper()])
    if not 0 < size < 1 << 63:
        raise UsageError(f"{option} {text!r} is not a size: give bytes, or such as 500MB or 2GiB")
    return size
