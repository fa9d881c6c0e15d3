"""The device that a model is trained on, as the command line names it."""

import torch

from tablefold.errors import UsageError

CPU = torch.device("cpu")


def open_device(name: str) -> torch.device:
    """Return the device `cpu`, `cuda` or `cuda:N`.

    Raises UsageError for any other name, and where torch cannot use that GPU: it says what is missing.
    """
    kind, colon, index = name.partition(":")
    number = index.isascii() and index.isdecimal() and len(index) < 4
    if name == "cpu":
        return CPU
    if kind != "cuda" or (colon and not number):
        raise UsageError(f"unknown device {name!r}: give cpu, cuda or cuda:N, such as cuda:0")
    if torch.version.cuda is None:
        raise UsageError(
            f"--device {name} needs a torch with CUDA, and the one installed here, {torch.__version__}, has "
            "none: install one (https://pytorch.org/get-started/locally), or use --device cpu"
        )
    if not torch.cuda.is_available():
        raise UsageError(f"--device {name}: torch finds no GPU; does nvidia-smi show one here?")
    if int(index or 0) >= (count := torch.cuda.device_count()):
        there = "one GPU, cuda:0" if count == 1 else f"{count} GPUs, cuda:0 to cuda:{count - 1}"
        raise UsageError(f"--device {name}: torch finds {there} (CUDA_VISIBLE_DEVICES may hide others)")
    return torch.device("cuda", int(index or 0))
