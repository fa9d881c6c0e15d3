"""Tensors that are written piece by piece, for those that no process holds whole.

The file is the one that `safetensors` writes of the same tensors, to the byte: the size of a header, the
header as JSON, then the values, those of wide types first and names in order.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from tablefold.errors import UsageError

NAMES = {
    torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8", torch.int16: "I16", torch.float16: "F16",
    torch.bfloat16: "BF16", torch.int32: "I32", torch.float32: "F32", torch.float64: "F64",
    torch.int64: "I64",
}  # fmt: skip
"""Of dtypes, in the order of safetensors' `Dtype`; the last ones are written first."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StreamedTensor:
    """A tensor that comes in pieces."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    pieces: Iterator[Tensor]
    """[n, ...], one after another; read once."""

    def skip(self) -> None:
        """Go through what is left of the pieces."""
        for _ in self.pieces:
            pass


def save_streamed(tensors: Mapping[str, Tensor | StreamedTensor], file: BinaryIO) -> None:
    """Write tensors of the host. Raises UsageError for a dtype that is not in `NAMES`, OSError."""
    order = list(NAMES)
    for name, tensor in tensors.items():
        if tensor.dtype not in NAMES:
            raise UsageError(
                f"{name} is {tensor.dtype}, which is not written: give the network a type of {order}"
            )
    names = sorted(tensors, key=lambda name: (-order.index(tensors[name].dtype), name))
    header, end = {}, 0
    for name in names:
        tensor = tensors[name]
        start, end = end, end + prod(tensor.shape) * tensor.dtype.itemsize
        header[name] = {
            "dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end],
        }  # fmt: skip
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        tensor = tensors[name]
        for piece in tensor.pieces if isinstance(tensor, StreamedTensor) else [tensor]:
            values = piece.detach().contiguous()
            values = values.as_strided((values.numel(),), (1,))  # that of a single value may be 0
            file.write(values.view(torch.uint8).numpy().data)


def save_streamed_file(tensors: Mapping[str, Tensor | StreamedTensor], path: Path) -> None:
    """Write a file. Raises as `save_streamed` does."""
    with path.open("wb") as file:
        save_streamed(tensors, file)
