"""Pages of a mapped file that this process holds in memory, released once they are done with.

Linux only; elsewhere the kernel decides alone.
"""

import ctypes
import mmap
import sys

import torch

__all__ = ["release_pages"]

MADV_PAGEOUT = 21
"""From linux/mman.h. Nothing is lost: a page that is read again comes from its file again. A page that was
written to, which the file does not have, stays."""


def release_pages(tensor: torch.Tensor) -> None:
    """Take the tensor's whole pages out of this process's resident memory; its values stay."""
    start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    size = tensor.data_ptr() + tensor.nbytes - start
    if sys.platform == "linux" and size > 0:
        # Advice: whether the kernel takes it changes no result.
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), MADV_PAGEOUT)
