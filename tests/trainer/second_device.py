"""A second device without any hardware: its tensors say that they are elsewhere, and mix with none here.

torch's device `meta` has no values. Here it gets some: each of its tensors holds one of the host, operations
run on those, and one that is given tensors of both devices fails, as it would on a GPU.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

SECOND = torch.device("meta")
aten = torch.ops.aten
BETWEEN_DEVICES = {aten.copy_.default, aten._to_copy.default, aten._local_scalar_dense.default}


class Elsewhere(torch.Tensor):
    """A tensor of the second device."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "Elsewhere":
        strides = held.stride() if held.layout == torch.strided else None
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=strides, dtype=held.dtype, device=SECOND
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(
        cls, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return run(operation, args, kwargs or {})


class TwoDevices(TorchDispatchMode):
    """Within it `meta` is a device with values."""

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return run(operation, args, kwargs or {})


def run(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation on the tensors that are held."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    there = [isinstance(tensor, Elsewhere) for tensor in tensors]
    if operation not in BETWEEN_DEVICES:
        sizes = [tensor.dim() > 0 for tensor in tensors]  # a number of the host goes anywhere
        if any(there) and any(not is_there and size for is_there, size in zip(there, sizes, strict=True)):
            raise AssertionError(f"{operation} is given tensors of two devices")
    target = kwargs.get("device")
    goes_there = any(there) if target is None else torch.device(target) == SECOND
    if operation is aten.copy_.default:
        goes_there = there[0]
    goes_there = goes_there and operation is not aten._local_scalar_dense.default
    of_held = {id(tensor.held): tensor for tensor in tensors if isinstance(tensor, Elsewhere)}

    def held(value: Any) -> Any:
        if isinstance(value, Elsewhere):
            return value.held
        return torch.device("cpu") if isinstance(value, torch.device) else value

    def wrapped(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not goes_there:
            return value
        return of_held.get(id(value)) if id(value) in of_held else Elsewhere(value)

    args, kwargs = tree_map(held, (args, kwargs))
    if operation is aten._to_copy.default and args[0].is_sparse:
        kwargs.pop("layout", None)  # an `Elsewhere` says that it is dense
    call: Callable[..., Any] = operation
    return tree_map(wrapped, call(*args, **kwargs))
