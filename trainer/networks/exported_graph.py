"""The nodes of a `.pt2` file as steps, each one operator that may be called."""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

ATEN = re.compile(r"torch\.ops\.aten\.([a-zA-Z0-9_]+)\.([a-zA-Z0-9_]+)")
TEXTS = {"approximate", "rounding_mode", "mode", "equation", "indexing", "side", "ord", "reduce"}
"""What text may say to an operator. Any other could be the name of a file."""
ARITHMETIC = {
    f"_operator.{name}": getattr(operator, name)
    for name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "pow", "getitem")
}
DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16,
    7: torch.float32, 8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
"""By their numbers in the file."""
MEMORY_FORMATS = {1: torch.contiguous_format, 4: torch.preserve_format}
STRIDED = 7


class Unsupported(Exception):
    """What a file asks for and no network needs."""


@dataclass(frozen=True)
class Named:
    """A value by its name."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call: what it takes, and the names of what it gives."""

    call: Callable[..., Any]
    arguments: list[Any]
    named: dict[str, Any]
    gives: list[str]
    """Several where the operator gives several tensors."""
    many: bool

    def takes(self) -> set[str]:
        """Return the names of the values that it needs."""
        return _names([*self.arguments, *self.named.values()])

    def run(self, values: dict[str, Any]) -> None:
        """Call the operator with these values by name, and add what it gives."""
        result = self.call(
            *(_value(argument, values) for argument in self.arguments),
            **{name: _value(argument, values) for name, argument in self.named.items()},
        )
        if self.many:
            values.update(zip(self.gives, result, strict=True))
        else:
            values[self.gives[0]] = result


def _value(argument: Any, values: dict[str, Any]) -> Any:
    if isinstance(argument, Named):
        return values[argument.name]
    return [_value(one, values) for one in argument] if isinstance(argument, list) else argument


def _names(argument: Any) -> set[str]:
    if isinstance(argument, Named):
        return {argument.name}
    return set().union(*map(_names, argument)) if isinstance(argument, list) else set()


def steps_of(nodes: list[dict[str, Any]]) -> list[Step]:
    """Return the steps of a graph, without its assertions. Raises Unsupported, or KeyError and the like for
    nodes that are damaged."""
    steps = []
    for node in nodes:
        call = _operator(node["target"])
        if not node["outputs"]:  # an assertion, of what the reader's own checks say better
            continue
        gives, many = _outputs(node["outputs"])
        named = [(one["name"], _argument(one["arg"]), one.get("kind") == 2) for one in node["inputs"]]
        steps.append(
            Step(
                call=call,
                arguments=[argument for _, argument, by_name in named if not by_name],
                named={name: argument for name, argument, by_name in named if by_name},
                gives=gives,
                many=many,
            )
        )
    return steps


def sizes_of(meta: dict[str, Any]) -> list[Any]:
    """Return the sizes of a tensor; one that may differ from call to call is "batch"."""
    return [size.get("as_int", "batch") for size in meta["sizes"]]


def _operator(target: str) -> Callable[..., Any]:
    if target in ARITHMETIC:
        arithmetic: Callable[..., Any] = ARITHMETIC[target]
        return arithmetic
    found = ATEN.fullmatch(target)
    if found is None:
        raise Unsupported(f"it calls {target}, and only operators torch.ops.aten.* are called")
    call = getattr(getattr(torch.ops.aten, found[1], None), found[2], None)
    if not isinstance(call, torch._ops.OpOverload):
        raise Unsupported(f"it calls {target}, which this torch has not")
    for argument in call._schema.arguments:
        if "str" in str(argument.type) and argument.name not in TEXTS:
            raise Unsupported(f"it calls {target}, which takes a text ({argument.name})")
    checked: Callable[..., Any] = call
    return checked


def _argument(argument: dict[str, Any]) -> Any:
    [(kind, value)] = argument.items()
    if kind not in READ:
        raise Unsupported(f"it has an argument of the kind {kind}")
    return READ[kind](value)


def _size(value: dict[str, Any]) -> Any:
    return Named(value["as_name"]) if "as_name" in value else next(iter(value.values()))


def _one_of(known: dict[int, Any], value: int) -> Any:
    if value not in known:
        raise Unsupported(f"it has an argument of the number {value!r}, which is not known")
    return known[value]


def _device(value: dict[str, Any]) -> torch.device:
    if value["type"] != "cpu":
        raise Unsupported(f"it is bound to the device {value['type']!r}: export it on the CPU")
    return torch.device("cpu")


READ: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(
        ("as_int", "as_ints", "as_float", "as_floats", "as_bool", "as_bools", "as_string", "as_strings"),
        lambda value: value,
    ),
    **dict.fromkeys(("as_sym_int", "as_sym_float", "as_sym_bool"), _size),
    **dict.fromkeys(("as_sym_ints", "as_sym_floats"), lambda values: [_size(value) for value in values]),
    "as_none": lambda value: None,
    "as_tensor": lambda value: Named(value["name"]),
    "as_tensors": lambda values: [Named(value["name"]) for value in values],
    "as_optional_tensor": _argument,
    "as_optional_tensors": lambda values: [_argument(value) for value in values],
    "as_scalar_type": lambda value: _one_of(DTYPES, value),
    "as_memory_format": lambda value: _one_of(MEMORY_FORMATS, value),
    "as_layout": lambda value: _one_of({STRIDED: torch.strided}, value),
    "as_device": _device,
}
"""What an argument is, by its kind."""


def _outputs(outputs: list[dict[str, Any]]) -> tuple[list[str], bool]:
    names = []
    for output in outputs:
        [(kind, value)] = output.items()
        if kind == "as_tensors" and len(outputs) == 1:
            return [one["name"] for one in value], True
        if kind == "as_tensor":
            names.append(value["name"])
        elif kind == "as_sym_int":
            names.append(value["as_name"])
        else:
            raise Unsupported(f"it gives {kind}")
    return names, len(names) > 1
