"""A file of named tensors (safetensors) written part by part, so that none need be whole in memory.

    8 bytes          the length of the header, little-endian
    header           JSON: dtype, shape, first and last byte of each tensor
    ...              the tensors' bytes, one after another

https://huggingface.co/docs/safetensors
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from tablefold.errors import CheckpointError

DTYPES = {
    torch.int64: "I64", torch.float64: "F64", torch.float32: "F32", torch.int32: "I32",
    torch.bfloat16: "BF16", torch.float16: "F16", torch.int16: "I16", torch.int8: "I8",
    torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
"""In the order in which safetensors writes them, the widest first: each then begins at a multiple of its
width, and is mapped as it lies."""
ALIGNMENT = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorParts:
    """A tensor that comes in parts along its first axis."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    parts: Iterable[Tensor]


def write_tensors(path: Path, tensors: Mapping[str, Tensor | TensorParts]) -> None:
    """Write a new file of these tensors; see `write_into`."""
    with path.open("xb") as file:
        write_into(file, tensors)


def write_into(file: BinaryIO, tensors: Mapping[str, Tensor | TensorParts]) -> None:
    """Write the file of these tensors, to the byte the one that safetensors writes of them whole; parts are
    asked for one by one, and kept no longer than that.

    Raises OSError where the disk is full, CheckpointError for a dtype that such files do not have, ValueError
    for parts that do not make up their tensor.
    """
    whole = {
        name: tensor
        if isinstance(tensor, TensorParts)
        else TensorParts(dtype=tensor.dtype, shape=tuple(tensor.shape), parts=[tensor])
        for name, tensor in tensors.items()
    }
    for name, tensor in whole.items():
        if tensor.dtype not in DTYPES:
            raise CheckpointError(f"{name} is {tensor.dtype}, and a checkpoint has no such numbers")
    types = list(DTYPES)
    ordered = sorted(whole.items(), key=lambda item: (types.index(item[1].dtype), item[0]))
    header, start = {}, 0
    for name, tensor in ordered:
        stop = start + prod(tensor.shape) * tensor.dtype.itemsize
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, stop],
        }
        start = stop
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    file.write(len(text).to_bytes(8, "little") + text)
    for name, tensor in ordered:
        left = prod(tensor.shape)
        for part in tensor.parts:
            if part.dtype != tensor.dtype or part.shape[1:] != tensor.shape[1:] or part.numel() > left:
                raise ValueError(f"a part of {name}, {part.dtype} {list(part.shape)}, does not fit it")
            # A stride of 1, which that of a single value need not be, and bytes, since numpy has no bfloat16.
            values = part.detach().cpu().contiguous().as_strided((part.numel(),), (1,))
            file.write(values.view(torch.uint8).numpy().data)
            left -= part.numel()
        if left:
            raise ValueError(f"the parts of {name} end {left} values too early")
