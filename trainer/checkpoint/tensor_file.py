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

import torch
from torch import Tensor

from tablefold.errors import CheckpointError

DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.bool: "BOOL",
}  # fmt: skip
ALIGNMENT = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorParts:
    """A tensor that comes in parts along its first axis."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    parts: Iterable[Tensor]


def write_tensors(path: Path, tensors: Mapping[str, Tensor | TensorParts]) -> None:
    """Write a new file of these tensors; parts are asked for one by one, and kept no longer than that.

    Raises OSError where the disk is full, CheckpointError for a dtype that such files do not have, ValueError
    for parts that do not make up their tensor.
    """
    whole = {
        name: tensor
        if isinstance(tensor, TensorParts)
        else TensorParts(dtype=tensor.dtype, shape=tuple(tensor.shape), parts=[tensor])
        for name, tensor in tensors.items()
    }
    # The widest first: each then begins at a multiple of its width, and is mapped as it lies.
    ordered = sorted(whole.items(), key=lambda item: -item[1].dtype.itemsize)
    header, start = {}, 0
    for name, tensor in ordered:
        if tensor.dtype not in DTYPES:
            raise CheckpointError(f"{name} is {tensor.dtype}, and a checkpoint has no such numbers")
        stop = start + prod(tensor.shape) * tensor.dtype.itemsize
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, stop],
        }
        start = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    with path.open("xb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in ordered:
            left = prod(tensor.shape)
            for part in tensor.parts:
                if part.dtype != tensor.dtype or part.shape[1:] != tensor.shape[1:] or part.numel() > left:
                    raise ValueError(f"a part of {name}, {part.dtype} {list(part.shape)}, does not fit it")
                # Not as numbers: numpy has no bfloat16.
                file.write(part.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
                left -= part.numel()
            if left:
                raise ValueError(f"the parts of {name} end {left} values too early")
